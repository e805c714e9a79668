package ai.lram.runtime.testing;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.EpisodeReturn;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;

/** What a session must answer: the same policy, stepped directly. */
public final class DirectSession {
    private final LinearFeedbackPolicy policy;
    private final PolicyBatch batch;
    private final EpisodeReturn returns;
    private final TaskCard task;
    private boolean begun;

    public DirectSession(ModelCard card, TaskCard task, long seed) {
        this.policy = new LinearFeedbackPolicy(card, 1, 1, seed);
        this.batch = new PolicyBatch(card, 1);
        this.task = task;
        this.returns = new EpisodeReturn(task);
    }

    public float[] step(float[] observation, float reward, boolean reset, double targetReturn) {
        if (reset || !begun) {
            policy.reset(0, task);
            returns.begin(targetReturn);
            begun = true;
        } else {
            returns.rewarded(reward);
        }
        batch.count = 1;
        batch.slot[0] = 0;
        returns.fill(batch, 0);
        System.arraycopy(observation, 0, batch.observation[0], 0, observation.length);
        policy.step(batch);
        float[] action = new float[task.actionSize()];
        System.arraycopy(batch.action[0], 0, action, 0, action.length);
        return action;
    }
}
