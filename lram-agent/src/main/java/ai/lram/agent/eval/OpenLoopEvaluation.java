package ai.lram.agent.eval;

import ai.lram.agent.baseline.ActionPredictor;
import ai.lram.agent.baseline.EpisodeRows;
import ai.lram.agent.card.TaskCard;
import ai.lram.dataset.store.TrajectoryStore;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;

/** Mean absolute error of predicted against recorded actions, over whole episodes. */
public final class OpenLoopEvaluation {
    private OpenLoopEvaluation() {}

    /**
     * Errors of one predictor, in the action's own units, averaged over rows and dimensions.
     *
     * @param overall over everything
     * @param byEpisode by episode index of the store
     * @param byGroup by named group of action features
     */
    public record Errors(double overall, Map<Integer, Double> byEpisode, Map<String, Double> byGroup) {}

    /** @param groups named groups of action feature names; a group without features is left out */
    public static Errors of(
            ActionPredictor predictor,
            TrajectoryStore store,
            TaskCard task,
            int[] episodes,
            Map<String, Predicate<String>> groups) {
        int a = task.actionSize();
        double[] sum = new double[a];
        long rows = 0;
        Map<Integer, Double> byEpisode = new LinkedHashMap<>();
        float[] action = new float[a];
        for (int episode : episodes) {
            EpisodeRows e = EpisodeRows.read(store, episode);
            double episodeSum = 0;
            for (int t = 0; t < e.length(); t++) {
                predictor.predict(e, t, action);
                for (int i = 0; i < a; i++) {
                    double error = Math.abs((double) action[i] - e.actions()[t * a + i]);
                    sum[i] += error;
                    episodeSum += error;
                }
            }
            rows += e.length();
            byEpisode.put(episode, episodeSum / ((double) e.length() * a));
        }
        double total = 0;
        for (double s : sum) {
            total += s;
        }
        Map<String, Double> byGroup = new LinkedHashMap<>();
        for (Map.Entry<String, Predicate<String>> g : groups.entrySet()) {
            double groupSum = 0;
            int n = 0;
            for (int i = 0; i < a; i++) {
                if (g.getValue().test(task.action().get(i).name())) {
                    groupSum += sum[i];
                    n++;
                }
            }
            if (n > 0) {
                byGroup.put(g.getKey(), groupSum / ((double) n * rows));
            }
        }
        return new Errors(total / ((double) a * rows), byEpisode, byGroup);
    }

    /** All episodes of an index list, read. */
    public static List<EpisodeRows> rows(TrajectoryStore store, int[] episodes) {
        List<EpisodeRows> out = new ArrayList<>();
        for (int e : episodes) {
            out.add(EpisodeRows.read(store, e));
        }
        return out;
    }
}
