package ai.lram.bench.subject;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.engine.OwningPolicy;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.Policy;
import ai.lram.backend.Backend;

/** Policies with drawn weights that own their model and their engine. */
public final class DrawnPolicy {
    private DrawnPolicy() {}

    /**
     * @param backend is the policy's from now on, whatever comes of it
     * @param card of one task
     * @param slots sessions, all of which may go through one step
     */
    public static Policy open(Backend backend, ModelSize size, LramSubject.Weights weights, ModelCard card, int slots) {
        Lram model = null;
        boolean kept = false;
        try {
            model = new Lram(LramSubject.config(size, card));
            LramSubject.draw(model, backend);
            LramPolicy policy = weights.policy().make(model, card, LramPolicy.Options.of(slots, slots));
            kept = true;
            Lram kin = model;
            return new OwningPolicy(policy, () -> {
                try {
                    kin.close();
                } finally {
                    backend.close();
                }
            });
        } finally {
            if (!kept) {
                if (model != null) {
                    model.close();
                }
                backend.close();
            }
        }
    }
}
