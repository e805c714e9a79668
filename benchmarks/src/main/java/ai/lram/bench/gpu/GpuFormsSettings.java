package ai.lram.bench.gpu;

import ai.lram.backend.DType;
import ai.lram.bench.BenchException;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.TreeSet;

/**
 * Which steps are compared in every form.
 *
 * @param weights of all sizes
 * @param state type of matrix states, keys and values
 * @param sessions numbers of sessions in a step, ascending; those that do not fit into the device's memory are left out
 * @param steps timed of each
 * @param longestSeconds of timed steps; a case that takes longer ends with fewer of them
 */
public record GpuFormsSettings(
        List<ModelSize> sizes,
        LramSubject.Weights weights,
        DType state,
        List<Integer> sessions,
        int steps,
        double longestSeconds) {
    private static final List<Integer> SESSIONS = List.of(1, 2, 4, 8, 16, 64, 256);
    private static final List<Integer> QUICK_SESSIONS = List.of(1, 8, 64);
    private static final int MOST_SESSIONS = 4096;
    private static final int STEPS = 1000;
    private static final int QUICK_STEPS = 100;

    public GpuFormsSettings {
        sizes = List.copyOf(sizes);
        sessions = List.copyOf(new TreeSet<>(sessions));
        for (int n : sessions) {
            if (n < 1 || n > MOST_SESSIONS) {
                throw new BenchException(
                        "steps of " + n + " sessions", "they are 1 to " + MOST_SESSIONS, "name numbers within these");
            }
        }
        if (steps < 1) {
            throw new BenchException(
                    steps + " steps", "a distribution needs one at least", "name a number of 1 or more");
        }
    }

    /**
     * @param sessions none for the usual ones
     * @param steps none for the usual number
     */
    public static GpuFormsSettings of(
            List<String> sizes,
            LramSubject.Weights weights,
            DType state,
            List<Integer> sessions,
            Optional<Integer> steps,
            boolean quick) {
        return new GpuFormsSettings(
                sizes.stream().map(ModelSize::of).distinct().toList(),
                weights,
                state,
                sessions.isEmpty() ? quick ? QUICK_SESSIONS : SESSIONS : sessions,
                steps.orElse(quick ? QUICK_STEPS : STEPS),
                quick ? 0.5 : 2);
    }

    /** A table of forms that is written in the end. */
    public record Table(Path file, String command) {}
}
