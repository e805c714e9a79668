package ai.lram.bench.step;

import ai.lram.bench.BenchException;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;

/**
 * What the control step is measured with.
 *
 * @param sizes model sizes
 * @param weights storages of weights, by name
 * @param contexts environment steps that lie behind when a measurement begins, ascending
 * @param threads worker threads, ascending: what is compiled later must not be compiled beside a spinning helper
 * @param sessions sessions of the batched case
 * @param samples timed steps at each context
 * @param garbageSteps steps in which garbage is counted, at least
 * @param peers alternatives beside every size
 * @param singles further cases, steady state of one session only; one that does not fit into memory is left out with a note
 * @param warmUpSeconds steps taken before anything is timed
 */
public record StepSettings(
        List<ModelSize> sizes,
        List<LramSubject.Weights> weights,
        List<Integer> contexts,
        List<Integer> threads,
        int sessions,
        int samples,
        int garbageSteps,
        Peers peers,
        List<Single> singles,
        double warmUpSeconds) {
    private static final int LONGEST_CONTEXT = 1_000_000;
    private static final int MOST_THREADS = 256;
    private static final int MOST_SESSIONS = 1024;

    /** Contexts that are reported unless asked otherwise. */
    public static final List<Integer> CONTEXTS = List.of(50, 500, 1600, 8192, 25_600);

    /** Contexts at which a transformer is measured unless asked otherwise; its cache after more takes gigabytes. */
    public static final List<Integer> TRANSFORMER_CONTEXTS = List.of(50, 500, 1600, 8192);

    /** Steps in which garbage is counted unless asked otherwise. */
    public static final int GARBAGE_STEPS = 20_000;

    private static final List<Integer> QUICK_CONTEXTS = List.of(50, 100);

    /**
     * Alternatives.
     *
     * @param transformerContexts contexts of a decision transformer of equal size, ascending; empty for none
     * @param onnxRuntime the same model in ONNX Runtime
     */
    public record Peers(List<Integer> transformerContexts, boolean onnxRuntime) {
        public Peers {
            transformerContexts = List.copyOf(new TreeSet<>(transformerContexts));
            requireContexts(transformerContexts);
        }

        /** No alternative. */
        public static final Peers NONE = new Peers(List.of(), false);
    }

    /**
     * One case for itself.
     *
     * @param note beside its result, e.g. a goal; empty for none
     */
    public record Single(ModelSize size, LramSubject.Weights weights, int threads, String note) {}

    public StepSettings {
        sizes = sizes.stream().distinct().toList();
        weights = weights.stream().distinct().toList();
        contexts = List.copyOf(new TreeSet<>(contexts));
        threads = List.copyOf(new TreeSet<>(threads));
        singles = List.copyOf(singles);
        if (sizes.isEmpty() || weights.isEmpty() || contexts.isEmpty() || threads.isEmpty()) {
            throw new BenchException(
                    "the control step is measured with nothing",
                    "sizes, weights, contexts or threads are empty",
                    "name one of each");
        }
        requireContexts(contexts);
        requireWithin("threads", threads.getFirst(), 1, MOST_THREADS);
        requireWithin("threads", threads.getLast(), 1, MOST_THREADS);
        requireWithin("sessions", sessions, 1, MOST_SESSIONS);
        requireWithin("samples", samples, 1, 10_000_000);
        requireWithin("garbage steps", garbageSteps, 0, 100_000_000);
    }

    private static void requireContexts(List<Integer> contexts) {
        if (!contexts.isEmpty()) {
            requireWithin("context", contexts.getFirst(), 1, LONGEST_CONTEXT);
            requireWithin("context", contexts.getLast(), 1, LONGEST_CONTEXT);
        }
    }

    private static void requireWithin(String what, int value, int low, int high) {
        if (value < low || value > high) {
            throw new BenchException(
                    what + " " + value, "it lies in " + low + ".." + high, "choose a value within these");
        }
    }

    /** 16M at every context, on one thread and two, eight sessions, a small model and a large one; or, quick, a few steps of it. */
    public static StepSettings defaults(boolean quick) {
        List<Integer> contexts = quick ? QUICK_CONTEXTS : CONTEXTS;
        Single small = new Single(ModelSize.of("2M"), LramSubject.weights("fp32"), 1, "goal: 0.1 ms");
        Single large = new Single(
                ModelSize.of("206M"),
                LramSubject.weights("bf16"),
                usualThreads().getLast(),
                "");
        return new StepSettings(
                List.of(ModelSize.of("16M")),
                LramSubject.WEIGHTS,
                contexts,
                usualThreads(),
                8,
                quick ? 100 : 2000,
                quick ? 200 : GARBAGE_STEPS,
                new Peers(quick ? QUICK_CONTEXTS : TRANSFORMER_CONTEXTS, true),
                quick ? List.of(small) : List.of(small, large),
                quick ? 0.5 : 4);
    }

    /** One thread and, where there are two processors, two. */
    public static List<Integer> usualThreads() {
        return Runtime.getRuntime().availableProcessors() > 1 ? List.of(1, 2) : List.of(1);
    }

    /** Storages by name. @throws BenchException if there is none of a name; the message lists those there are */
    public static List<LramSubject.Weights> weightsNamed(List<String> names) {
        List<LramSubject.Weights> found = new ArrayList<>();
        for (String name : names) {
            found.add(LramSubject.weights(name));
        }
        return found;
    }
}
