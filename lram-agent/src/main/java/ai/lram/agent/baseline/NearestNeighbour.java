package ai.lram.agent.baseline;

import ai.lram.agent.card.TaskCard;
import java.util.List;

/** The action of the training row whose standardised observation is nearest. */
public final class NearestNeighbour implements ActionPredictor {
    private final int d;
    private final float[] mean;
    private final float[] inverseStd;
    private final float[] rows;
    private final float[] actions;
    private final int a;
    private final float[] query;

    public NearestNeighbour(TaskCard task, List<EpisodeRows> training) {
        d = task.observationSize();
        a = task.actionSize();
        mean = new float[d];
        inverseStd = new float[d];
        for (int i = 0; i < d; i++) {
            mean[i] = (float) task.observation().get(i).mean();
            inverseStd[i] = (float) (1 / task.observation().get(i).std());
        }
        int n = training.stream().mapToInt(EpisodeRows::length).sum();
        rows = new float[n * d];
        actions = new float[n * a];
        int at = 0;
        for (EpisodeRows e : training) {
            for (int i = 0; i < e.length() * d; i++) {
                rows[at * d + i] = (e.observations()[i] - mean[i % d]) * inverseStd[i % d];
            }
            System.arraycopy(e.actions(), 0, actions, at * a, e.length() * a);
            at += e.length();
        }
        query = new float[d];
    }

    @Override
    public String name() {
        return "nearest";
    }

    @Override
    public void predict(EpisodeRows e, int t, float[] action) {
        for (int i = 0; i < d; i++) {
            query[i] = (e.observations()[t * d + i] - mean[i]) * inverseStd[i];
        }
        int best = 0;
        float bestDistance = Float.POSITIVE_INFINITY;
        int n = rows.length / d;
        for (int r = 0; r < n; r++) {
            float sum = 0;
            for (int i = 0; i < d; i++) {
                float c = rows[r * d + i] - query[i];
                sum += c * c;
            }
            if (sum < bestDistance) {
                bestDistance = sum;
                best = r;
            }
        }
        System.arraycopy(actions, best * a, action, 0, a);
    }
}
