package ai.lram.bench.subject;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import java.lang.foreign.MemorySegment;

/** A policy with drawn weights that owns its model and its engine. */
public final class DrawnPolicy implements Policy {
    private final Backend backend;
    private final Lram model;
    private final LramPolicy policy;

    private DrawnPolicy(Backend backend, Lram model, LramPolicy policy) {
        this.backend = backend;
        this.model = model;
        this.policy = policy;
    }

    /**
     * @param card of one task
     * @param threads worker threads
     * @param slots sessions, all of which may go through one step
     */
    public static DrawnPolicy open(
            ModelSize size, LramSubject.Weights weights, ModelCard card, int threads, int slots) {
        Backend backend = Backends.open("cpu", BackendOptions.threads(threads));
        Lram model = new Lram(LramSubject.config(size, card));
        boolean kept = false;
        try {
            LramSubject.draw(model, backend);
            LramPolicy policy = weights.policy().make(model, card, LramPolicy.Options.of(slots, slots));
            kept = true;
            return new DrawnPolicy(backend, model, policy);
        } finally {
            if (!kept) {
                model.close();
                backend.close();
            }
        }
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
        policy.close();
        model.close();
        backend.close();
    }
}
