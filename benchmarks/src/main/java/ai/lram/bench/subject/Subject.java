package ai.lram.bench.subject;

import ai.lram.bench.WrongAnswerException;

/**
 * Something whose control step is timed: ours, or an alternative. All its sessions go through every step together. One thread owns it, the
 * one that made it.
 */
public interface Subject extends AutoCloseable {
    /**
     * Compares its answers with those of another way to compute the same, on the first steps of an episode.
     *
     * @return largest difference found, relative to the largest answer
     * @throws WrongAnswerException if they differ by more than rounding can explain
     */
    double check();

    /** Empties its sessions and brings the first {@code sessions} of them to where {@code context} steps lie behind. */
    void begin(int sessions, int context);

    /** Sets the inputs of the next step; not timed. */
    void fill();

    /** Takes one environment step with every session; timed, leaves no garbage when warm. */
    void step();

    /** Whether the last step's answers can be used. */
    boolean usable();

    /**
     * Takes a step and says how many nanoseconds it took.
     *
     * @param name for the error
     * @throws WrongAnswerException if the answers cannot be used
     */
    default long stepNs(String name) {
        fill();
        long begin = System.nanoTime();
        step();
        long ns = System.nanoTime() - begin;
        if (!usable()) {
            throw new WrongAnswerException(
                    name + " gave an answer that is not finite",
                    "the policy said so of a timed step",
                    "do not trust this build or device; run lram test");
        }
        return ns;
    }

    /** Bytes a step of {@code sessions} sessions cannot but read or write once {@code context} steps lie behind: weights once, state once. */
    double stepBytes(int sessions, int context);

    /** Floating-point operations of the products with weights in a step of {@code sessions} sessions. */
    double stepFlop(int sessions);

    @Override
    void close();
}
