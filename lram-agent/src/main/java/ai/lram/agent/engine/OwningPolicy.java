package ai.lram.agent.engine;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import java.lang.foreign.MemorySegment;

/**
 * A policy that owns what lies beneath it: its model, its engine.
 *
 * @param policy does the work
 * @param beneath closes the rest, after the policy
 */
public record OwningPolicy(Policy policy, Runnable beneath) implements Policy {
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
            beneath.run();
        }
    }
}
