package ai.lram.bench;

import org.HdrHistogram.Histogram;

/**
 * Durations of one case in one or several repetitions, within 0.1 %, up to 100 s. {@link #record} allocates nothing. Single thread.
 */
public final class Latencies {
    private static final long LONGEST_NS = 100_000_000_000L;
    private static final int DIGITS = 3;

    private final Histogram[] repetitions;
    private final long perRepetition;
    private long recorded;

    /**
     * @param expected samples that will come; they are split into {@code repetitions} stretches of equal length, further ones join the last
     */
    public Latencies(long expected, int repetitions) {
        if (expected < 1 || repetitions < 1) {
            throw new IllegalArgumentException(
                    expected + " samples in " + repetitions + " repetitions; both must be >= 1");
        }
        this.repetitions = new Histogram[(int) Math.min(expected, repetitions)];
        for (int i = 0; i < this.repetitions.length; i++) {
            this.repetitions[i] = new Histogram(LONGEST_NS, DIGITS);
        }
        perRepetition = Math.max(1, expected / this.repetitions.length);
    }

    /** Counts one duration; negative ones count as zero, longer ones than 100 s as 100 s. */
    public void record(long ns) {
        int at = (int) Math.min(repetitions.length - 1, recorded / perRepetition);
        repetitions[at].recordValue(Math.clamp(ns, 0, LONGEST_NS));
        recorded++;
    }

    /** Adds the samples of another one of as many repetitions. */
    public void add(Latencies other) {
        for (int i = 0; i < repetitions.length; i++) {
            repetitions[i].add(other.repetitions[i]);
        }
        recorded += other.recorded;
    }

    public long count() {
        return recorded;
    }

    /** Milliseconds that {@code percentile} per cent of all samples do not exceed; 0 without samples. */
    public double ms(double percentile) {
        return recorded == 0 ? 0 : ns(all(), percentile) / 1e6;
    }

    /** Milliseconds at several percentiles. */
    public double[] ms(double... percentiles) {
        Histogram h = all();
        double[] out = new double[percentiles.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = recorded == 0 ? 0 : ns(h, percentiles[i]) / 1e6;
        }
        return out;
    }

    public double minMs() {
        return recorded == 0 ? 0 : all().getMinValue() / 1e6;
    }

    /** Lowest and highest of the repetitions' percentiles in milliseconds; null where there is but one repetition. */
    public double[] range(double percentile) {
        int used = 0;
        double low = Double.POSITIVE_INFINITY;
        double high = 0;
        for (Histogram h : repetitions) {
            if (h.getTotalCount() > 0) {
                used++;
                double ms = ns(h, percentile) / 1e6;
                low = Math.min(low, ms);
                high = Math.max(high, ms);
            }
        }
        return used < 2 ? null : new double[] {low, high};
    }

    private static double ns(Histogram h, double percentile) {
        return percentile >= 100 ? h.getMaxValue() : h.getValueAtPercentile(percentile);
    }

    private Histogram all() {
        if (repetitions.length == 1) {
            return repetitions[0];
        }
        Histogram sum = new Histogram(LONGEST_NS, DIGITS);
        for (Histogram h : repetitions) {
            sum.add(h);
        }
        return sum;
    }
}
