package ai.lram.bench.accuracy;

import ai.lram.agent.baseline.EpisodeRows;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.eval.PolicyPredictor;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.bench.BenchException;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Memory;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.PolicyMemory;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;

/**
 * One trained model stepped with its weights stored in every way at once, along recorded episodes: all see the recorded observations, as in
 * {@link ai.lram.agent.eval.OpenLoopEvaluation}, whatever they answer. Cases are named {@code WEIGHTS-WHAT}; fp32 is the exact one. With a
 * narrow state that is one more case, {@code bf16state-WHAT}, whose weights are fp32.
 */
public final class AccuracyBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "accuracy";

    /** Steps that are compared unless asked otherwise. */
    public static final int STEPS = 10_000;

    private final String device;
    private final DType state;
    private final Path model;
    private final LramConfig config;
    private final TrajectoryStore store;
    private final TaskCard task;
    private final int[] episodes;
    private final int steps;

    /**
     * Weights and state on the CPU, as {@link #AccuracyBench(String, DType, Path, TrajectoryStore, TaskCard, int[], int)}; the state is fp32.
     */
    public AccuracyBench(Path model, TrajectoryStore store, TaskCard task, int[] episodes, int steps) {
        this("cpu", DType.F32, model, store, task, episodes, steps);
    }

    /**
     * @param device engine that all are stepped on
     * @param state type of matrix states, keys and values that is compared with fp32; F32 compares weights alone
     * @param model checkpoint
     * @param store stays the caller's, open while this runs
     * @param task of the model and the store
     * @param episodes of that task, in the order in which they are taken
     * @param steps as many rows of them are compared, or all if they have fewer
     */
    public AccuracyBench(
            String device, DType state, Path model, TrajectoryStore store, TaskCard task, int[] episodes, int steps) {
        if (steps < 1 || episodes.length == 0) {
            throw new BenchException(
                    steps + " steps of " + episodes.length + " episodes",
                    "there is nothing to compare",
                    "give at least one of each");
        }
        if (task.hasImage()) {
            throw new BenchException(
                    "task " + task.id() + " is seen as images",
                    "stores hold numbers only",
                    "name a task that observes numbers");
        }
        this.device = device;
        this.state = state;
        this.model = model;
        config = Checkpoint.readConfig(model);
        this.store = store;
        this.task = task;
        this.episodes = episodes.clone();
        this.steps = steps;
    }

    /** What it measures, without one at hand. */
    public static String purpose() {
        return "how far a trained model's logits and actions move with narrow weights or a narrow state, on recorded observations";
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return purpose();
    }

    @Override
    public void require() {
        long bytes = LramSubject.WEIGHTS.stream()
                .mapToLong(w -> PolicyMemory.bytes(config, w.bytes(), 1))
                .sum();
        bytes += state == DType.F32 ? 0 : PolicyMemory.bytes(config, Float.BYTES, state, 1);
        Memory.require("the model " + model + " with weights stored in every way", bytes);
    }

    /** A policy with one storage of weights and state. */
    private record Stored(
            String name, LramPolicy policy, PolicyPredictor predictor, float[] action, Deviation deviation)
            implements AutoCloseable {
        void step(EpisodeRows episode, int t) {
            predictor.predict(episode, t, action);
        }

        @Override
        public void close() {
            policy.close();
        }
    }

    @Override
    public void run(Run run) {
        require();
        try (Backend backend = Backends.open(device, BackendOptions.threads(1))) {
            measure(run, backend);
        }
    }

    void measure(Run run, Backend backend) {
        try (Checkpoint.Loaded loaded = Checkpoint.load(model, backend, false);
                Stored fp32 = stored(loaded, "fp32", "fp32", DType.F32);
                Stored bf16 = stored(loaded, "bf16", "bf16", DType.F32);
                Stored int8 = stored(loaded, "int8", "int8", DType.F32);
                Stored narrow = state == DType.F32 ? null : stored(loaded, "bf16state", "fp32", state)) {
            List<Stored> all = narrow == null ? List.of(fp32, bf16, int8) : List.of(fp32, bf16, int8, narrow);
            compare(run, all);
            report(run, all);
            run.note("All were stepped on " + backend.describe() + ".");
        }
    }

    private Stored stored(Checkpoint.Loaded loaded, String name, String weights, DType matrices) {
        LramPolicy.Options options = LramPolicy.Options.of(1, 1).withState(matrices);
        LramPolicy policy = LramSubject.weights(weights).policy().make(loaded.model(), loaded.card(), options);
        return new Stored(
                name,
                policy,
                new PolicyPredictor(policy, task),
                new float[task.actionSize()],
                new Deviation(task, config));
    }

    private void compare(Run run, List<Stored> all) {
        Stored exact = all.getFirst();
        int left = steps;
        for (int i = 0; i < episodes.length && left > 0; i++) {
            run.progress("episode " + episodes[i] + ", " + (steps - left) + " of at most " + steps + " steps");
            EpisodeRows rows = EpisodeRows.read(store, episodes[i]);
            for (int t = 0; t < rows.length() && left > 0; t++, left--) {
                for (Stored s : all) {
                    s.step(rows, t);
                    s.deviation()
                            .add(
                                    exact.policy().logits(),
                                    s.policy().logits(),
                                    exact.action(),
                                    s.action(),
                                    rows.actions(),
                                    t * rows.actionSize());
                }
            }
        }
    }

    private void report(Run run, List<Stored> all) {
        Deviation exact = all.getFirst().deviation();
        run.note(String.format(
                Locale.ROOT,
                "Task %s, %d recorded steps; logits of the fp32 weights span %.2f; actions count in parts of what their bins span.",
                task.id(),
                exact.steps(),
                exact.logitRange()));
        for (Stored s : all) {
            Deviation d = s.deviation();
            if (s != all.getFirst()) {
                run.result(result(s.name() + "-logits-max", d.largestLogit(), d)
                        .withNote("largest difference of a logit from fp32's, of the range of these"));
                run.result(result(s.name() + "-logits-rms", d.rmsLogit(), d));
                run.result(result(s.name() + "-action-max", d.largestAction(), d)
                        .withNote("largest difference of an action from fp32's, of what its bins span"));
                run.result(result(s.name() + "-action-mean", d.meanAction(), d));
                run.result(Result.of(NAME, s.name() + "-same-bin", d.equalChoices(), "%", Better.HIGHER, d.steps())
                        .withFloor(100)
                        .withNote("steps and action dimensions whose most likely bin, or discrete action, is fp32's"));
            }
            run.result(result(s.name() + "-error", d.meanError(), d)
                    .withPeer(s == all.getFirst() ? Double.NaN : exact.meanError())
                    .withNote("mean distance to the recorded action, of what its bins span; peer: fp32"));
        }
    }

    private static Result result(String name, double value, Deviation d) {
        return Result.of(NAME, name, value, "of range", Better.LOWER, d.steps()).withFloor(0);
    }
}
