package ai.lram.bench.gpu;

import ai.lram.backend.DType;
import ai.lram.bench.BenchException;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.TreeSet;

/**
 * What of the GPU control step is measured.
 *
 * @param models one after the other
 * @param weights of our step
 * @param state type of its matrix states, keys and values
 * @param warmUpSeconds of steps before those that are timed
 * @param longestSeconds of timed steps; a case that takes longer ends with fewer of them
 * @param contexts environment steps behind one session of every size, ascending, beside those of the model's long course
 * @param bytesSteps steps over which the device's memory is watched, with one session of the smallest size; 0 for none
 */
public record GpuStepSettings(
        List<Model> models,
        LramSubject.Weights weights,
        DType state,
        double warmUpSeconds,
        double longestSeconds,
        List<Integer> contexts,
        int bytesSteps) {
    /** Steps of a 16M model that are timed unless somebody asks for another number. */
    public static final int STEPS = 100_000;

    private static final int QUICK_STEPS = 2000;
    private static final int LONGEST_CONTEXT = 1_000_000;

    public GpuStepSettings {
        models = List.copyOf(models);
        contexts = List.copyOf(new TreeSet<>(contexts));
        for (int context : contexts) {
            if (context < 0 || context > LONGEST_CONTEXT) {
                throw new BenchException(
                        "context " + context, "it lies in 0.." + LONGEST_CONTEXT, "choose a value within these");
            }
        }
        if (bytesSteps < 0) {
            throw new BenchException(
                    "bytes steps " + bytesSteps, "memory is watched over steps that are taken", "name 0 for none");
        }
    }

    /** The same at other contexts. */
    public GpuStepSettings withContexts(List<Integer> others) {
        return new GpuStepSettings(models, weights, state, warmUpSeconds, longestSeconds, others, bytesSteps);
    }

    /** The same with the device's memory watched over so many steps. */
    public GpuStepSettings withBytesSteps(int steps) {
        return new GpuStepSettings(models, weights, state, warmUpSeconds, longestSeconds, contexts, steps);
    }

    /** The model with the narrowest stream. */
    Model smallest() {
        return models.stream()
                .min(Comparator.comparingInt(m -> m.size().backbone().width()))
                .orElseThrow();
    }

    /**
     * One size.
     *
     * @param steps timed with one session
     * @param longContext after which one session is measured beside its steady state; 0 for none
     * @param batches of several sessions
     * @param transformer contexts of the decision transformer of equal size
     * @param publishedMs of the published step code in a CUDA graph; NaN if unknown
     */
    record Model(
            ModelSize size,
            int steps,
            int longContext,
            List<Batch> batches,
            List<Transformer> transformer,
            double publishedMs) {
        int sessions() {
            return batches.stream().mapToInt(Batch::sessions).max().orElse(1);
        }
    }

    /**
     * Several sessions in one step.
     *
     * @param context environment steps that lie behind
     * @param rate report steps a second rather than milliseconds
     * @param apart their episodes began a step apart, not together
     */
    record Batch(String name, int sessions, int context, boolean rate, boolean apart) {}

    /** A context, and what a cached transformer of that size took in a CUDA graph on an H100; NaN if unknown. */
    record Transformer(int context, double publishedMs) {}

    /**
     * @param sizes 16M and 206M, or one of them
     * @param steps timed with one session of 16M; larger models and batches take a share of them
     */
    public static GpuStepSettings of(
            List<String> sizes, LramSubject.Weights weights, DType state, Integer steps, boolean quick) {
        int n = steps == null ? quick ? QUICK_STEPS : STEPS : steps;
        if (n < 1) {
            throw new BenchException(n + " steps", "a distribution needs one at least", "name a number of 1 or more");
        }
        List<Model> models =
                sizes.stream().map(size -> model(size, state, n, quick)).toList();
        return new GpuStepSettings(models, weights, state, quick ? 0.2 : 2, quick ? 2 : 10, List.of(), 0);
    }

    /** Both sizes. */
    public static List<String> sizes() {
        return List.of("16M", "206M");
    }

    private static Model model(String name, DType state, int steps, boolean quick) {
        String kept = state == DType.F32 ? "-fp32state" : "-bf16state";
        return switch (name.toUpperCase(Locale.ROOT)) {
            case "16M" ->
                new Model(
                        ModelSize.of("16M"),
                        steps,
                        quick ? 0 : 25_600,
                        List.of(
                                new Batch("steps-16m-b256", 256, 500, true, false),
                                new Batch("steps-16m-b256-apart", 256, 500, true, true)),
                        List.of(new Transformer(50, 0.21), new Transformer(500, 0.28), new Transformer(1600, 0.44)),
                        2.5);
            case "206M" ->
                new Model(
                        ModelSize.of("206M"),
                        Math.max(1, steps / 10),
                        0,
                        List.of(
                                new Batch("step-206m-b64-ctx50", 64, 50, false, false),
                                new Batch("step-206m-b64-ctx500" + kept, 64, 500, false, false),
                                new Batch("step-206m-b64-ctx500" + kept + "-apart", 64, 500, false, true)),
                        List.of(new Transformer(50, 0.60), new Transformer(500, 0.72), new Transformer(1600, 1.05)),
                        8.5);
            default ->
                throw new BenchException(
                        "the GPU control step is not measured for size " + name,
                        "its sizes are " + sizes(),
                        "name some of them");
        };
    }
}
