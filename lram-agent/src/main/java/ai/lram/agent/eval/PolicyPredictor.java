package ai.lram.agent.eval;

import ai.lram.agent.baseline.ActionPredictor;
import ai.lram.agent.baseline.EpisodeRows;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.EpisodeReturn;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;

/** A policy played along a recorded episode: one control step per row, slot 0. Rows must be asked in order. */
public final class PolicyPredictor implements ActionPredictor {
    private final Policy policy;
    private final TaskCard task;
    private final PolicyBatch batch;
    private final EpisodeReturn returns;

    public PolicyPredictor(Policy policy, TaskCard task) {
        this.policy = policy;
        this.task = task;
        batch = new PolicyBatch(policy.card(), 1);
        returns = new EpisodeReturn(task);
    }

    @Override
    public String name() {
        return "ours";
    }

    @Override
    public void predict(EpisodeRows e, int t, float[] action) {
        if (t == 0) {
            policy.reset(0, task);
            returns.begin(task.targetReturn());
        }
        batch.count = 1;
        batch.slot[0] = 0;
        System.arraycopy(e.observations(), t * e.observationSize(), batch.observation[0], 0, e.observationSize());
        returns.fill(batch, 0);
        policy.step(batch);
        if (batch.status[0] != PolicyBatch.OK) {
            throw new PolicyException(
                    "row " + t + " got no usable action", "the model's output is not finite", "train again");
        }
        System.arraycopy(batch.action[0], 0, action, 0, e.actionSize());
    }
}
