package ai.lram.bridge.rollout;

import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.env.Feature;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.format.LeRobotSchema;
import ai.lram.dataset.format.LeRobotWriter;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/**
 * Writes episodes of one environment into a LeRobot v3 data set, with rewards and end marks. Episodes are safe on the
 * device once {@link #close} has returned. Single thread.
 */
public final class LeRobotEpisodeSink implements EpisodeSink, AutoCloseable {
    private final EnvironmentSpec spec;
    private final LeRobotWriter writer;

    private LeRobotEpisodeSink(EnvironmentSpec spec, LeRobotWriter writer) {
        this.spec = spec;
        this.writer = writer;
    }

    /**
     * Opens or creates the data set of {@code spec} in {@code folder}/{@link EnvironmentSpec#id() id}: an import
     * takes the task's id from that folder's name.
     *
     * @throws ai.lram.dataset.DatasetException as {@link LeRobotWriter#open}
     */
    public static LeRobotEpisodeSink open(Path folder, EnvironmentSpec spec) {
        return new LeRobotEpisodeSink(
                spec, LeRobotWriter.open(folder.resolve(spec.id()), LeRobotSchema.of(taskInfo(spec))));
    }

    /** The data set's side of an environment. */
    public static TaskInfo taskInfo(EnvironmentSpec spec) {
        FeatureSpec action = vector("action", spec.discrete() ? FeatureType.INT64 : FeatureType.FLOAT32, spec.action());
        return new TaskInfo(
                spec.id(),
                spec.domain(),
                spec.id(),
                Optional.of(vector("observation", FeatureType.FLOAT32, spec.observation())),
                action,
                Optional.empty(),
                spec.discreteActions(),
                spec.rateHz(),
                true,
                true,
                false);
    }

    /** The data set's root folder. */
    public Path root() {
        return writer.root();
    }

    @Override
    public void episode(
            String taskId, int length, float[] observations, float[] actions, float[] rewards, boolean terminated) {
        if (!taskId.equals(spec.id())) {
            throw new RolloutException(
                    "an episode of " + taskId + " cannot be written to " + writer.root(),
                    "that data set holds " + spec.id(),
                    "open one sink per task");
        }
        float[] done = new float[length];
        done[length - 1] = terminated ? 1 : 0;
        writer.append(Episode.builder(taskId, length)
                .instruction(taskId)
                .column(Column.OBSERVATION, Arrays.copyOf(observations, length * spec.observationSize()))
                .column(Column.ACTION, Arrays.copyOf(actions, length * spec.actionSize()))
                .column(Column.REWARD, Arrays.copyOf(rewards, length))
                .column(Column.DONE, done)
                .build());
    }

    /** Writes what is left and ends the sink. Idempotent. */
    @Override
    public void close() {
        writer.close();
    }

    private static FeatureSpec vector(String name, FeatureType type, List<Feature> features) {
        boolean bounded = features.stream().allMatch(f -> Double.isFinite(f.low()) && Double.isFinite(f.high()));
        Function<Function<Feature, Double>, List<Double>> bounds =
                f -> bounded ? features.stream().map(f).toList() : List.of();
        return new FeatureSpec(
                name,
                type,
                List.of(features.size()),
                features.stream().map(Feature::name).toList(),
                features.stream().map(Feature::unit).toList(),
                bounds.apply(Feature::low),
                bounds.apply(Feature::high));
    }
}
