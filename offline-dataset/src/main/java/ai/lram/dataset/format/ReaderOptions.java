package ai.lram.dataset.format;

import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * What a reader takes from its source. Start from {@link #defaults()}.
 *
 * @param taskId id given to all episodes; absent: the source's own name, one id per task where it has several
 * @param domain domain of the tasks, empty for the source's robot or environment type
 * @param observationFeatures features concatenated into the observation, in this order; empty: the format's usual ones
 * @param actionFeature feature that is the action (LeRobot, RLDS)
 * @param rewardFeatures features tried in this order as reward (LeRobot); none present: no rewards
 * @param doneFeatures features tried in this order as end mark (LeRobot)
 * @param imageFeature feature that becomes the image; absent: images are left out
 * @param discreteActions number of choices of a discrete action, 0 to take the source's word or the highest id seen
 * @param rateHz steps per second where the source does not say; 0 for unknown
 * @param maxEpisodeSteps length at which a D4RL file without time-outs is cut; 0 for none
 * @param splits splits read, in the source's order (RLDS); empty: all
 * @param keepLastStep whether an episode's last step counts although its action and reward should mean nothing (RLDS)
 */
public record ReaderOptions(
        Optional<String> taskId,
        String domain,
        List<String> observationFeatures,
        String actionFeature,
        List<String> rewardFeatures,
        List<String> doneFeatures,
        Optional<String> imageFeature,
        int discreteActions,
        double rateHz,
        int maxEpisodeSteps,
        List<String> splits,
        boolean keepLastStep) {
    public ReaderOptions {
        Objects.requireNonNull(taskId, "taskId");
        Objects.requireNonNull(domain, "domain");
        Objects.requireNonNull(actionFeature, "actionFeature");
        Objects.requireNonNull(imageFeature, "imageFeature");
        observationFeatures = List.copyOf(observationFeatures);
        rewardFeatures = List.copyOf(rewardFeatures);
        doneFeatures = List.copyOf(doneFeatures);
        splits = List.copyOf(splits);
        if (discreteActions < 0 || maxEpisodeSteps < 0 || !(rateHz >= 0) || Double.isInfinite(rateHz)) {
            throw new IllegalArgumentException("discreteActions, maxEpisodeSteps and rateHz must be >= 0: "
                    + discreteActions + ", " + maxEpisodeSteps + ", " + rateHz);
        }
    }

    /** The usual features of every format, task ids from the source. */
    public static ReaderOptions defaults() {
        return new ReaderOptions(
                Optional.empty(),
                "",
                List.of(),
                "action",
                List.of("next.reward", "reward"),
                List.of("next.done", "done"),
                Optional.empty(),
                0,
                0,
                0,
                List.of(),
                false);
    }

    /** The same with one task id and domain for all episodes. */
    public ReaderOptions withTask(String id, String domainName) {
        return new ReaderOptions(
                Optional.of(id),
                domainName,
                observationFeatures,
                actionFeature,
                rewardFeatures,
                doneFeatures,
                imageFeature,
                discreteActions,
                rateHz,
                maxEpisodeSteps,
                splits,
                keepLastStep);
    }

    /** The same with other observation features, concatenated in this order. */
    public ReaderOptions withObservations(List<String> features) {
        return new ReaderOptions(
                taskId,
                domain,
                features,
                actionFeature,
                rewardFeatures,
                doneFeatures,
                imageFeature,
                discreteActions,
                rateHz,
                maxEpisodeSteps,
                splits,
                keepLastStep);
    }

    /** The same with another action feature. */
    public ReaderOptions withAction(String feature) {
        return new ReaderOptions(
                taskId,
                domain,
                observationFeatures,
                feature,
                rewardFeatures,
                doneFeatures,
                imageFeature,
                discreteActions,
                rateHz,
                maxEpisodeSteps,
                splits,
                keepLastStep);
    }

    /** The same with a feature read as image. */
    public ReaderOptions withImage(String feature) {
        return new ReaderOptions(
                taskId,
                domain,
                observationFeatures,
                actionFeature,
                rewardFeatures,
                doneFeatures,
                Optional.of(feature),
                discreteActions,
                rateHz,
                maxEpisodeSteps,
                splits,
                keepLastStep);
    }

    /** The same with a rate and an episode length for sources that state neither. */
    public ReaderOptions withTiming(double stepsPerSecond, int maxSteps) {
        return new ReaderOptions(
                taskId,
                domain,
                observationFeatures,
                actionFeature,
                rewardFeatures,
                doneFeatures,
                imageFeature,
                discreteActions,
                stepsPerSecond,
                maxSteps,
                splits,
                keepLastStep);
    }

    /** The same with only these splits. */
    public ReaderOptions withSplits(List<String> names) {
        return new ReaderOptions(
                taskId,
                domain,
                observationFeatures,
                actionFeature,
                rewardFeatures,
                doneFeatures,
                imageFeature,
                discreteActions,
                rateHz,
                maxEpisodeSteps,
                names,
                keepLastStep);
    }

    /** The same with every episode's last step counted as a real one. */
    public ReaderOptions withLastStep() {
        return new ReaderOptions(
                taskId,
                domain,
                observationFeatures,
                actionFeature,
                rewardFeatures,
                doneFeatures,
                imageFeature,
                discreteActions,
                rateHz,
                maxEpisodeSteps,
                splits,
                true);
    }
}
