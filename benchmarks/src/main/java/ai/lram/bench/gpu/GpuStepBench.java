package ai.lram.bench.gpu;

import ai.lram.agent.card.ModelCard;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.Replay;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.gpu.GpuStepSettings.Batch;
import ai.lram.bench.gpu.GpuStepSettings.Model;
import ai.lram.bench.gpu.GpuStepSettings.Transformer;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.Shapes;
import ai.lram.bench.subject.Subject;
import ai.lram.bench.subject.TransformerSubject;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.stream.IntStream;

/**
 * The control step on an NVIDIA GPU, by the host's clock from the observation in the host's memory to the action there. Cases are named {@code
 * step-SIZE-bK} for K sessions in one step in their steady state, with {@code -ctxC} after a context of C, {@code -apart} where their
 * episodes did not begin together; {@code steps-...} for environment steps a second; {@code dt-SIZE-ctxC} for a decision transformer with
 * cached keys and values on the same engine; {@code -first-step} for the first step after the warm-up over p99 of the steady state; {@code bytes-...} for the memory that a session's steps take on the device.
 */
public final class GpuStepBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "gpu-step";

    /** The steady state begins here: every head has folded by then, in all published sizes. */
    static final int STEADY_FROM = 500;

    static final int OBSERVATIONS = 204;
    static final int REPETITIONS = 5;
    /** Steps of a session at each of the contexts that are compared, at most. */
    private static final int WINDOW = 2000;
    /** Steps that a case takes however long they are. */
    private static final int ENOUGH = 100;
    /** While the state has not been folded a step's cost depends on the context, which may grow by this share and a few steps. */
    private static final double GROWTH = 0.1;

    private static final int FEW = 4;

    /** Steps in a row. */
    private static final int STRETCH = 5;
    /** Of the steps of one session, in batches and of the transformer. */
    private static final int SHARE = 10;
    /** Of the cheapest recording. */
    private static final int LAUNCHES = 20_000;

    private static final double FP32_TOLERANCE = 1e-4;
    /** Engines may round what narrow weights are multiplied with, and a narrow state. */
    private static final double NARROW_TOLERANCE = 0.02;

    /** Of the documented bytes, by which those taken may differ. */
    private static final double FORMULA = 0.02;

    static final String FLOOR =
            "floor: weights and state once at the bandwidth of a copy in device memory, which caches can beat";

    private final GpuStepSettings settings;
    private final boolean quick;
    private final ModelCard card = Shapes.card(Shapes.vector("step", OBSERVATIONS, 1, 100));

    /** @param quick less time for what floors are measured with */
    public GpuStepBench(GpuStepSettings settings, boolean quick) {
        this.settings = settings;
        this.quick = quick;
    }

    /** In one sentence, for lists. */
    public static String purpose() {
        return "the control step on an NVIDIA GPU: percentiles, contexts, batches, beside a transformer on the same engine and published times";
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return purpose();
    }

    /** A GPU that the engine can use. */
    @Override
    public void require() {
        GpuEngine.require();
    }

    @Override
    public void run(Run run) {
        require();
        try (Backend engine = GpuEngine.open()) {
            measure(run, engine, copy(run, engine, quick));
            run.note(engine.describe());
        }
    }

    /** Bytes a second of a copy in device memory, read and written. */
    static double copy(Run run, Backend engine, boolean quick) {
        run.progress("copy");
        return DeviceCeilings.measure(engine, DeviceCeilings.COPY_ELEMENTS, DeviceCeilings.SIZE, quick)
                .bytesPerSecond();
    }

    /** @param bytesPerSecond of {@link #copy} */
    void measure(Run run, Backend engine, double bytesPerSecond) {
        run.note(
                "GPU control steps are measured with drawn weights, 204 observations and one action dimension (a head of 274 logits); matrix"
                        + " states in " + settings.state()
                        + "; peers are not of this run but an H100's: for our step the published step code in a CUDA graph, for"
                        + " the transformer a cached one of equal size in a CUDA graph.");
        launch(run, engine);
        for (Model model : settings.models()) {
            new OfModel(run, engine, bytesPerSecond, model).measure();
        }
        if (settings.bytesSteps() > 0) {
            Model model = settings.smallest();
            new OfModel(run, engine, bytesPerSecond, model).bytes(settings.bytesSteps());
        }
    }

    /** Where the {@value #STRETCH} steps in a row begin whose median is the largest. */
    static int slowest(double[] ms) {
        return IntStream.rangeClosed(0, ms.length - STRETCH)
                .boxed()
                .max(Comparator.comparingDouble(from -> median(ms, from)))
                .orElseThrow();
    }

    /** Of {@value #STRETCH} steps. */
    static double median(double[] ms, int from) {
        double[] stretch = Arrays.copyOfRange(ms, from, from + STRETCH);
        Arrays.sort(stretch);
        return stretch[STRETCH / 2];
    }

    /** How far logits may be from the CPU engine's, of the largest. */
    static double tolerance(LramSubject.Weights weights, DType state) {
        return weights.bytes() < Float.BYTES || state != DType.F32 ? NARROW_TOLERANCE : FP32_TOLERANCE;
    }

    /** What lies below every step but for its wait: a recording of one small kernel, launched and waited for as the driver says. */
    private void launch(Run run, Backend engine) {
        run.progress("launch");
        try (TensorArena arena = engine.arena("launch")) {
            Tensor word = arena.f32(1);
            Runnable kernel = () -> engine.ops().elementwise().fill(engine.stream(), 1, word);
            kernel.run();
            engine.stream().synchronize();
            try (Replay replay = engine.stream().record(kernel)) {
                int launches = quick ? LAUNCHES / 10 : LAUNCHES;
                for (int i = 0; i < launches; i++) {
                    replay.finish();
                }
                Latencies latencies = new Latencies(launches, REPETITIONS);
                for (int i = 0; i < launches; i++) {
                    long begin = System.nanoTime();
                    replay.finish();
                    latencies.record(System.nanoTime() - begin);
                }
                run.distribution(
                        new Distribution(NAME, "launch", latencies),
                        Double.NaN,
                        Double.NaN,
                        "a recording of one small kernel, launched and waited for; a step itself says when it is decided");
            }
        }
    }

    /** One size. */
    private final class OfModel {
        private final Run run;
        private final Backend engine;
        private final double bytesPerSecond;
        private final Model model;

        OfModel(Run run, Backend engine, double bytesPerSecond, Model model) {
            this.run = run;
            this.engine = engine;
            this.bytesPerSecond = bytesPerSecond;
            this.model = model;
        }

        void measure() {
            String key = model.size().key();
            run.progress("step-" + key + " on both engines");
            try (LramSubject ours = LramSubject.open(
                    engine, model.size(), settings.weights(), settings.state(), card, model.sessions())) {
                long firstNs = first(ours, "step-" + key + "-b1-first-step");
                String difference = check(ours);
                single(ours, "step-" + key + "-b1", difference, firstNs);
                contexts(ours, "step-" + key + "-b1-ctx", difference);
                for (Batch b : model.batches()) {
                    batch(ours, b, difference);
                }
            }
            if (!model.transformer().isEmpty()) {
                run.progress("dt-" + key);
                int longest = model.transformer().stream()
                        .mapToInt(Transformer::context)
                        .max()
                        .orElseThrow();
                try (TransformerSubject theirs =
                        TransformerSubject.open(engine, model.size(), settings.weights(), card, longest)) {
                    theirs.check();
                    for (Transformer t : model.transformer()) {
                        transformer(theirs, t, "dt-" + key + "-ctx" + t.context());
                    }
                }
            }
        }

        private String check(LramSubject ours) {
            int steps = LramSubject.checkedSteps(model.size().backbone());
            double tolerance = tolerance(settings.weights(), settings.state());
            double worst = 0;
            try (Backend cpu = Backends.open("cpu", BackendOptions.defaults());
                    LramSubject same = LramSubject.open(cpu, model.size(), settings.weights(), card, 2)) {
                worst = Math.max(worst, ours.check(same.answers(1, steps), tolerance));
                for (int sessions : model.batches().stream()
                        .mapToInt(Batch::sessions)
                        .distinct()
                        .toArray()) {
                    worst = Math.max(worst, ours.check(same.answers(sessions, steps), tolerance));
                }
            }
            return String.format(
                    Locale.ROOT,
                    "%s weights, %s state; %.1e of the largest logit from the CPU's, whose state is F32",
                    settings.weights().name(),
                    settings.state(),
                    worst);
        }

        private void warmUp(Subject subject, int sessions, String name) {
            subject.begin(sessions, 0);
            for (long end = System.nanoTime() + (long) (1e9 * settings.warmUpSeconds()); System.nanoTime() < end; ) {
                subject.stepNs(name);
            }
        }

        /** The step that a server would serve first: after the warm-up, the first of an episode. */
        private long first(LramSubject ours, String name) {
            run.progress(name);
            ours.prepare(1);
            warmUp(ours, 1, name);
            ours.begin(1, 0);
            return ours.stepNs(name);
        }

        /** One session through its steady state, and past the long context if there is one. */
        private void single(LramSubject ours, String name, String difference, long firstNs) {
            run.progress(name);
            warmUp(ours, 1, name);
            ours.begin(1, STEADY_FROM);
            Latencies steady = new Latencies(model.steps(), REPETITIONS);
            int window = Math.min(WINDOW, model.steps());
            Latencies early = new Latencies(window, REPETITIONS);
            Latencies late = new Latencies(window, REPETITIONS);
            int far = model.longContext();
            int needed = far > 0 ? far + window : STEADY_FROM + ENOUGH;
            long end = System.nanoTime() + (long) (1e9 * settings.longestSeconds());
            for (int at = STEADY_FROM; at < needed || steady.count() < model.steps(); at++) {
                boolean timely = System.nanoTime() < end;
                if (at >= needed && !timely) {
                    break;
                }
                long ns = ours.stepNs(name);
                if (steady.count() < model.steps() && (timely || steady.count() < ENOUGH)) {
                    steady.record(ns);
                }
                if (at < STEADY_FROM + window) {
                    early.record(ns);
                }
                if (far > 0 && at >= far && at < far + window) {
                    late.record(ns);
                }
            }
            double bytes = ours.stepBytes(1, STEADY_FROM);
            report(name, steady, bytes, model.publishedMs(), "one session from context 500 on; " + difference);
            run.result(Result.of(NAME, name + "-first-step", firstNs / 1e6 / steady.ms(99), "x", Better.LOWER, 1)
                    .withNote(String.format(
                            Locale.ROOT,
                            "the first step after the warm-up, %.3f ms, over p99 of the steady state",
                            firstNs / 1e6)));
            if (far > 0) {
                String ctx = name + "-ctx";
                report(ctx + STEADY_FROM, early, bytes, model.publishedMs(), difference);
                report(ctx + far, late, ours.stepBytes(1, far), model.publishedMs(), difference);
                run.result(Result.of(
                                NAME,
                                ctx + far + "-to-ctx" + STEADY_FROM,
                                late.ms(50) / early.ms(50),
                                "x",
                                Better.LOWER,
                                late.count())
                        .withFloor(1)
                        .withNote("median step of one session after " + far + " steps over that after " + STEADY_FROM));
            }
        }

        /** One session at each of the contexts that were asked for and that {@link #single} has not come by. */
        private void contexts(LramSubject ours, String name, String difference) {
            List<Integer> there = model.longContext() > 0 ? List.of(STEADY_FROM, model.longContext()) : List.of();
            for (int context :
                    settings.contexts().stream().filter(c -> !there.contains(c)).toList()) {
                run.progress(name + context);
                Latencies latencies = at(
                        ours, name + context, () -> ours.begin(1, context), context, Math.min(WINDOW, model.steps()));
                report(name + context, latencies, ours.stepBytes(1, context), Double.NaN, difference);
            }
        }

        /**
         * Many steps of one session, and what they leave in the device's memory.
         *
         * @throws WrongAnswerException if it grows, or is not what the formula says
         */
        void bytes(int steps) {
            String name = "bytes-" + model.size().key() + "-b1";
            run.progress(name);
            try (LramSubject ours =
                    LramSubject.open(engine, model.size(), settings.weights(), settings.state(), card, 1)) {
                ours.prepare(1);
                warmUp(ours, 1, name);
                ours.begin(1, 0);
                long before = ours.liveBytes();
                OptionalLong freeBefore = engine.freeBytes();
                Latencies latencies = new Latencies(steps, REPETITIONS);
                for (int i = 0; i < steps; i++) {
                    latencies.record(ours.stepNs(name));
                }
                long after = ours.liveBytes();
                OptionalLong freeAfter = engine.freeBytes();
                long told = ours.toldBytes();
                if (after != before || Math.abs(after - told) > FORMULA * told) {
                    throw new WrongAnswerException(
                            name + ": a session's memory on the device is not what it should be",
                            after + " bytes after " + steps + " steps, " + before + " before, " + told
                                    + " by the formula",
                            "see who allocates in a step; correct PolicyMemory where a policy's layout has changed");
                }
                report(
                        name.replace("bytes", "step") + "-long",
                        latencies,
                        ours.stepBytes(1, steps),
                        Double.NaN,
                        steps + " steps on end from the beginning of an episode");
                run.result(Result.of(NAME, name, after, "B", Better.LOWER, steps)
                        .withFloor(told)
                        .withNote("parameters, weights as the step reads them, state and working memory after " + steps
                                + " steps, as many as before them; floor: the documented formula"));
                if (freeBefore.isPresent() && freeAfter.isPresent()) {
                    run.result(Result.of(
                                    NAME,
                                    name + "-driver",
                                    freeBefore.getAsLong() - freeAfter.getAsLong(),
                                    "B",
                                    Better.LOWER,
                                    steps)
                            .withFloor(0)
                            .withNote("what the driver has less of after them, whoever took it"));
                }
            }
        }

        private void batch(LramSubject ours, Batch b, String difference) {
            run.progress(b.name());
            int samples = Math.max(1, model.steps() / SHARE);
            warmUp(ours, b.sessions(), b.name());
            Runnable begin = b.apart()
                    ? () -> ours.beginApart(b.sessions(), b.context())
                    : () -> ours.begin(b.sessions(), b.context());
            Latencies latencies = at(ours, b.name(), begin, b.context(), samples);
            double bytes = ours.stepBytes(b.sessions(), b.context());
            String note = b.sessions() + " sessions in one step after " + b.context()
                    + (b.apart() ? ", begun a step apart; " : "; ") + difference;
            if (b.rate()) {
                rate(b, latencies, bytes, note);
            } else {
                report(b.name(), latencies, bytes, Double.NaN, note);
            }
            if (b.context() >= STEADY_FROM && !b.apart()) {
                beginning(ours, b, latencies.ms(50));
            }
        }

        /**
         * The first steps of episodes that begin together, in which all heads fold for the first time: the slowest stretch of them, by its median,
         * so that a hiccup of the host's is none.
         */
        private void beginning(LramSubject ours, Batch b, double steadyMs) {
            String name = b.name() + "-beginning";
            run.progress(name);
            ours.begin(b.sessions(), 0);
            double[] ms = new double[b.context()];
            for (int i = 0; i < ms.length; i++) {
                ms[i] = ours.stepNs(name) / 1e6;
            }
            int from = slowest(ms);
            run.result(Result.of(NAME, name, median(ms, from), "ms", Better.LOWER, STRETCH)
                    .withFloor(steadyMs)
                    .withNote("the slowest " + STRETCH + " steps of the first " + b.context() + ", from step " + from
                            + "; floor: the step after them"));
        }

        /** Steps after a context, begun anew where it grows and costs with it. */
        private Latencies at(LramSubject ours, String name, Runnable begin, int context, int samples) {
            int stretch = context < STEADY_FROM ? FEW + (int) (GROWTH * context) : samples;
            Latencies latencies = new Latencies(samples, REPETITIONS);
            long end = System.nanoTime() + (long) (1e9 * settings.longestSeconds());
            int enough = Math.min(samples, ENOUGH);
            while (latencies.count() < enough || latencies.count() < samples && System.nanoTime() < end) {
                begin.run();
                for (int i = 0; i < stretch && latencies.count() < samples; i++) {
                    if (latencies.count() >= enough && System.nanoTime() >= end) {
                        break;
                    }
                    latencies.record(ours.stepNs(name));
                }
            }
            return latencies;
        }

        private void transformer(TransformerSubject theirs, Transformer t, String name) {
            run.progress(name);
            int samples = Math.max(1, model.steps() / SHARE);
            warmUp(theirs, 1, name);
            theirs.begin(1, t.context());
            Latencies latencies = new Latencies(samples, REPETITIONS);
            long end = System.nanoTime() + (long) (1e9 * settings.longestSeconds());
            while (latencies.count() < samples && (latencies.count() < ENOUGH || System.nanoTime() < end)) {
                latencies.record(theirs.stepNs(name));
            }
            report(
                    name,
                    latencies,
                    theirs.stepBytes(1, t.context()),
                    t.publishedMs(),
                    settings.weights().name() + " weights, fp32 cache");
        }

        private double floorMs(double bytes) {
            return 1e3 * bytes / bytesPerSecond;
        }

        private void report(String name, Latencies latencies, double bytes, double publishedMs, String note) {
            double floor = floorMs(bytes);
            run.distribution(new Distribution(NAME, name, latencies), floor, publishedMs, note + "; " + FLOOR);
            bandwidth(name, latencies, bytes);
        }

        private void bandwidth(String name, Latencies latencies, double bytes) {
            run.detail(Result.of(
                            NAME,
                            name + "-bandwidth",
                            bytes / latencies.ms(50) / 1e9,
                            "TB/s",
                            Better.HIGHER,
                            latencies.count())
                    .withFloor(bytesPerSecond / 1e12));
        }

        private void rate(Batch b, Latencies latencies, double bytes, String note) {
            double perMs = 1e3 * b.sessions();
            Result r = Result.of(NAME, b.name(), perMs / latencies.ms(50), "steps/s", Better.HIGHER, latencies.count())
                    .withFloor(perMs / floorMs(bytes))
                    .withNote(note + "; " + FLOOR);
            double[] range = latencies.range(50);
            run.result(range == null ? r : r.withSpread(perMs / range[1], perMs / range[0]));
            for (Distribution.Tail tail : Distribution.TAILS) {
                if (latencies.count() >= tail.samples()) {
                    run.detail(new Distribution(NAME, b.name() + "-ms", latencies)
                            .result(tail.percentile(), tail.suffix())
                            .withFloor(floorMs(bytes)));
                }
            }
            bandwidth(b.name(), latencies, bytes);
        }
    }
}
