package ai.lram.agent.policy;

import ai.lram.agent.card.TaskCard;

/**
 * Return-to-go bookkeeping of one session: g_0 is the target, g_{t+1} = g_t - r_t, and what the model is shown stays within the card's
 * {@link TaskCard#returnRange}: an episode that goes worse than asked for would otherwise ask for returns that no training episode ever
 * had. Raw units. Zero throughout for imitation tasks. Single thread, no allocation.
 */
public final class EpisodeReturn {
    private final boolean imitation;
    private final double lowest;
    private final double highest;
    private double returnToGo;
    private float lastReward;
    private long steps;

    public EpisodeReturn(TaskCard task) {
        this.imitation = task.imitation();
        boolean limited = !task.returnRange().isEmpty();
        lowest = limited ? task.returnRange().get(0) : Double.NEGATIVE_INFINITY;
        highest = limited ? task.returnRange().get(1) : Double.POSITIVE_INFINITY;
    }

    /** Starts an episode that asks for {@code targetReturn}. */
    public void begin(double targetReturn) {
        returnToGo = imitation ? 0 : targetReturn;
        lastReward = 0;
        steps = 0;
    }

    /** Takes the reward of the action just executed, before the next observation is sent. */
    public void rewarded(float reward) {
        lastReward = imitation ? 0 : reward;
        returnToGo -= lastReward;
    }

    /** Fills the reward, return and first-step fields of a batch row and counts the step. */
    public void fill(PolicyBatch batch, int row) {
        batch.first[row] = steps == 0;
        batch.reward[row] = lastReward;
        batch.returnToGo[row] = (float) Math.max(lowest, Math.min(highest, returnToGo));
        steps++;
    }

    /** Target less rewards so far, not limited. */
    public double returnToGo() {
        return returnToGo;
    }

    public long steps() {
        return steps;
    }
}
