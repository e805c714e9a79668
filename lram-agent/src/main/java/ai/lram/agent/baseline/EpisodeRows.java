package ai.lram.agent.baseline;

import ai.lram.dataset.Column;
import ai.lram.dataset.store.TrajectoryStore;

/**
 * Observations and actions of one episode in raw units, row-major.
 *
 * @param length rows
 * @param observationSize numbers per observation
 * @param actionSize numbers per action
 */
public record EpisodeRows(int length, int observationSize, int actionSize, float[] observations, float[] actions) {
    public static EpisodeRows read(TrajectoryStore store, int episode) {
        int n = store.length(episode);
        var info = store.taskInfo(store.episode(episode).taskId());
        int d = info.observationWidth();
        int a = info.actionWidth();
        float[] o = new float[n * d];
        float[] u = new float[n * a];
        store.readWindow(episode, 0, n, Column.OBSERVATION, o, 0);
        store.readWindow(episode, 0, n, Column.ACTION, u, 0);
        return new EpisodeRows(n, d, a, o, u);
    }
}
