package ai.lram.agent.policy;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;

/**
 * Inputs and outputs of one batched control step, allocated once and reused. Rows are sessions; raw units everywhere.
 * Single thread: whoever owns the policy. Fields are public on purpose: this is the hot path's plain memory.
 */
public final class PolicyBatch {
    /** {@link #status}: the action may be used. */
    public static final byte OK = 1;
    /** {@link #status}: the model's output was not finite; the session must be reset. */
    public static final byte NOT_FINITE = -1;

    /** Number of rows in use. */
    public int count;
    /** State slot per row. */
    public final int[] slot;
    /** True where this is the first step of an episode: {@link #reward} is ignored. */
    public final boolean[] first;
    /** Reward received for the previous action. */
    public final float[] reward;
    /** Return still asked for from this step on. */
    public final float[] returnToGo;
    /** Observation vector per row; the first {@code task.observationSize()} entries are read. */
    public final float[][] observation;
    /** uint8 image per row, CHW; null rows where no task of the model has images. */
    public final byte[][] image;
    /** Result: action per row; the first {@code task.actionSize()} entries are written. A discrete action is its id. */
    public final float[][] action;
    /** Result: {@link #OK} or a negative reason per row. */
    public final byte[] status;

    public PolicyBatch(ModelCard card, int capacity) {
        if (capacity < 1) {
            throw new IllegalArgumentException("a batch needs at least one row, got " + capacity);
        }
        int observations = 1;
        int actions = 1;
        int imageBytes = 0;
        for (TaskCard t : card.tasks()) {
            observations = Math.max(observations, t.observationSize());
            actions = Math.max(actions, t.actionSize());
            imageBytes = Math.max(imageBytes, t.imageBytes());
        }
        slot = new int[capacity];
        first = new boolean[capacity];
        reward = new float[capacity];
        returnToGo = new float[capacity];
        observation = new float[capacity][observations];
        image = new byte[capacity][];
        if (imageBytes > 0) {
            for (int i = 0; i < capacity; i++) {
                image[i] = new byte[imageBytes];
            }
        }
        action = new float[capacity][actions];
        status = new byte[capacity];
    }

    public int capacity() {
        return slot.length;
    }
}
