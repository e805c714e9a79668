package ai.lram.bench.data;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.format.LeRobotSchema;
import ai.lram.dataset.format.LeRobotWriter;
import ai.lram.dataset.store.TrajectoryStoreWriter;
import java.nio.file.Path;
import java.util.stream.IntStream;

/** Made-up trajectories of 60 numbers a row, every one computable from its place. */
final class MadeData {
    static final int OBSERVATIONS = 34;
    static final int ACTIONS = 26;
    static final int ROW_BYTES = (OBSERVATIONS + ACTIONS) * Float.BYTES;

    private static final int RATE_HZ = 50;
    private static final FeatureSpec OBSERVATION = FeatureSpec.vector("observation", OBSERVATIONS);
    private static final FeatureSpec ACTION = FeatureSpec.vector("action", ACTIONS);
    static final TaskInfo TASK = TaskInfo.of("bench/arm", "bench", OBSERVATION, ACTION, RATE_HZ, false);

    private MadeData() {}

    /** Number {@code i} of a row. */
    static float value(int episode, int row, int i) {
        return (float) Math.sin(0.1 * episode + 0.01 * row) + i;
    }

    static Episode episode(int number, int length) {
        float[] observations = new float[length * OBSERVATIONS];
        float[] actions = new float[length * ACTIONS];
        for (int row = 0; row < length; row++) {
            float v = value(number, row, 0);
            for (int i = 0; i < OBSERVATIONS; i++) {
                observations[row * OBSERVATIONS + i] = v + i;
            }
            for (int i = 0; i < ACTIONS; i++) {
                actions[row * ACTIONS + i] = v + OBSERVATIONS + i;
            }
        }
        return Episode.builder(TASK.taskId(), length)
                .column(Column.OBSERVATION, observations)
                .column(Column.ACTION, actions)
                .sourceEpisode(number)
                .build();
    }

    /** A store of equally long episodes. */
    static void store(Path target, int episodes, int length) {
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(target)) {
            writer.addTask(TASK);
            IntStream.range(0, episodes).forEach(e -> writer.append(episode(e, length)));
            writer.commit();
        }
    }

    /** The same as a LeRobot data set in Parquet. */
    static void leRobot(Path target, int episodes, int length) {
        LeRobotSchema schema = LeRobotSchema.of("arm", RATE_HZ, OBSERVATION, ACTION, false, false);
        try (LeRobotWriter writer = LeRobotWriter.open(target, schema)) {
            IntStream.range(0, episodes).forEach(e -> writer.append(episode(e, length)));
        }
    }
}
