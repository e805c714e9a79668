package ai.lram.agent.policy;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;

/**
 * Between a task's raw units and the model's numbers: standardised observations, scaled rewards and returns, action bins. One instance per
 * task, used alike by training, evaluation and control. Immutable; no method allocates.
 */
public final class TaskCodec {
    private final TaskCard task;
    private final ActionCodec bins;
    private final float[] mean;
    private final float[] inverseStd;
    private final float[] encodeLow;
    private final float[] encodeHigh;
    private final int[] relativeTo;
    private final float inverseRewardScale;
    private final int imageBytes;

    public TaskCodec(TaskCard task, ActionCodec bins) {
        this.task = task;
        this.bins = bins;
        int n = task.observationSize();
        mean = new float[n];
        inverseStd = new float[n];
        for (int i = 0; i < n; i++) {
            ObservationFeature f = task.observation().get(i);
            mean[i] = (float) f.mean();
            inverseStd[i] = (float) (1 / f.std());
        }
        int a = task.actionSize();
        encodeLow = new float[a];
        encodeHigh = new float[a];
        relativeTo = new int[a];
        for (int i = 0; i < a; i++) {
            ActionFeature f = task.action().get(i);
            encodeLow[i] = (float) f.encodeLow();
            encodeHigh[i] = (float) f.encodeHigh();
            relativeTo[i] = f.relativeTo() == null ? -1 : task.observationIndex(f.relativeTo());
        }
        inverseRewardScale = task.imitation() ? 0f : (float) (1 / task.rewardScale());
        imageBytes = task.imageBytes();
    }

    public TaskCard task() {
        return task;
    }

    public int observationSize() {
        return mean.length;
    }

    public int actionSize() {
        return encodeLow.length;
    }

    /** Bytes of an observation's image; 0 where the task has none. */
    public int imageBytes() {
        return imageBytes;
    }

    public float observation(int i, float raw) {
        return (raw - mean[i]) * inverseStd[i];
    }

    /** {@link #observation} of all of a vector's numbers. */
    void observations(float[] raw, float[] normalized) {
        for (int i = 0; i < mean.length; i++) {
            normalized[i] = observation(i, raw[i]);
        }
    }

    /** Reward or return in the model's units; zero for imitation tasks. */
    public float reward(float raw) {
        return raw * inverseRewardScale;
    }

    /**
     * Action dimension {@code i} in [-1, 1] of the bin range; values outside the range give numbers outside [-1, 1].
     *
     * @param raw value in the feature's unit
     * @param observation raw observation vector that a relative action refers to
     * @param at where that vector starts
     */
    public float normalizeAction(int i, float raw, float[] observation, int at) {
        float v = relativeTo[i] < 0 ? raw : raw - observation[at + relativeTo[i]];
        return 2 * (v - encodeLow[i]) / (encodeHigh[i] - encodeLow[i]) - 1;
    }

    /** Inverse of {@link #normalizeAction}. */
    public float rawAction(int i, float normalized, float[] observation, int at) {
        float v = encodeLow[i] + (normalized + 1) * 0.5f * (encodeHigh[i] - encodeLow[i]);
        return relativeTo[i] < 0 ? v : v + observation[at + relativeTo[i]];
    }

    /** First of an action dimension's logits that an action is read from. */
    public int firstChoice(ActionCodec.Decoding how) {
        return task.discrete() || how == ActionCodec.Decoding.LOWER_EDGE ? 0 : bins.discrete();
    }

    /** Behind the last of them. */
    public int endOfChoices() {
        return task.discrete() ? task.discreteActions() : bins.discrete() + bins.bins();
    }

    /**
     * Action dimension {@code i} in raw units, NaN if nothing was chosen.
     *
     * @param chosen most likely of {@link #firstChoice} to {@link #endOfChoices}, or below 0
     * @param number what was decoded, in [-1, 1]; a discrete action is {@code chosen} itself
     * @param observation raw observation vector that a relative action refers to
     */
    public float action(int i, int chosen, float number, float[] observation) {
        if (chosen < 0) {
            return Float.NaN;
        }
        return task.discrete() ? chosen : rawAction(i, number, observation, 0);
    }

    /** Reads a whole action in raw units out of one row of logits [dims][vocabulary]. */
    public void decode(ActionCodec.Decoding how, float[] logits, int offset, float[] observation, float[] action) {
        int vocabulary = bins.discrete() + bins.bins();
        if (task.discrete()) {
            action[0] = bins.decodeDiscrete(logits, offset, task.discreteActions());
            return;
        }
        for (int i = 0; i < encodeLow.length; i++) {
            action[i] = rawAction(i, bins.decode(how, logits, offset + i * vocabulary), observation, 0);
        }
    }

    /**
     * Decodes one row of a step into {@code batch}.
     *
     * @return {@link PolicyBatch#OK}, or {@link PolicyBatch#NOT_FINITE} where the action or the logits it came from are not finite
     */
    public byte decodeChecked(ActionCodec.Decoding how, float[] logits, int offset, PolicyBatch batch, int row) {
        float[] action = batch.action[row];
        decode(how, logits, offset, batch.observation[row], action);
        // A discrete argmax over NaN would look fine, so one logit is looked at as well.
        boolean finite = Float.isFinite(logits[offset]);
        for (int i = 0; i < encodeLow.length; i++) {
            finite &= Float.isFinite(action[i]);
        }
        return finite ? PolicyBatch.OK : PolicyBatch.NOT_FINITE;
    }
}
