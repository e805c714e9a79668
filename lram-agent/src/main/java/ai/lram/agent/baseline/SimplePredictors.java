package ai.lram.agent.baseline;

import ai.lram.agent.card.TaskCard;
import java.util.List;

/** Predictors without training or with a mean as training. */
public final class SimplePredictors {
    private SimplePredictors() {}

    private record Named(String name, Rule rule) implements ActionPredictor {
        @Override
        public void predict(EpisodeRows e, int t, float[] action) {
            rule.predict(e, t, action);
        }
    }

    @FunctionalInterface
    private interface Rule {
        void predict(EpisodeRows e, int t, float[] action);
    }

    /** Always the mean action of the training episodes. */
    public static ActionPredictor meanAction(List<EpisodeRows> training) {
        int a = training.getFirst().actionSize();
        double[] sum = new double[a];
        long n = 0;
        for (EpisodeRows e : training) {
            for (int i = 0; i < e.actions().length; i++) {
                sum[i % a] += e.actions()[i];
            }
            n += e.length();
        }
        float[] mean = new float[a];
        for (int i = 0; i < a; i++) {
            mean[i] = (float) (sum[i] / n);
        }
        return new Named("meanAction", (e, t, action) -> System.arraycopy(mean, 0, action, 0, a));
    }

    /**
     * The observation feature of the same name as the action; zero where there is none.
     */
    public static ActionPredictor currentPosition(TaskCard task) {
        int a = task.actionSize();
        int[] from = new int[a];
        for (int i = 0; i < a; i++) {
            from[i] = task.observationIndex(task.action().get(i).name());
        }
        return new Named("currentPosition", (e, t, action) -> {
            for (int i = 0; i < a; i++) {
                action[i] = from[i] < 0 ? 0 : e.observations()[t * e.observationSize() + from[i]];
            }
        });
    }

    /** The recorded action of the row before; the row's own at the start. No policy sees this: it bounds what smoothness alone gives. */
    public static ActionPredictor lastAction() {
        return new Named(
                "lastAction",
                (e, t, action) ->
                        System.arraycopy(e.actions(), Math.max(0, t - 1) * e.actionSize(), action, 0, e.actionSize()));
    }
}
