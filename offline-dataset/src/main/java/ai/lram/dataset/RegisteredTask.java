package ai.lram.dataset;

import java.util.OptionalDouble;
import java.util.OptionalInt;

/**
 * One of the 469 published tasks. Scores are raw episode returns; all references are optional because the published
 * tables have gaps.
 *
 * @param domain metaworld, dmcontrol, procgen, atari, composuite or mimicgen
 * @param task name within the domain
 * @param heldOut whether the task is one of the 37 never trained on
 * @param image whether the task is seen as 3x64x64 images
 * @param observationWidth width of the state vector; absent where the source does not state it, and for images
 * @param discrete whether the action is a discrete choice
 * @param actionWidth number of choices or of action dimensions where stated
 * @param dataRandom return of a random policy, the zero of the data-normalised score
 * @param dataReference mean or best return of the data, the one of the data-normalised score
 * @param humanRandom zero of the human-normalised score
 * @param humanReference one of the human-normalised score
 * @param targetReturn return asked for at evaluation, unscaled
 * @param rewardScale divisor of rewards and returns-to-go before they enter a model
 */
public record RegisteredTask(
        String domain,
        String task,
        boolean heldOut,
        boolean image,
        OptionalInt observationWidth,
        boolean discrete,
        OptionalInt actionWidth,
        OptionalDouble dataRandom,
        OptionalDouble dataReference,
        OptionalDouble humanRandom,
        OptionalDouble humanReference,
        OptionalDouble targetReturn,
        double rewardScale) {

    /** {@code domain/task}, unique in the registry. */
    public String id() {
        return domain + "/" + task;
    }

    /** Target return divided by the reward scale: what a model is conditioned on at the first step. */
    public OptionalDouble initialReturnToGo() {
        return targetReturn.isPresent()
                ? OptionalDouble.of(targetReturn.getAsDouble() / rewardScale)
                : OptionalDouble.empty();
    }

    /** (score - random) / (data reference - random); absent where a reference is missing. */
    public OptionalDouble dataNormalised(double score) {
        return normalised(score, dataRandom, dataReference);
    }

    /** (score - random) / (human - random); absent where a reference is missing. */
    public OptionalDouble humanNormalised(double score) {
        return normalised(score, humanRandom, humanReference);
    }

    private static OptionalDouble normalised(double score, OptionalDouble zero, OptionalDouble one) {
        if (zero.isEmpty() || one.isEmpty() || zero.getAsDouble() == one.getAsDouble()) {
            return OptionalDouble.empty();
        }
        return OptionalDouble.of((score - zero.getAsDouble()) / (one.getAsDouble() - zero.getAsDouble()));
    }
}
