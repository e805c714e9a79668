package ai.lram.bridge.env;

/**
 * A simulated robot and its task.
 *
 * <p>The same seed and actions give the same observations and rewards. Single thread; {@link #step} and {@link
 * #reset} allocate nothing. The caller owns every array; none is kept.
 */
public interface Environment {
    EnvironmentSpec spec();

    /**
     * Starts an episode drawn from {@code seed} and writes its first observation.
     *
     * @param observation length {@link EnvironmentSpec#observationSize()}
     * @throws InvalidBufferException if its length differs
     */
    void reset(long seed, float[] observation);

    /**
     * Executes one action and writes the observation that follows it.
     *
     * @param action length {@link EnvironmentSpec#actionSize()}; a continuous entry outside its bounds is clipped
     *     to them, a discrete action is its id
     * @param observation length {@link EnvironmentSpec#observationSize()}
     * @throws InvalidActionException if the length differs, an entry is NaN or infinite, or there is no such
     *     discrete action
     * @throws InvalidBufferException if the observation buffer's length differs
     * @throws EnvironmentStateException before the first reset and after the end of an episode
     */
    void step(float[] action, float[] observation);

    /** Reward of the last step. */
    float reward();

    /** True if the last step ended the episode by reaching a final state of the task. */
    boolean terminated();

    /** True if the last step ended the episode because {@link EnvironmentSpec#maxEpisodeSteps()} were done. */
    boolean truncated();

    /** True if the episode is over. */
    default boolean done() {
        return terminated() || truncated();
    }
}
