package ai.lram.bridge.rollout;

/** Takes generated episodes one by one, in the generating thread. */
@FunctionalInterface
public interface EpisodeSink {
    /**
     * Takes one episode; row t holds o_t, a_t and the reward r_t that followed. The arrays are reused: copy what is
     * kept.
     *
     * @param taskId environment id
     * @param length number of rows, L
     * @param observations (L, observationSize) row-major in raw units; longer than L rows
     * @param actions (L, actionSize) row-major in raw units: those executed; longer than L rows
     * @param rewards L rewards; longer than L
     * @param terminated true if a final state ended the episode, false if it was truncated
     */
    void episode(String taskId, int length, float[] observations, float[] actions, float[] rewards, boolean terminated);
}
