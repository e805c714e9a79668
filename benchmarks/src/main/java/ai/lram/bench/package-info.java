/** Module benchmarks. */
package ai.lram.bench;
