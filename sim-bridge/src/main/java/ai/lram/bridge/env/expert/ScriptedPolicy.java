package ai.lram.bridge.env.expert;

/**
 * A policy written by hand: a function of the observation and, where it is random, of a seed. Single thread, no
 * allocation.
 */
public interface ScriptedPolicy {
    /** Starts an episode; a policy without randomness or memory does nothing here. */
    default void reset(long seed) {}

    /**
     * Chooses an action.
     *
     * @param observation raw units, in the order of the environment's spec
     * @param action receives the action in raw units, within its bounds; a discrete action is its id
     */
    void act(float[] observation, float[] action);

    /**
     * Whether the last action was no choice but a push from outside. A recording leaves such steps out, so that its observations jump: what
     * it teaches is how to go on from there, not how to push, and the action before says little about the next.
     */
    default boolean pushed() {
        return false;
    }
}
