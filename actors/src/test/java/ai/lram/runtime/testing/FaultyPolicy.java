package ai.lram.runtime.testing;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import java.lang.foreign.MemorySegment;
import java.util.function.Consumer;

/** A policy whose steps a test can watch and spoil; everything else is the inner policy's. */
public final class FaultyPolicy implements Policy {
    private final Policy inner;
    /** Runs before each step; may throw. */
    public volatile Consumer<PolicyBatch> before = batch -> {};
    /** Runs after each step; may change results. */
    public volatile Consumer<PolicyBatch> after = batch -> {};
    /** Thread of the last call. */
    public volatile Thread thread;

    public volatile boolean closed;

    public FaultyPolicy(Policy inner) {
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
        thread = Thread.currentThread();
        inner.reset(slot, task);
    }

    @Override
    public void step(PolicyBatch batch) {
        thread = Thread.currentThread();
        before.accept(batch);
        inner.step(batch);
        after.accept(batch);
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
        closed = true;
        inner.close();
    }
}
