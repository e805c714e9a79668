package ai.lram.bench.latency;

import ai.lram.bench.Latencies;
import ai.lram.runtime.protocol.StepTiming;
import java.util.EnumMap;
import java.util.Map;

/** What one or several robots of a case saw. Single writer. */
final class LoopLog {
    private static final int REPETITIONS = 5;

    /** Where a step's time goes, in order. */
    enum Part {
        /** From when the observation was due until it was sent: the robot's own wake-up, and steps before it that were late. */
        WAKE,
        /** Until the inference thread took it. */
        QUEUE,
        /** Copying inputs into the batch. */
        ENCODE,
        /** The policy. */
        STEP,
        /** Until the reply left the runtime. */
        RETURN,
        /** Connection there and back, and waking the robot. */
        WIRE
    }

    private final Map<Part, Latencies> parts = new EnumMap<>(Part.class);
    private final Latencies total;
    private final Latencies roundTrip;
    private final long periodNs;
    private long late;

    /** @param expected steps; @param periodNs a step that takes longer is late */
    LoopLog(long expected, long periodNs) {
        this.periodNs = periodNs;
        total = new Latencies(expected, REPETITIONS);
        roundTrip = new Latencies(expected, REPETITIONS);
        for (Part p : Part.values()) {
            parts.put(p, new Latencies(expected, REPETITIONS));
        }
    }

    void answered(long dueNs, long sentNs, long doneNs, StepTiming t) {
        count(doneNs - dueNs);
        roundTrip.record(doneNs - sentNs);
        parts.get(Part.WAKE).record(sentNs - dueNs);
        parts.get(Part.QUEUE).record(t.queueNs());
        parts.get(Part.ENCODE).record(t.encodeNs());
        parts.get(Part.STEP).record(t.stepNs());
        parts.get(Part.RETURN).record(t.totalNs() - t.queueNs() - t.encodeNs() - t.stepNs());
        parts.get(Part.WIRE).record(doneNs - sentNs - t.totalNs());
    }

    /** A step that was due and has not even been sent. */
    void neverSent(long waitedNs) {
        count(waitedNs);
    }

    private void count(long ns) {
        total.record(ns);
        late += ns > periodNs ? 1 : 0;
    }

    void add(LoopLog other) {
        total.add(other.total);
        roundTrip.add(other.roundTrip);
        parts.forEach((p, l) -> l.add(other.parts.get(p)));
        late += other.late;
    }

    Latencies total() {
        return total;
    }

    /** From sending until the action was there, of the steps that were sent. */
    Latencies roundTrip() {
        return roundTrip;
    }

    Latencies part(Part p) {
        return parts.get(p);
    }

    /** Share of the steps that took longer than a period. */
    double lateShare() {
        return late / (double) Math.max(1, total.count());
    }

    /** Whether at most one step in a thousand was late. */
    boolean keepsTheRate() {
        return lateShare() <= 1e-3;
    }
}
