package ai.lram.dataset;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * What is known of one task: which columns its episodes have and what they mean.
 *
 * @param taskId unique name within a store
 * @param domain group of tasks it belongs to (robot family, benchmark)
 * @param instruction what the robot is told, in words; may be empty
 * @param observation state vector; absent for tasks seen by camera only
 * @param action action vector, or a discrete choice ({@link FeatureType#INT64}, width 1)
 * @param image images; absent without a camera
 * @param discreteActions number of choices of a discrete action, 0 if unknown or continuous
 * @param rateHz steps per second, 0 if unknown
 * @param hasRewards whether episodes carry rewards (and so returns-to-go)
 * @param hasDone whether episodes mark absorbing ends
 * @param hasTimestamps whether episodes carry capture times
 */
public record TaskInfo(
        String taskId,
        String domain,
        String instruction,
        Optional<FeatureSpec> observation,
        FeatureSpec action,
        Optional<FeatureSpec> image,
        int discreteActions,
        double rateHz,
        boolean hasRewards,
        boolean hasDone,
        boolean hasTimestamps) {
    public TaskInfo {
        Objects.requireNonNull(domain, "domain");
        Objects.requireNonNull(instruction, "instruction");
        Objects.requireNonNull(action, "action");
        if (taskId.isBlank()) {
            throw new IllegalArgumentException("a task needs an id");
        }
        if (!(rateHz >= 0) || Double.isInfinite(rateHz)) {
            throw new IllegalArgumentException("task " + taskId + ": rateHz " + rateHz + " must be finite and >= 0");
        }
        if (discreteActions < 0) {
            throw new IllegalArgumentException("task " + taskId + ": discreteActions " + discreteActions);
        }
        if (observation.isEmpty() && image.isEmpty()) {
            throw new IllegalArgumentException("task " + taskId + " has neither observation nor image");
        }
        if (observation.isPresent() && observation.get().type() == FeatureType.UINT8
                || action.type() == FeatureType.UINT8
                || image.isPresent() && image.get().type() != FeatureType.UINT8) {
            throw new IllegalArgumentException(
                    "task " + taskId + ": images are UINT8, observations and actions are not");
        }
        if (action.type() == FeatureType.INT64 && action.width() != 1) {
            throw new IllegalArgumentException("task " + taskId + ": a discrete action is one value");
        }
    }

    /** A task with a state vector, an action and perhaps rewards, and nothing else. */
    public static TaskInfo of(
            String taskId,
            String domain,
            FeatureSpec observation,
            FeatureSpec action,
            double rateHz,
            boolean hasRewards) {
        return new TaskInfo(
                taskId,
                domain,
                "",
                Optional.of(observation),
                action,
                Optional.empty(),
                0,
                rateHz,
                hasRewards,
                false,
                false);
    }

    /** Values per row of the state vector, 0 without one. */
    public int observationWidth() {
        return observation.map(FeatureSpec::width).orElse(0);
    }

    /** Values per row of the action. */
    public int actionWidth() {
        return action.width();
    }

    /** Whether the action is a discrete choice. */
    public boolean isDiscrete() {
        return action.type() == FeatureType.INT64;
    }

    /** Whether episodes carry images. */
    public boolean hasImages() {
        return image.isPresent();
    }

    /** The columns of this task's episodes in a store, in the order of {@link Column}. */
    public List<Column> columns() {
        List<Column> columns = new ArrayList<>();
        for (Column column : Column.values()) {
            if (width(column) > 0) {
                columns.add(column);
            }
        }
        return columns;
    }

    /** Elements per row of {@code column}, 0 if the task has no such column. */
    public int width(Column column) {
        return switch (column) {
            case OBSERVATION -> observationWidth();
            case ACTION -> actionWidth();
            case REWARD, RETURN_TO_GO -> hasRewards ? 1 : 0;
            case IMAGE -> image.map(FeatureSpec::width).orElse(0);
            case DONE -> hasDone ? 1 : 0;
            case TIMESTAMP -> hasTimestamps ? 1 : 0;
        };
    }

    /** The same task with another number of discrete choices. */
    public TaskInfo withDiscreteActions(int count) {
        return new TaskInfo(
                taskId,
                domain,
                instruction,
                observation,
                action,
                image,
                count,
                rateHz,
                hasRewards,
                hasDone,
                hasTimestamps);
    }
}
