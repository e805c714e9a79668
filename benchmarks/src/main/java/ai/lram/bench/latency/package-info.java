/**
 * The whole control loop, from the moment an observation falls due to the moment its action is there: in process and over gRPC, at a fixed
 * rate whose schedule does not wait for late steps.
 */
package ai.lram.bench.latency;
