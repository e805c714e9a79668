package ai.lram.bench;

import java.util.List;

/**
 * A distribution of durations in milliseconds.
 *
 * @param bench name of the benchmark
 * @param caseName what was measured
 * @param latencies the samples
 */
public record Distribution(String bench, String caseName, Latencies latencies) {
    /** A percentile with its suffix in case names and the samples it takes to mean something. */
    public record Tail(double percentile, String suffix, int samples) {}

    /** Above the median; at least ten samples lie beyond each but the maximum. */
    public static final List<Tail> TAILS = List.of(
            new Tail(90, "-p90", 100),
            new Tail(99, "-p99", 100),
            new Tail(99.9, "-p999", 1000),
            new Tail(99.99, "-p9999", 10_000),
            new Tail(100, "-max", 1));

    /** Samples that a percentile takes to mean something. */
    static int samplesFor(double percentile) {
        return TAILS.stream()
                .filter(t -> t.percentile() == percentile)
                .mapToInt(Tail::samples)
                .findFirst()
                .orElse(1);
    }

    public long samples() {
        return latencies.count();
    }

    /** Milliseconds that {@code percentile} per cent of the samples do not exceed. */
    public double ms(double percentile) {
        return latencies.ms(percentile);
    }

    /** One percentile as a result; its spread is that between the repetitions. */
    public Result result(double percentile, String suffix) {
        Result r = Result.of(bench, caseName + suffix, ms(percentile), "ms", Better.LOWER, samples());
        double[] range = latencies.range(percentile);
        return range == null ? r : r.withSpread(range[0], range[1]);
    }
}
