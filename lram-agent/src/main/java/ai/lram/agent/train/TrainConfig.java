package ai.lram.agent.train;

import ai.lram.agent.ConfigException;
import ai.lram.agent.xlstm.XlstmConfig;

/**
 * A training run.
 *
 * @param backbone the xLSTM stack
 * @param batch sequences per update
 * @param steps environment steps per window
 * @param accumulate parts in which an update runs its sequences, one after the other, adding up gradients: the same numbers within rounding,
 *     in the memory of {@code batch / accumulate} sequences
 * @param carryState windows follow each other through whole episodes and hand their recurrent state on; false draws random windows that
 *     start fresh
 * @param updates optimiser updates of the whole run; sets the cosine
 * @param maxMinutes wall-clock budget, 0 for none. Where it would end the run first, the schedule follows the clock instead of the counter
 * @param peakLearningRate AdamW's rate after warm-up
 * @param warmupUpdates updates of linear warm-up
 * @param weightDecay decoupled weight decay of matrices
 * @param beta2 AdamW's second decay
 * @param clipNorm global gradient norm is clipped to this; 0 for none
 * @param binSigma deviation of the soft target over action bins, in bins; 0 for one-hot targets as published
 * @param observationNoise deviation of normal noise added to standardised observations in training
 * @param returnNoise deviation of normal noise on the scaled return-to-go in training, one draw per episode: keeps the action from hanging
 *     on returns that tell more about where an episode started than about how well it was played
 * @param relativeActions actions are encoded relative to the observation feature of the same name where one exists
 * @param binMargin the bin range is the data's range widened by this fraction on both sides
 * @param heldOutFraction share of episodes kept for evaluation
 * @param splitSeed seed of that choice
 * @param seed seed of initial weights, batches and noise
 * @param topReturnFraction only this best share (by return, per task) of the training episodes is used; 1 for all
 * @param targetQuantile default target return on the card: this quantile of the training returns
 * @param validateEvery updates between validations, 0 for none
 * @param checkpointEvery updates between checkpoints, 0 for the end only
 */
public record TrainConfig(
        XlstmConfig backbone,
        int batch,
        int steps,
        int accumulate,
        boolean carryState,
        long updates,
        double maxMinutes,
        double peakLearningRate,
        long warmupUpdates,
        double weightDecay,
        double beta2,
        double clipNorm,
        double binSigma,
        double observationNoise,
        double returnNoise,
        boolean relativeActions,
        double binMargin,
        double heldOutFraction,
        long splitSeed,
        long seed,
        double topReturnFraction,
        double targetQuantile,
        long validateEvery,
        long checkpointEvery) {
    public TrainConfig {
        require(batch >= 1 && steps >= 1, "batch=" + batch + " steps=" + steps, "both must be >= 1");
        require(
                accumulate >= 1 && batch % accumulate == 0,
                "batch=" + batch + " accumulate=" + accumulate,
                "the batch must divide into that many equal parts");
        require(updates >= 1, "updates=" + updates, "must be >= 1");
        require(maxMinutes >= 0, "maxMinutes=" + maxMinutes, "must be >= 0; 0 means no limit");
        require(peakLearningRate > 0, "peakLearningRate=" + peakLearningRate, "must be > 0");
        require(warmupUpdates >= 0, "warmupUpdates=" + warmupUpdates, "must be >= 0");
        require(
                weightDecay >= 0 && clipNorm >= 0,
                "weightDecay=" + weightDecay + " clipNorm=" + clipNorm,
                "both must be >= 0");
        require(beta2 > 0 && beta2 < 1, "beta2=" + beta2, "must be in (0, 1)");
        require(
                binSigma >= 0 && observationNoise >= 0 && returnNoise >= 0,
                "binSigma=" + binSigma + " observationNoise=" + observationNoise + " returnNoise=" + returnNoise,
                "all must be >= 0");
        require(binMargin >= 0, "binMargin=" + binMargin, "must be >= 0");
        require(heldOutFraction >= 0 && heldOutFraction < 1, "heldOutFraction=" + heldOutFraction, "must be in [0, 1)");
        require(
                topReturnFraction > 0 && topReturnFraction <= 1,
                "topReturnFraction=" + topReturnFraction,
                "must be in (0, 1]");
        require(targetQuantile >= 0 && targetQuantile <= 1, "targetQuantile=" + targetQuantile, "must be in [0, 1]");
        require(
                validateEvery >= 0 && checkpointEvery >= 0,
                "validateEvery=" + validateEvery + " checkpointEvery=" + checkpointEvery,
                "both must be >= 0");
    }

    private static void require(boolean ok, String what, String why) {
        if (!ok) {
            throw new ConfigException("training config: " + what, why, "correct the value in the config file");
        }
    }

    public TrainConfig withMaxMinutes(double minutes) {
        return new TrainConfig(
                backbone,
                batch,
                steps,
                accumulate,
                carryState,
                updates,
                minutes,
                peakLearningRate,
                warmupUpdates,
                weightDecay,
                beta2,
                clipNorm,
                binSigma,
                observationNoise,
                returnNoise,
                relativeActions,
                binMargin,
                heldOutFraction,
                splitSeed,
                seed,
                topReturnFraction,
                targetQuantile,
                validateEvery,
                checkpointEvery);
    }

    public TrainConfig withSplitSeed(long newSplitSeed) {
        return new TrainConfig(
                backbone,
                batch,
                steps,
                accumulate,
                carryState,
                updates,
                maxMinutes,
                peakLearningRate,
                warmupUpdates,
                weightDecay,
                beta2,
                clipNorm,
                binSigma,
                observationNoise,
                returnNoise,
                relativeActions,
                binMargin,
                heldOutFraction,
                newSplitSeed,
                seed,
                topReturnFraction,
                targetQuantile,
                validateEvery,
                checkpointEvery);
    }
}
