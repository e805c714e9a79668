package ai.lram.bridge.grpc;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import java.lang.foreign.MemorySegment;
import java.util.function.Consumer;

/** A policy with hooks in front of its step and its resets. */
final class GatedPolicy implements Policy {
    private final Policy inner;
    volatile Consumer<PolicyBatch> before = batch -> {};
    volatile Consumer<TaskCard> onReset = task -> {};

    GatedPolicy(Policy inner) {
        this.inner = inner;
    }

    @Override
    public ModelCard card() {
        return inner.card();
    }

    @Override
    public int slots() {
        return inner.slots();
    }

    @Override
    public int maxBatch() {
        return inner.maxBatch();
    }

    @Override
    public void reset(int slot, TaskCard task) {
        onReset.accept(task);
        inner.reset(slot, task);
    }

    @Override
    public void step(PolicyBatch batch) {
        before.accept(batch);
        inner.step(batch);
    }

    @Override
    public long stateBytes() {
        return inner.stateBytes();
    }

    @Override
    public void saveState(int slot, MemorySegment target) {
        inner.saveState(slot, target);
    }

    @Override
    public void restoreState(int slot, MemorySegment source) {
        inner.restoreState(slot, source);
    }

    @Override
    public void close() {
        inner.close();
    }
}
