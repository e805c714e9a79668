package ai.lram.agent.train;

/**
 * Numbers of one update, or of one validation.
 *
 * @param update updates done so far
 * @param loss mean cross-entropy over the action entries of the batch
 * @param accuracy share of entries whose most likely token is the target
 * @param learningRate rate of this update
 * @param gradientNorm global norm before clipping
 * @param tokensPerSecond tokens through the model, masked ones not counted
 * @param elapsedSeconds training time so far, interruptions not counted
 * @param progress share of the run that is done, 0..1
 * @param validationLoss mean over the validation batches, NaN where none was run
 */
public record TrainingMetrics(
        long update,
        double loss,
        double accuracy,
        double learningRate,
        double gradientNorm,
        double tokensPerSecond,
        double elapsedSeconds,
        double progress,
        double validationLoss) {}
