package ai.lram.runtime.inference;

import ai.lram.runtime.stats.LatencyMeter;
import java.util.concurrent.atomic.AtomicLong;

/** Counts of one inference thread. Written by that thread only, read by any. */
public final class InferenceMeter {
    private final LatencyMeter queue = new LatencyMeter();
    private final LatencyMeter encode = new LatencyMeter();
    private final LatencyMeter step = new LatencyMeter();
    private final AtomicLong batches = new AtomicLong();
    private final AtomicLong rows = new AtomicLong();
    private final AtomicLong largestBatch = new AtomicLong();
    private final AtomicLong failures = new AtomicLong();

    void batch(int count, long encodeNs, long stepNs) {
        encode.record(encodeNs);
        step.record(stepNs);
        batches.lazySet(batches.get() + 1);
        rows.lazySet(rows.get() + count);
        if (count > largestBatch.get()) {
            largestBatch.lazySet(count);
        }
    }

    void queued(long queueNs) {
        queue.record(queueNs);
    }

    void failed() {
        failures.lazySet(failures.get() + 1);
    }

    /** Counts from nothing. */
    void forget() {
        queue.forget();
        encode.forget();
        step.forget();
        batches.set(0);
        rows.set(0);
        largestBatch.set(0);
        failures.set(0);
    }

    /** What happened since the runtime started, or {@link #forget}, restarts included. */
    public InferenceStats stats() {
        return new InferenceStats(
                batches.get(),
                rows.get(),
                largestBatch.get(),
                failures.get(),
                queue.summary(),
                encode.summary(),
                step.summary());
    }
}
