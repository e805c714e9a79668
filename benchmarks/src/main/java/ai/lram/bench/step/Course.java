package ai.lram.bench.step;

import ai.lram.bench.Better;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.machine.Ceilings;
import ai.lram.bench.machine.Control;
import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;

/** One session of ours from its first step to beyond the longest context, and what it tells. Single thread. */
final class Course {
    /** The steady state begins here: every head has folded by then, in all published sizes. */
    static final int STEADY_FROM = 500;

    private static final double TAIL = 99.9;
    private static final int TAIL_SAMPLES = 1000;

    private final Stepping ours;
    private final int[] contexts;
    private final int samples;
    private final int steadyFrom;
    private final Latencies steady;
    private final Latencies noise;
    private final Latencies[] byContext;
    /** The first steady context again, right after the longest one; null if they are one. */
    private Latencies again;

    private final Garbage garbage = new Garbage();
    private long garbageBytes;
    private long garbageSteps;

    private Course(Stepping ours, int[] contexts, int samples) {
        this.ours = ours;
        this.contexts = contexts;
        this.samples = samples;
        int longest = contexts[contexts.length - 1];
        steadyFrom = Arrays.stream(contexts)
                .filter(c -> c >= STEADY_FROM)
                .findFirst()
                .orElse(longest);
        steady = new Latencies(longest + samples - steadyFrom, StepBench.REPETITIONS);
        noise = new Latencies((long) contexts.length * samples, StepBench.REPETITIONS);
        byContext = new Latencies[contexts.length];
        Arrays.setAll(byContext, i -> new Latencies(samples, StepBench.REPETITIONS));
    }

    /**
     * Takes the steps and reports everything but batches.
     *
     * @param ours checked and warm
     * @param contexts ascending
     * @param samples timed steps at each
     * @param garbageSteps in which garbage is counted, at least
     * @param peers on as many threads
     * @param remark about the steady state; empty for none
     */
    static void run(
            Stepping ours,
            int[] contexts,
            int samples,
            int garbageSteps,
            PeerTimes peers,
            String weights,
            String remark) {
        Course course = new Course(ours, contexts, samples);
        course.take(garbageSteps);
        course.reportSteady(peers.onnxRuntime(weights), remark);
        course.reportNoise();
        course.reportContexts(peers);
        course.reportGarbage();
    }

    private void take(int leastGarbageSteps) {
        ours.subject().begin(1, 0);
        int at = 0;
        for (int c = 0; c < contexts.length; c++) {
            int end = contexts[c] + samples;
            ours.run().progress(ours.name() + " towards context " + contexts[c]);
            for (; at < Math.min(end, steadyFrom); at++) {
                record(ours.stepNs(), at);
            }
            int before = at;
            garbage.begin();
            for (; at < end; at++) {
                long ns = ours.stepNs();
                record(ns, at);
                steady.record(ns);
            }
            countGarbage(at - before);
            try (Control beside = new Control(ours.threads(), byContext[c].ms(50))) {
                beside.measure(samples, noise);
            }
        }
        if (contexts[contexts.length - 1] > steadyFrom) {
            takeAgain();
        }
        long missing = leastGarbageSteps - garbageSteps;
        if (missing > 0) {
            ours.run().progress(ours.name() + ", garbage of " + missing + " steps more");
            garbage.begin();
            for (long i = 0; i < missing; i++) {
                ours.stepNs();
            }
            countGarbage(missing);
        }
    }

    /** Minutes lie between the first steps and the last, in which a machine changes: what is compared is measured side by side. */
    private void takeAgain() {
        ours.run().progress(ours.name() + " at context " + steadyFrom + " again");
        ours.subject().begin(1, steadyFrom);
        again = new Latencies(samples, StepBench.REPETITIONS);
        for (int i = 0; i < samples; i++) {
            again.record(ours.stepNs());
        }
    }

    private void countGarbage(long steps) {
        garbageBytes += garbage.end();
        garbageSteps += steps;
    }

    /** Step {@code at} belongs to every context that lies behind it and is not further away than there are samples. */
    private void record(long ns, int at) {
        for (int c = 0; c < contexts.length; c++) {
            if (at >= contexts[c] && at < contexts[c] + samples) {
                byContext[c].record(ns);
            }
        }
    }

    private void reportSteady(Optional<Latencies> onnxRuntime, String remark) {
        Run run = ours.run();
        String note = "steady state, from context " + steadyFrom
                + " on; floor: weights and state once at the bandwidth measured over as many bytes";
        run.distribution(
                new Distribution(StepBench.NAME, ours.name(), steady),
                ours.floorMs(1, steadyFrom),
                onnxRuntime,
                (remark.isEmpty() ? "" : remark + "; ")
                        + note
                        + (onnxRuntime.isPresent() ? "; peer: the same model in ONNX Runtime" : ""));
        Ceilings ceilings = ours.ceilings();
        double seconds = steady.ms(50) / 1e3;
        double bytes = ours.subject().stepBytes(1, steadyFrom);
        run.result(rate("-bytes", bytes / seconds / 1e9, "GB/s")
                .withFloor(ceilings.read((long) bytes, ours.threads()).best() / 1e9)
                .withNote(
                        "weights and state read at the median step; floor: the bandwidth measured over as many bytes"));
        run.result(rate("-flop", ours.subject().stepFlop(1) / seconds / 1e9, "GFLOP/s")
                .withFloor(ceilings.fma(ours.threads()).best() / 1e9)
                .withNote("products with weights at the median step; floor: the multiply-adds measured in this run"));
    }

    private Result rate(String suffix, double value, String unit) {
        return Result.of(StepBench.NAME, ours.name() + suffix, value, unit, Better.HIGHER, steady.count());
    }

    private void reportNoise() {
        ours.run()
                .distribution(
                        new Distribution(StepBench.NAME, "noise-" + ours.name(), noise),
                        noise.minMs(),
                        Optional.empty(),
                        "fixed work on registers as long as the step and on as many threads, between its steps: the machine's own noise;"
                                + " floor: the fastest one");
        long samplesOfBoth = Math.min(noise.count(), steady.count());
        if (samplesOfBoth >= TAIL_SAMPLES) {
            ours.run()
                    .result(Result.of(
                                    StepBench.NAME,
                                    ours.name() + "-p999-to-noise",
                                    steady.ms(TAIL) / noise.ms(TAIL),
                                    "x",
                                    Better.LOWER,
                                    samplesOfBoth)
                            .withFloor(1)
                            .withNote("p99.9 of the steady state over p99.9 of the fixed work on registers"));
        }
    }

    private void reportContexts(PeerTimes peers) {
        for (int c = 0; c < contexts.length; c++) {
            Optional<Latencies> transformer = peers.transformer(contexts[c]);
            ours.run()
                    .distribution(
                            new Distribution(StepBench.NAME, ours.name() + "-ctx" + contexts[c], byContext[c]),
                            ours.floorMs(1, contexts[c]),
                            transformer,
                            transformer.isPresent() ? "peer: the decision transformer after as many steps" : "");
        }
        if (again != null) {
            reportFlatness();
        }
    }

    private void reportFlatness() {
        Latencies late = byContext[byContext.length - 1];
        int longest = contexts[contexts.length - 1];
        double early = again.ms(50);
        Result flat = Result.of(
                        StepBench.NAME,
                        ours.name() + "-ctx" + longest + "-to-ctx" + steadyFrom,
                        late.ms(50) / early,
                        "x",
                        Better.LOWER,
                        samples)
                .withFloor(1)
                .withNote(String.format(
                        Locale.ROOT,
                        "median step of a session after %d steps over that of the same session after %d, taken again right afterwards"
                                + " (%.3f ms)",
                        longest,
                        steadyFrom,
                        early));
        double[] range = late.range(50);
        ours.run().result(range == null ? flat : flat.withSpread(range[0] / early, range[1] / early));
    }

    private void reportGarbage() {
        ours.run()
                .result(Result.of(
                                StepBench.NAME,
                                ours.name() + "-alloc",
                                garbageBytes / (double) garbageSteps,
                                "B/step",
                                Better.LOWER,
                                garbageSteps)
                        .withFloor(0)
                        .withNote(String.format(
                                Locale.ROOT,
                                "%d heap bytes of the stepping thread and its helpers in %d steps",
                                garbageBytes,
                                garbageSteps)));
    }
}
