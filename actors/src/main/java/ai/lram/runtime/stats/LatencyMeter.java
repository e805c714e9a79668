package ai.lram.runtime.stats;

import org.HdrHistogram.Histogram;
import org.HdrHistogram.SingleWriterRecorder;

/** A latency histogram. {@link #record} is for one thread and allocates nothing; {@link #summary} is for any. */
public final class LatencyMeter {
    private static final long RESOLUTION_NS = 100;
    private static final long LONGEST_NS = 100_000_000_000L;
    private static final int DIGITS = 2;

    private final SingleWriterRecorder recorder = new SingleWriterRecorder(RESOLUTION_NS, LONGEST_NS, DIGITS);
    private final Histogram total = new Histogram(RESOLUTION_NS, LONGEST_NS, DIGITS);
    private Histogram interval;

    /** Counts one duration; longer ones than 100 s are counted as 100 s. */
    public void record(long durationNs) {
        recorder.recordValue(Math.clamp(durationNs, 0, LONGEST_NS));
    }

    /** The distribution since the meter was made, or last forgot. */
    public synchronized LatencySummary summary() {
        interval = recorder.getIntervalHistogram(interval);
        total.add(interval);
        return total.getTotalCount() == 0
                ? new LatencySummary(0, 0, 0, 0, 0)
                : new LatencySummary(
                        total.getTotalCount(),
                        total.getValueAtPercentile(50),
                        total.getValueAtPercentile(99),
                        total.getValueAtPercentile(99.9),
                        total.getMaxValue());
    }

    /** Counts from nothing. */
    public synchronized void forget() {
        interval = recorder.getIntervalHistogram(interval);
        total.reset();
    }
}
