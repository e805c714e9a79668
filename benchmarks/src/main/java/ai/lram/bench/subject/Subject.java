package ai.lram.bench.subject;

/**
 * Something whose control step is timed: ours, or an alternative. All its sessions go through every step together. One thread owns it, the
 * one that made it.
 */
public interface Subject extends AutoCloseable {
    /**
     * Compares its answers with those of another way to compute the same, on the first steps of an episode.
     *
     * @return largest difference found, relative to the largest answer
     * @throws ai.lram.bench.WrongAnswerException if they differ by more than rounding can explain
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

    /** Bytes a step of {@code sessions} sessions cannot but read or write once {@code context} steps lie behind: weights once, state once. */
    double stepBytes(int sessions, int context);

    /** Floating-point operations of the products with weights in a step of {@code sessions} sessions. */
    double stepFlop(int sessions);

    @Override
    void close();
}
