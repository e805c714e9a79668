package ai.lram.agent.baseline;

/** Predicts the action at one row of an episode from its observations, and perhaps its earlier actions. Single thread. */
public interface ActionPredictor {
    /** Key in reports, e.g. {@code ridge}. */
    String name();

    /**
     * @param episode rows of the episode up to {@code t} may be read
     * @param t row, 0-based
     * @param action receives the prediction in raw units
     */
    void predict(EpisodeRows episode, int t, float[] action);
}
