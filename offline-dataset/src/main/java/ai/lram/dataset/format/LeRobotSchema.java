package ai.lram.dataset.format;

import ai.lram.dataset.Column;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.TaskInfo;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;

/**
 * What a LeRobot data set written by this module holds. Timestamps, frame, episode, global and task numbers are added by
 * the writer.
 *
 * @param robotType robot type noted in the data set; may be empty
 * @param fps rows per second, at least 1; LeRobot knows whole numbers only
 * @param features the features in file order
 */
public record LeRobotSchema(String robotType, int fps, List<Feature> features) {
    private static final Set<String> RESERVED =
            Set.of("timestamp", "frame_index", "episode_index", "index", "task_index");

    /**
     * One feature of the data set.
     *
     * @param spec name in the data set, type, shape (one axis), element names, units, bounds
     * @param column column of the {@link ai.lram.dataset.Episode} it is taken from
     * @param choices number of choices of a discrete action, 0 if unknown or continuous
     * @param bool whether it is written as boolean
     */
    public record Feature(FeatureSpec spec, String column, int choices, boolean bool) {
        public Feature {
            Objects.requireNonNull(column, "column");
            if (spec.type() == FeatureType.UINT8 || spec.shape().size() != 1) {
                throw new IllegalArgumentException("feature " + spec.name()
                        + ": vectors of numbers can be written, not " + spec.type() + spec.shape());
            }
            if (RESERVED.contains(spec.name())) {
                throw new IllegalArgumentException("feature " + spec.name() + " is written by the writer itself");
            }
        }
    }

    public LeRobotSchema {
        Objects.requireNonNull(robotType, "robotType");
        features = List.copyOf(features);
        if (fps < 1) {
            throw new IllegalArgumentException("fps must be at least 1, got " + fps);
        }
        Set<String> names = new HashSet<>();
        for (Feature feature : features) {
            if (!names.add(feature.spec.name())) {
                throw new IllegalArgumentException("feature " + feature.spec.name() + " is listed twice");
            }
        }
        if (features.isEmpty()) {
            throw new IllegalArgumentException("a data set needs features");
        }
    }

    /**
     * The usual robot data set: {@code observation.state}, {@code action} and, where asked for, {@code next.reward} and
     * {@code next.done}. The specs' own names are replaced by these.
     */
    public static LeRobotSchema of(
            String robotType, int fps, FeatureSpec observation, FeatureSpec action, boolean rewards, boolean done) {
        List<Feature> features = new ArrayList<>();
        features.add(new Feature(renamed(observation, "observation.state"), Column.OBSERVATION.key(), 0, false));
        features.add(new Feature(renamed(action, "action"), Column.ACTION.key(), 0, false));
        if (rewards) {
            features.add(new Feature(FeatureSpec.vector("next.reward", 1), Column.REWARD.key(), 0, false));
        }
        if (done) {
            features.add(new Feature(FeatureSpec.vector("next.done", 1), Column.DONE.key(), 0, true));
        }
        return new LeRobotSchema(robotType, fps, features);
    }

    /**
     * The data set that holds what a store has of {@code task}; images are left out.
     *
     * @throws IllegalArgumentException if the task has no state vector, or a rate that is no whole number
     */
    public static LeRobotSchema of(TaskInfo task) {
        if (task.rateHz() < 1 || task.rateHz() != Math.rint(task.rateHz())) {
            throw new IllegalArgumentException("task " + task.taskId() + " runs at " + task.rateHz()
                    + " Hz; LeRobot knows whole numbers from 1 only");
        }
        FeatureSpec observation = task.observation()
                .orElseThrow(
                        () -> new IllegalArgumentException("task " + task.taskId() + " has no state vector to write"));
        LeRobotSchema schema = of(
                task.domain(),
                (int) task.rateHz(),
                flat(observation),
                task.action(),
                task.hasRewards(),
                task.hasDone());
        List<Feature> features = new ArrayList<>(schema.features);
        features.set(1, new Feature(features.get(1).spec, Column.ACTION.key(), task.discreteActions(), false));
        return new LeRobotSchema(schema.robotType, schema.fps, features);
    }

    /** The same with one more vector, taken from the episode column of the same name. */
    public LeRobotSchema with(FeatureSpec extra) {
        List<Feature> more = new ArrayList<>(features);
        more.add(new Feature(extra, extra.name(), 0, false));
        return new LeRobotSchema(robotType, fps, more);
    }

    private static FeatureSpec renamed(FeatureSpec spec, String name) {
        return new FeatureSpec(name, spec.type(), spec.shape(), spec.names(), spec.units(), spec.lower(), spec.upper());
    }

    private static FeatureSpec flat(FeatureSpec spec) {
        return new FeatureSpec(
                spec.name(),
                spec.type(),
                List.of(spec.width()),
                spec.names(),
                spec.units(),
                spec.lower(),
                spec.upper());
    }
}
