/** Latency distributions that one thread writes and any thread reads. */
package ai.lram.runtime.stats;
