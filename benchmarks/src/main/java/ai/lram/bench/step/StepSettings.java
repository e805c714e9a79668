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
 * @param transformer measure a decision transformer of equal size beside it
 * @param warmUpSeconds steps taken before anything is timed
 */
public record StepSettings(
        List<ModelSize> sizes,
        List<LramSubject.Weights> weights,
        List<Integer> contexts,
        List<Integer> threads,
        int sessions,
        int samples,
        boolean transformer,
        double warmUpSeconds) {
    private static final int LONGEST_CONTEXT = 1_000_000;
    private static final int MOST_THREADS = 256;
    private static final int MOST_SESSIONS = 1024;

    /** Contexts that are reported unless asked otherwise. */
    public static final List<Integer> CONTEXTS = List.of(50, 500, 1600, 8192, 25_600);

    public StepSettings {
        sizes = sizes.stream().distinct().toList();
        weights = weights.stream().distinct().toList();
        contexts = List.copyOf(new TreeSet<>(contexts));
        threads = List.copyOf(new TreeSet<>(threads));
        if (sizes.isEmpty() || weights.isEmpty() || contexts.isEmpty() || threads.isEmpty()) {
            throw new BenchException(
                    "the control step is measured with nothing",
                    "sizes, weights, contexts or threads are empty",
                    "name one of each");
        }
        requireWithin("context", contexts.getFirst(), 1, LONGEST_CONTEXT);
        requireWithin("context", contexts.getLast(), 1, LONGEST_CONTEXT);
        requireWithin("threads", threads.getFirst(), 1, MOST_THREADS);
        requireWithin("threads", threads.getLast(), 1, MOST_THREADS);
        requireWithin("sessions", sessions, 1, MOST_SESSIONS);
        requireWithin("samples", samples, 1, 10_000_000);
    }

    private static void requireWithin(String what, int value, int low, int high) {
        if (value < low || value > high) {
            throw new BenchException(
                    what + " " + value, "it lies in " + low + ".." + high, "choose a value within these");
        }
    }

    /** 16M at every context, on one thread and two, and eight sessions; or, quick, a few steps of it. */
    public static StepSettings defaults(boolean quick) {
        return new StepSettings(
                List.of(ModelSize.of("16M")),
                LramSubject.WEIGHTS,
                quick ? List.of(50, 100) : CONTEXTS,
                usualThreads(),
                8,
                quick ? 100 : 2000,
                true,
                quick ? 0.5 : 4);
    }

    /** One thread and, where there are two processors, two. */
    public static List<Integer> usualThreads() {
        return Runtime.getRuntime().availableProcessors() > 1 ? List.of(1, 2) : List.of(1);
    }

    /** Storages by name. @throws BenchException if there is none of a name; the message lists those there are */
    public static List<LramSubject.Weights> weightsNamed(List<String> names) {
        List<LramSubject.Weights> found = new ArrayList<>();
        List<String> known =
                LramSubject.WEIGHTS.stream().map(LramSubject.Weights::name).toList();
        for (String name : names) {
            int at = known.indexOf(name);
            if (at < 0) {
                throw new BenchException(
                        "weights cannot be stored as " + name,
                        "the control step supports " + known,
                        "name some of them");
            }
            found.add(LramSubject.WEIGHTS.get(at));
        }
        return found;
    }
}
