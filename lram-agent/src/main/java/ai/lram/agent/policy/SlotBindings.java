package ai.lram.agent.policy;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import java.util.List;

/** Which task each slot of a policy plays, and whether a batch names slots as it may. Single thread; checking allocates nothing. */
public final class SlotBindings {
    private final List<TaskCodec> codecs;
    private final TaskCodec[] bound;
    private final boolean[] taken;
    private final int maxBatch;

    public SlotBindings(ModelCard card, ActionCodec bins, int slots, int maxBatch) {
        if (slots < 1 || maxBatch < 1 || maxBatch > slots) {
            throw new PolicyException(
                    "policy with " + slots + " slots and batches of " + maxBatch,
                    "both must be >= 1 and a batch holds each slot once",
                    "use 1 <= maxBatch <= slots");
        }
        codecs = card.tasks().stream().map(t -> new TaskCodec(t, bins)).toList();
        bound = new TaskCodec[slots];
        taken = new boolean[slots];
        this.maxBatch = maxBatch;
    }

    /** @throws PolicyException if the slot does not exist or the card has no such task; the binding stays as it was */
    public void bind(int slot, TaskCard task) {
        requireSlot(slot);
        for (TaskCodec c : codecs) {
            if (c.task().equals(task)) {
                bound[slot] = c;
                return;
            }
        }
        throw new PolicyException(
                "slot " + slot + " cannot be bound to task " + task.id(),
                "it is not on this model's card",
                "take the TaskCard from card()");
    }

    public void requireSlot(int slot) {
        if (slot < 0 || slot >= bound.length) {
            throw new PolicyException(
                    "slot " + slot, "this policy has slots 0.." + (bound.length - 1), "use one of them");
        }
    }

    /** @throws PolicyException if the slot does not exist or was never bound */
    public void requireBound(int slot) {
        requireSlot(slot);
        if (bound[slot] == null) {
            throw new PolicyException(
                    "restore into slot " + slot, "it is not bound to a task", "reset the slot for its task first");
        }
    }

    /** Codec of a bound slot. */
    public TaskCodec codec(int slot) {
        return bound[slot];
    }

    /** @throws PolicyException as {@link Policy#step} says */
    public void check(PolicyBatch batch) {
        int n = batch.count;
        if (n < 0 || n > maxBatch || n > batch.capacity()) {
            throw new PolicyException(
                    "a batch of " + n + " rows",
                    "this policy takes up to " + maxBatch + " and the batch holds " + batch.capacity(),
                    "split the batch");
        }
        int marked = 0;
        while (marked < n && free(batch.slot[marked])) {
            taken[batch.slot[marked]] = true;
            marked++;
        }
        for (int i = 0; i < marked; i++) {
            taken[batch.slot[i]] = false;
        }
        if (marked < n) {
            throw new PolicyException(
                    "row " + marked + " names slot " + batch.slot[marked],
                    "it is out of range, named twice, or was never reset",
                    "reset a slot before its first step and name each slot once per batch");
        }
        for (int i = 0; i < n; i++) {
            requireRoom(batch, i);
        }
    }

    private boolean free(int slot) {
        return slot >= 0 && slot < bound.length && bound[slot] != null && !taken[slot];
    }

    private void requireRoom(PolicyBatch batch, int row) {
        TaskCodec c = bound[batch.slot[row]];
        if (batch.observation[row].length < c.observationSize() || batch.action[row].length < c.actionSize()) {
            throw new PolicyException(
                    "row " + row + " has room for " + batch.observation[row].length + " observations and "
                            + batch.action[row].length + " actions",
                    "task " + c.task().id() + " has " + c.observationSize() + " and " + c.actionSize(),
                    "make the PolicyBatch from this policy's card");
        }
        if (c.imageBytes() > 0 && (batch.image[row] == null || batch.image[row].length < c.imageBytes())) {
            throw new PolicyException(
                    "row " + row + " has room for an image of "
                            + (batch.image[row] == null ? 0 : batch.image[row].length) + " bytes",
                    "those of task " + c.task().id() + " have " + c.imageBytes(),
                    "make the PolicyBatch from this policy's card");
        }
    }
}
