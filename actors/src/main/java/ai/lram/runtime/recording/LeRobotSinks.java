package ai.lram.runtime.recording;

import ai.lram.agent.card.TaskCard;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.format.LeRobotSchema;
import ai.lram.dataset.format.LeRobotWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Records into LeRobot v3 data sets, one per task, in folders named after the tasks below a root. An episode is on the device
 * when it is reported as stored. Measured capture times are kept as feature {@code capture_time}, seconds since the
 * episode's first observation; LeRobot's own {@code timestamp} is row / rate.
 */
public final class LeRobotSinks implements EpisodeSinkFactory {
    private final Path root;

    public LeRobotSinks(Path root) {
        this.root = root;
    }

    @Override
    public Optional<String> whyNot(TaskCard task) {
        if (task.hasImage() || task.observationSize() == 0) {
            return Optional.of("episodes with images are not recorded; fix: record them on the robot");
        }
        if (task.rateHz() != Math.rint(task.rateHz())) {
            return Optional.of("LeRobot data sets have a whole number of steps per second, the task has "
                    + task.rateHz() + "; fix: record it on the robot");
        }
        return Optional.empty();
    }

    /** The data set of a task. */
    public Path folder(TaskCard task) {
        return root.resolve(task.id().replaceAll("[^A-Za-z0-9_-]", "_"));
    }

    @Override
    public EpisodeSink open(TaskCard task) {
        LeRobotWriter writer = LeRobotWriter.open(folder(task), schema(task));
        return new EpisodeSink() {
            @Override
            public void store(Episode episode) {
                writer.append(episode);
                writer.flush();
            }

            @Override
            public void close() {
                writer.close();
            }
        };
    }

    private static LeRobotSchema schema(TaskCard task) {
        FeatureSpec observation = new FeatureSpec(
                "observation",
                FeatureType.FLOAT32,
                List.of(task.observationSize()),
                task.observation().stream().map(f -> f.name()).toList(),
                task.observation().stream().map(f -> f.unit()).toList(),
                List.of(),
                List.of());
        FeatureSpec action = task.discrete()
                ? FeatureSpec.discrete("action")
                : new FeatureSpec(
                        "action",
                        FeatureType.FLOAT32,
                        List.of(task.actionSize()),
                        task.action().stream().map(f -> f.name()).toList(),
                        task.action().stream().map(f -> f.unit()).toList(),
                        task.action().stream().map(f -> f.low()).toList(),
                        task.action().stream().map(f -> f.high()).toList());
        TaskInfo info = new TaskInfo(
                task.id(),
                task.domain(),
                task.id(),
                Optional.of(observation),
                action,
                Optional.empty(),
                task.discreteActions(),
                task.rateHz(),
                !task.imitation(),
                true,
                true);
        LeRobotSchema plain = LeRobotSchema.of(info);
        List<LeRobotSchema.Feature> features = new ArrayList<>(plain.features());
        features.add(
                new LeRobotSchema.Feature(FeatureSpec.vector("capture_time", 1), Column.TIMESTAMP.key(), 0, false));
        return new LeRobotSchema(plain.robotType(), plain.fps(), features);
    }
}
