/**
 * The wire: a gRPC server in front of a {@link ai.lram.runtime.LramRuntime} and a client for robots and simulators.
 *
 * <p>The contract is {@code control.proto}; of its messages only the statistics leave this package.
 */
package ai.lram.bridge.grpc;
