package ai.lram.runtime.session;

import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.stats.LatencyMeter;
import java.util.EnumMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;

/** Counts of one session. Written by the session's thread only, read by any; counting allocates nothing. */
public final class SessionMeter {
    private final long id;
    private final String robot;
    private final String task;
    private final LatencyMeter queue = new LatencyMeter();
    private final LatencyMeter step = new LatencyMeter();
    private final LatencyMeter total = new LatencyMeter();
    private final AtomicLongArray fallbacks = new AtomicLongArray(FallbackCause.values().length);
    private final AtomicLongArray refusals = new AtomicLongArray(Refusal.values().length);
    private final AtomicLong steps = new AtomicLong();
    private final AtomicLong episodes = new AtomicLong();
    private final AtomicLong clampedToBounds = new AtomicLong();
    private final AtomicLong clampedToRate = new AtomicLong();
    private final AtomicLong foldedLate = new AtomicLong();
    private final AtomicLong alarms = new AtomicLong();

    public SessionMeter(long id, String robot, String task) {
        this.id = id;
        this.robot = robot;
        this.task = task;
    }

    public long id() {
        return id;
    }

    void stepped(long queueNs, long stepNs) {
        increment(steps);
        queue.record(queueNs);
        step.record(stepNs);
    }

    void replied(long totalNs) {
        total.record(totalNs);
    }

    void fellBack(FallbackCause cause) {
        increment(fallbacks, cause.ordinal());
    }

    void refused(Refusal refusal) {
        increment(refusals, refusal.ordinal());
    }

    void episode() {
        increment(episodes);
    }

    void clampedToBounds() {
        increment(clampedToBounds);
    }

    void clampedToRate() {
        increment(clampedToRate);
    }

    void foldedLate() {
        increment(foldedLate);
    }

    void alarm() {
        increment(alarms);
    }

    private static void increment(AtomicLong counter) {
        counter.lazySet(counter.get() + 1);
    }

    private static void increment(AtomicLongArray counters, int at) {
        counters.lazySet(at, counters.get(at) + 1);
    }

    public SessionStats stats() {
        Map<FallbackCause, Long> byCause = new EnumMap<>(FallbackCause.class);
        for (FallbackCause cause : FallbackCause.values()) {
            if (fallbacks.get(cause.ordinal()) > 0) {
                byCause.put(cause, fallbacks.get(cause.ordinal()));
            }
        }
        Map<Refusal, Long> byRefusal = new EnumMap<>(Refusal.class);
        for (Refusal refusal : Refusal.values()) {
            if (refusals.get(refusal.ordinal()) > 0) {
                byRefusal.put(refusal, refusals.get(refusal.ordinal()));
            }
        }
        return new SessionStats(
                id,
                robot,
                task,
                steps.get(),
                episodes.get(),
                byCause,
                byRefusal,
                clampedToBounds.get(),
                clampedToRate.get(),
                foldedLate.get(),
                alarms.get(),
                queue.summary(),
                step.summary(),
                total.summary());
    }
}
