package ai.lram.bench.step;

import ai.lram.agent.card.ModelCard;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Memory;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.machine.Ceilings;
import ai.lram.bench.machine.Control;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.subject.Shapes;
import ai.lram.bench.subject.Subject;
import ai.lram.bench.subject.TransformerSubject;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/**
 * The control step of one session: 204 observations in, one action dimension out, three tokens through the whole model. Cases are named
 * {@code step-SIZE-WEIGHTS-Nt} for the steady state, with {@code -ctxC} for the steps after a context of C, {@code -Ks} for K sessions in
 * one step.
 */
public final class StepBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "step";

    private static final int OBSERVATIONS = 204;
    private static final int REPETITIONS = 5;
    /** The steady state begins here: every head has folded by then, in all published sizes. */
    private static final int STEADY_FROM = 500;

    /** A transformer's steps after a long context are measured for so long, and then no more than {@link #ENOUGH} of them. */
    private static final long LONGEST_NS = 20_000_000_000L;

    private static final int ENOUGH = 200;

    private final StepSettings settings;
    private final boolean quick;

    public StepBench(StepSettings settings, boolean quick) {
        this.settings = settings;
        this.quick = quick;
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return "the CPU control step: percentiles, contexts, batches of sessions, garbage, share of the memory bandwidth";
    }

    @Override
    public void run(Run run) {
        ModelCard card = Shapes.card(Shapes.vector("step", OBSERVATIONS, 1, 100));
        for (ModelSize size : settings.sizes()) {
            for (LramSubject.Weights weights : settings.weights()) {
                Memory.require(
                        "size " + size.name() + " with " + settings.sessions() + " sessions",
                        LramSubject.bytes(size, weights, card, settings.sessions()));
            }
            int longest = settings.contexts().getLast();
            if (settings.transformer()) {
                Memory.require(
                        "a decision transformer of size " + size.name() + " with " + longest + " steps of context",
                        TransformerSubject.bytes(size, card, longest));
            }
        }
        run.note(
                "Control steps are measured with drawn weights, 204 observations and one action dimension (a head of 274 logits);"
                        + " the time of a step does not depend on what the weights are.");
        for (ModelSize size : settings.sizes()) {
            for (int threads : settings.threads()) {
                measure(run, size, threads, card);
            }
        }
    }

    private void measure(Run run, ModelSize size, int threads, ModelCard card) {
        Map<Integer, Double> peers = new HashMap<>();
        if (settings.transformer()) {
            transformer(run, size, threads, card, peers);
        }
        for (LramSubject.Weights weights : settings.weights()) {
            String name = "step-" + size.key() + "-" + weights.name() + "-" + threads + "t";
            try (Backend backend = Backends.open("cpu", BackendOptions.threads(threads));
                    Subject ours = LramSubject.open(backend, size, weights, card, settings.sessions())) {
                checkAndWarm(run, ours, name);
                ours(run, ours, name, threads, peers);
            }
        }
    }

    /** Fills {@code peers} with the medians by context. */
    private void transformer(Run run, ModelSize size, int threads, ModelCard card, Map<Integer, Double> peers) {
        String name = "dt-" + size.key();
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(threads));
                Subject theirs = TransformerSubject.open(
                        backend, size, card, settings.contexts().getLast())) {
            checkAndWarm(run, theirs, name + "-" + threads + "t");
            for (int context : settings.contexts()) {
                String caseName = name + "-ctx" + context + "-" + threads + "t";
                run.progress(caseName);
                theirs.begin(1, context);
                Latencies latencies = new Latencies(settings.samples(), REPETITIONS);
                long begin = System.nanoTime();
                int enough = Math.min(settings.samples(), ENOUGH);
                for (int i = 0; i < settings.samples(); i++) {
                    if (i >= enough && System.nanoTime() - begin > LONGEST_NS) {
                        break;
                    }
                    latencies.record(timed(theirs, caseName));
                }
                peers.put(context, latencies.ms(50));
                run.distribution(
                        new Distribution(NAME, caseName, latencies),
                        floorMs(run, theirs, 1, context, threads),
                        Double.NaN,
                        "");
            }
        }
    }

    private void checkAndWarm(Run run, Subject subject, String name) {
        run.progress("check " + name);
        double difference = subject.check();
        run.progress(
                String.format(Locale.ROOT, "%s agrees with the whole pass within %.1e; warming up", name, difference));
        subject.begin(1, 0);
        for (long until = System.nanoTime() + (long) (1e9 * settings.warmUpSeconds()); System.nanoTime() < until; ) {
            subject.fill();
            subject.step();
        }
    }

    private void ours(Run run, Subject subject, String name, int threads, Map<Integer, Double> peers) {
        int[] contexts =
                settings.contexts().stream().mapToInt(Integer::intValue).toArray();
        int samples = settings.samples();
        int longest = contexts[contexts.length - 1];
        int last = longest + samples;
        int steadyFrom = Arrays.stream(contexts)
                .filter(c -> c >= STEADY_FROM)
                .findFirst()
                .orElse(longest);
        Latencies steady = new Latencies(last - steadyFrom, REPETITIONS);
        Latencies control = new Latencies((long) contexts.length * samples / 2 + 1, REPETITIONS);
        Latencies[] byContext = new Latencies[contexts.length];
        Arrays.setAll(byContext, i -> new Latencies(samples, REPETITIONS));
        Garbage garbage = new Garbage();
        long garbageBytes = 0;
        subject.begin(1, 0);
        int at = 0;
        for (int c = 0; c < contexts.length; c++) {
            int end = contexts[c] + samples;
            run.progress(name + " towards context " + contexts[c]);
            for (; at < Math.min(end, steadyFrom); at++) {
                record(timed(subject, name), at, contexts, byContext);
            }
            garbage.begin();
            for (; at < end; at++) {
                long ns = timed(subject, name);
                record(ns, at, contexts, byContext);
                steady.record(ns);
            }
            garbageBytes += garbage.end();
            try (Control beside = new Control(threads, byContext[c].ms(50))) {
                beside.measure(Math.max(1, samples / 2), control);
            }
        }
        double garbagePerStep = garbageBytes / (double) steady.count();
        report(run, subject, name, threads, steadyFrom, steady, peers.getOrDefault(steadyFrom, Double.NaN));
        run.distribution(
                new Distribution(NAME, "control-" + name, control),
                control.minMs(),
                Double.NaN,
                "fixed work on registers of the same length in the same run: the machine's noise; floor: the fastest one");
        for (int c = 0; c < contexts.length; c++) {
            run.distribution(
                    new Distribution(NAME, name + "-ctx" + contexts[c], byContext[c]),
                    floorMs(run, subject, 1, contexts[c], threads),
                    peers.getOrDefault(contexts[c], Double.NaN),
                    "");
        }
        run.result(Result.of(NAME, name + "-alloc", garbagePerStep, "B/step", Better.LOWER, steady.count())
                .withFloor(0)
                .withNote("heap bytes of the stepping thread and its helpers"));
        batched(run, subject, name, threads);
    }

    private void report(
            Run run, Subject subject, String name, int threads, int context, Latencies steady, double peer) {
        double floor = floorMs(run, subject, 1, context, threads);
        run.distribution(
                new Distribution(NAME, name, steady),
                floor,
                peer,
                "steady state, from context " + context
                        + " on; peer: the decision transformer there; floor: weights and state once at the bandwidth measured over as many bytes");
        Ceilings ceilings = run.shared(Ceilings.class, () -> new Ceilings(quick));
        double seconds = steady.ms(50) / 1e3;
        double bytes = subject.stepBytes(1, context);
        run.result(Result.of(NAME, name + "-bytes", bytes / seconds / 1e9, "GB/s", Better.HIGHER, steady.count())
                .withFloor(ceilings.read((long) bytes, threads).best() / 1e9)
                .withNote(
                        "weights and state read at the median step; floor: the bandwidth measured over as many bytes"));
        run.result(Result.of(
                        NAME,
                        name + "-flop",
                        subject.stepFlop(1) / seconds / 1e9,
                        "GFLOP/s",
                        Better.HIGHER,
                        steady.count())
                .withFloor(ceilings.fma(threads).best() / 1e9)
                .withNote("products with weights at the median step; floor: the multiply-adds measured in this run"));
    }

    private double floorMs(Run run, Subject subject, int sessions, int context, int threads) {
        double bytes = subject.stepBytes(sessions, context);
        Ceilings ceilings = run.shared(Ceilings.class, () -> new Ceilings(quick));
        return 1e3 * bytes / ceilings.read((long) bytes, threads).best();
    }

    private void batched(Run run, Subject subject, String name, int threads) {
        int sessions = settings.sessions();
        if (sessions == 1) {
            return;
        }
        int context = Math.min(100, settings.contexts().getLast());
        int samples = Math.max(1, settings.samples() / 4);
        run.progress(name + " with " + sessions + " sessions");
        subject.begin(sessions, context);
        Latencies latencies = new Latencies(samples, REPETITIONS);
        for (int i = 0; i < samples; i++) {
            latencies.record(timed(subject, name));
        }
        run.distribution(
                new Distribution(NAME, name + "-" + sessions + "s", latencies),
                floorMs(run, subject, sessions, context, threads),
                Double.NaN,
                String.format(
                        Locale.ROOT,
                        "%d sessions in one step from context %d on: %.3f ms a session",
                        sessions,
                        context,
                        latencies.ms(50) / sessions));
    }

    /** Step {@code at} belongs to every context that lies behind it and is not further away than there are samples. */
    private void record(long ns, int at, int[] contexts, Latencies[] byContext) {
        for (int c = 0; c < contexts.length; c++) {
            if (at >= contexts[c] && at < contexts[c] + settings.samples()) {
                byContext[c].record(ns);
            }
        }
    }

    /** Takes a step and says how many nanoseconds it took. */
    private static long timed(Subject subject, String name) {
        subject.fill();
        long begin = System.nanoTime();
        subject.step();
        long ns = System.nanoTime() - begin;
        if (!subject.usable()) {
            throw new WrongAnswerException(
                    name + " gave an answer that is not finite",
                    "the policy said so of a timed step",
                    "do not trust this build; run lram test");
        }
        return ns;
    }
}
