package ai.lram.bench.subject;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.engine.OwningPolicy;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.Policy;
import ai.lram.backend.Backend;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;

/** Policies with drawn weights that own their model and their engine. */
public final class DrawnPolicy {
    private DrawnPolicy() {}

    /**
     * @param backend is the policy's from now on, whatever comes of it
     * @param card of one task
     * @param slots sessions, all of which may go through one step
     */
    public static Policy open(Backend backend, ModelSize size, LramSubject.Weights weights, ModelCard card, int slots) {
        Deque<Runnable> beneath = new ArrayDeque<>();
        beneath.push(backend::close);
        boolean kept = false;
        try {
            Lram model = new Lram(LramSubject.config(size, card));
            beneath.push(model::close);
            LramSubject.draw(model, backend);
            LramPolicy policy = weights.policy().make(model, card, LramPolicy.Options.of(slots, slots));
            kept = true;
            return new OwningPolicy(policy, List.copyOf(beneath));
        } finally {
            if (!kept) {
                OwningPolicy.closeAll(beneath.iterator());
            }
        }
    }
}
