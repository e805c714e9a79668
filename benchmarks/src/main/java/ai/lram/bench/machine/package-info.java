/** What this machine can do at best, measured in the same run as everything else: bandwidths, arithmetic, clocks, wake-ups, and its noise. */
package ai.lram.bench.machine;
