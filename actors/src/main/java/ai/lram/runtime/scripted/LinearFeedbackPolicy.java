package ai.lram.runtime.scripted;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;

/**
 * Linear feedback on the observation with a small recurrent state: a step counter and a leaky sum of observations and rewards.
 *
 * <p>Its action depends on every input of every step since the reset, so a step lost, doubled, swapped or given to another
 * slot shows in the next action. Gains are drawn from a seed; actions always lie within the task's bounds.
 */
public final class LinearFeedbackPolicy implements Policy {
    private static final float LEAK = 0.9f;
    private static final int STATE_FLOATS = 2;

    private final ModelCard card;
    private final int maxBatch;
    private final TaskCard[] task;
    private final float[] state;
    private final float[] gain;
    private final int[] lastStep;
    private int stepNumber;

    /**
     * @param card tasks to act for
     * @param slots sessions at once
     * @param maxBatch largest batch
     * @param seed of the gains
     */
    public LinearFeedbackPolicy(ModelCard card, int slots, int maxBatch, long seed) {
        this.card = card;
        this.maxBatch = maxBatch;
        this.task = new TaskCard[slots];
        this.state = new float[slots * STATE_FLOATS];
        this.lastStep = new int[slots];
        int widest = 1;
        for (TaskCard t : card.tasks()) {
            widest = Math.max(widest, Math.max(t.observationSize(), t.actionSize()));
        }
        this.gain = new float[2 * widest];
        Random random = new Random(seed);
        for (int i = 0; i < gain.length; i++) {
            gain[i] = (float) random.nextGaussian();
        }
    }

    @Override
    public ModelCard card() {
        return card;
    }

    @Override
    public int slots() {
        return task.length;
    }

    @Override
    public int maxBatch() {
        return maxBatch;
    }

    @Override
    public void reset(int slot, TaskCard newTask) {
        checkSlot(slot);
        task[slot] = newTask;
        state[slot * STATE_FLOATS] = 0;
        state[slot * STATE_FLOATS + 1] = 0;
    }

    private void checkSlot(int slot) {
        if (slot < 0 || slot >= task.length) {
            throw new PolicyException(
                    "slot " + slot + " does not exist", "there are " + task.length, "use 0.." + (task.length - 1));
        }
    }

    @Override
    public void step(PolicyBatch batch) {
        if (batch.count > maxBatch) {
            throw new PolicyException(
                    "a batch of " + batch.count + " rows", "at most " + maxBatch + " fit", "split it");
        }
        stepNumber++;
        for (int row = 0; row < batch.count; row++) {
            int slot = batch.slot[row];
            checkSlot(slot);
            if (task[slot] == null || lastStep[slot] == stepNumber) {
                throw new PolicyException(
                        "slot " + slot + " cannot be stepped",
                        task[slot] == null ? "it was never reset" : "it is named twice",
                        "reset every slot first and name it once");
            }
            lastStep[slot] = stepNumber;
        }
        for (int row = 0; row < batch.count; row++) {
            stepRow(batch, row);
        }
    }

    private void stepRow(PolicyBatch batch, int row) {
        int slot = batch.slot[row];
        TaskCard t = task[slot];
        float count = state[slot * STATE_FLOATS];
        float memory = state[slot * STATE_FLOATS + 1];
        float feedback = 0;
        for (int i = 0; i < t.observationSize(); i++) {
            feedback += gain[i] * t.observation().get(i).normalize(batch.observation[row][i]);
        }
        if (t.hasImage()) {
            feedback += batch.image[row][(int) count % batch.image[row].length] / 128f;
        }
        float reward = batch.first[row] ? 0 : batch.reward[row];
        memory = LEAK * memory + feedback + reward + 0.01f * batch.returnToGo[row];
        count++;
        state[slot * STATE_FLOATS] = count;
        state[slot * STATE_FLOATS + 1] = memory;
        for (int i = 0; i < t.actionSize(); i++) {
            float z = (float) Math.sin(feedback + 0.1f * memory + 0.01f * count + gain[gain.length / 2 + i]);
            if (t.discrete()) {
                batch.action[row][i] = (int) ((z + 1) / 2 * (t.discreteActions() - 1) + 0.5f);
            } else {
                ActionFeature f = t.action().get(i);
                batch.action[row][i] = (float) (f.low() + (z + 1) / 2 * (f.high() - f.low()));
            }
        }
        batch.status[row] = PolicyBatch.OK;
    }

    @Override
    public long stateBytes() {
        return STATE_FLOATS * (long) Float.BYTES;
    }

    @Override
    public void saveState(int slot, MemorySegment target) {
        checkSlot(slot);
        PolicyException.requireRoom(target.byteSize(), stateBytes());
        MemorySegment.copy(state, slot * STATE_FLOATS, target, ValueLayout.JAVA_FLOAT_UNALIGNED, 0, STATE_FLOATS);
    }

    @Override
    public void restoreState(int slot, MemorySegment source) {
        checkSlot(slot);
        PolicyException.requireStateSize(source.byteSize(), stateBytes());
        MemorySegment.copy(source, ValueLayout.JAVA_FLOAT_UNALIGNED, 0, state, slot * STATE_FLOATS, STATE_FLOATS);
    }

    @Override
    public void close() {}
}
