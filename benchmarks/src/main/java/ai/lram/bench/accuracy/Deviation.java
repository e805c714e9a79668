package ai.lram.bench.accuracy;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.LramConfig;

/**
 * How far the answers of one policy lie from those of the exact one, over many steps of a task. Of the logits, those that the task chooses
 * from count: its discrete actions, or the bins. Single thread.
 */
final class Deviation {
    private final int dims;
    private final int vocabulary;
    private final int from;
    private final int to;
    private final double[] ranges;
    private long steps;
    private double low = Double.POSITIVE_INFINITY;
    private double high = Double.NEGATIVE_INFINITY;
    private double largestLogit;
    private double squares;
    private double largestAction;
    private double actions;
    private double errors;
    private long equalChoices;

    Deviation(TaskCard task, LramConfig config) {
        dims = task.actionSize();
        vocabulary = config.vocabulary();
        from = task.discrete() ? 0 : config.discreteActions();
        to = task.discrete() ? task.discreteActions() : vocabulary;
        ranges = task.action().stream().mapToDouble(Deviation::range).toArray();
    }

    /** What the bins of a feature span; of a relative one, how far it can move in a step. */
    private static double range(ActionFeature f) {
        return f.encodeHigh() - f.encodeLow();
    }

    /**
     * Counts one step.
     *
     * @param exact logits [dims][vocabulary]
     * @param got likewise
     * @param exactAction raw units
     * @param action likewise
     * @param recorded action at {@code at} of the data, likewise
     */
    void add(float[] exact, float[] got, float[] exactAction, float[] action, float[] recorded, int at) {
        steps++;
        for (int d = 0; d < dims; d++) {
            int best = d * vocabulary + from;
            int bestGot = best;
            for (int i = d * vocabulary + from; i < d * vocabulary + to; i++) {
                double difference = Math.abs((double) got[i] - exact[i]);
                largestLogit = Math.max(largestLogit, difference);
                squares += difference * difference;
                low = Math.min(low, exact[i]);
                high = Math.max(high, exact[i]);
                best = exact[i] > exact[best] ? i : best;
                bestGot = got[i] > got[bestGot] ? i : bestGot;
            }
            equalChoices += best == bestGot ? 1 : 0;
            double moved = Math.abs((double) action[d] - exactAction[d]) / ranges[d];
            largestAction = Math.max(largestAction, moved);
            actions += moved;
            errors += Math.abs((double) action[d] - recorded[at + d]) / ranges[d];
        }
    }

    long steps() {
        return steps;
    }

    /** Largest minus smallest exact logit over all steps. */
    double logitRange() {
        return high - low;
    }

    /** Largest difference of a logit, of {@link #logitRange}. */
    double largestLogit() {
        return largestLogit / logitRange();
    }

    /** Root of the mean square of the differences, likewise. */
    double rmsLogit() {
        return Math.sqrt(squares / ((double) steps * dims * (to - from))) / logitRange();
    }

    /** Largest difference of an action, of what its bins span. */
    double largestAction() {
        return largestAction;
    }

    double meanAction() {
        return actions / ((double) steps * dims);
    }

    /** Mean distance to the recorded actions, likewise. */
    double meanError() {
        return errors / ((double) steps * dims);
    }

    /** Per cent of choices, one a step and action dimension, that fell on the same bin or discrete action. */
    double equalChoices() {
        return 100.0 * equalChoices / ((double) steps * dims);
    }
}
