package ai.lram.runtime.session;

import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.runtime.protocol.Observation;
import ai.lram.runtime.protocol.Refusal;

/** What an observation must satisfy before it may touch a session's state. Single thread; accepts without allocating. */
final class ObservationCheck {
    private final TaskCard task;
    private final float[] min;
    private final float[] max;
    private final int imageBytes;
    private final long longestBudgetNs;

    ObservationCheck(TaskCard task, long longestBudgetNs) {
        this.task = task;
        this.longestBudgetNs = longestBudgetNs;
        int size = task.observationSize();
        min = new float[size];
        max = new float[size];
        for (int i = 0; i < size; i++) {
            ObservationFeature feature = task.observation().get(i);
            min[i] = (float) feature.min();
            max[i] = (float) feature.max();
        }
        imageBytes = task.imageBytes();
    }

    Refusal check(Observation o) {
        if (o.vector().length != min.length) {
            return Refusal.WRONG_LENGTH;
        }
        if (o.image().length != imageBytes) {
            return Refusal.WRONG_IMAGE;
        }
        if (!Float.isFinite(o.reward())) {
            return Refusal.NOT_FINITE;
        }
        if (o.budgetNs() != Observation.ONE_PERIOD && o.budgetNs() > longestBudgetNs) {
            return Refusal.BAD_DEADLINE;
        }
        for (int i = 0; i < min.length; i++) {
            float value = o.vector()[i];
            if (!Float.isFinite(value)) {
                return Refusal.NOT_FINITE;
            }
            if (value < min[i] || value > max[i]) {
                return Refusal.OUT_OF_RANGE;
            }
        }
        return Refusal.NONE;
    }

    /** What, why and fix for a refusal by {@link #check}. */
    String explain(Refusal refusal, Observation o) {
        String what = "observation " + o.sequence() + " of task " + task.id() + " refused; why: ";
        return switch (refusal) {
            case WRONG_LENGTH ->
                what + "it holds " + o.vector().length + " values, the task has " + min.length
                        + " observation features; fix: send them in the order Describe gives";
            case WRONG_IMAGE ->
                what + "the image holds " + o.image().length + " bytes, the task's shape " + task.imageShape()
                        + " needs " + imageBytes + "; fix: send uint8 in channel, height, width order";
            case BAD_DEADLINE ->
                what + "its deadline is " + o.budgetNs() / 1_000_000 + " ms away, at most "
                        + longestBudgetNs / 1_000_000 + " ms are accepted; fix: ask for a nearer one";
            default -> what + value(o);
        };
    }

    private String value(Observation o) {
        if (!Float.isFinite(o.reward())) {
            return "the reward is " + o.reward() + "; fix: send a finite one, 0 where there is none";
        }
        for (int i = 0; i < min.length; i++) {
            ObservationFeature feature = task.observation().get(i);
            float value = o.vector()[i];
            if (!Float.isFinite(value)) {
                return feature.name() + " is " + value + "; fix: send this step again with a measured value";
            }
            if (value < min[i] || value > max[i]) {
                return feature.name() + " is " + value + " " + feature.unit() + ", outside [" + feature.min() + ", "
                        + feature.max() + "]; fix: check the sensor and its unit";
            }
        }
        throw new IllegalStateException("observation " + o.sequence() + " was accepted by every check");
    }
}
