package ai.lram.runtime.stats;

/** A latency distribution in nanoseconds, within 1 %; all zero if {@code count} is. */
public record LatencySummary(long count, long p50Ns, long p99Ns, long p999Ns, long maxNs) {}
