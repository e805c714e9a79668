package ai.lram.agent.engine;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import java.lang.foreign.MemorySegment;
import java.util.Iterator;
import java.util.List;

/**
 * A policy that owns what lies beneath it: its model, its engine.
 *
 * @param policy does the work
 * @param beneath close the rest, after the policy, in this order; each of them whatever the one before does
 */
public record OwningPolicy(Policy policy, List<Runnable> beneath) implements Policy {
    public OwningPolicy {
        beneath = List.copyOf(beneath);
    }

    @Override
    public ModelCard card() {
        return policy.card();
    }

    @Override
    public int slots() {
        return policy.slots();
    }

    @Override
    public int maxBatch() {
        return policy.maxBatch();
    }

    @Override
    public void reset(int slot, TaskCard task) {
        policy.reset(slot, task);
    }

    @Override
    public void step(PolicyBatch batch) {
        policy.step(batch);
    }

    @Override
    public void warmUp() {
        policy.warmUp();
    }

    @Override
    public long stateBytes() {
        return policy.stateBytes();
    }

    @Override
    public void saveState(int slot, MemorySegment target) {
        policy.saveState(slot, target);
    }

    @Override
    public void restoreState(int slot, MemorySegment source) {
        policy.restoreState(slot, source);
    }

    @Override
    public void close() {
        try {
            policy.close();
        } finally {
            closeAll(beneath.iterator());
        }
    }

    /** All of them in order, whatever one throws. */
    public static void closeAll(Iterator<Runnable> closes) {
        if (closes.hasNext()) {
            try {
                closes.next().run();
            } finally {
                closeAll(closes);
            }
        }
    }
}
