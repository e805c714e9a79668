package ai.lram.bench.train;

import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStoreWriter;
import java.nio.file.Path;
import java.util.Random;

/** Made-up episodes, by default of Meta-World's shapes (39 numbers in, 4 out), and how they are trained on. */
public final class MadeStore {
    /** How many there are. */
    public static final int EPISODES = 32;

    private static final int OBSERVATIONS = 39;
    private static final int ACTIONS = 4;
    private static final int RATE_HZ = 80;

    private MadeStore() {}

    /** Writes a store of {@link #EPISODES} episodes of {@code length} steps; actions are half of the first observations. */
    public static void write(Path store, int length) {
        write(store, OBSERVATIONS, ACTIONS, length);
    }

    /** The same with so many numbers observed and actuated. */
    public static void write(Path store, int observations, int actions, int length) {
        TaskInfo task = TaskInfo.of(
                "bench/train",
                "bench",
                FeatureSpec.vector("observation", observations),
                FeatureSpec.vector("action", actions),
                RATE_HZ,
                true);
        Random random = new Random(1);
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(store)) {
            writer.addTask(task);
            for (int e = 0; e < EPISODES; e++) {
                writer.append(episode(task, observations, actions, length, random));
            }
            writer.commit();
        }
    }

    private static Episode episode(TaskInfo task, int observed, int actuated, int length, Random random) {
        float[] observations = new float[length * observed];
        float[] actions = new float[length * actuated];
        float[] rewards = new float[length];
        double phase = 6 * random.nextDouble();
        for (int t = 0; t < length; t++) {
            for (int i = 0; i < observed; i++) {
                observations[t * observed + i] =
                        (float) (Math.sin(phase + 0.05 * (i + 1) * t) + 0.1 * random.nextGaussian());
            }
            for (int j = 0; j < actuated; j++) {
                actions[t * actuated + j] = 0.5f * observations[t * observed + j];
            }
            rewards[t] = 0.01f;
        }
        return Episode.builder(task.taskId(), length)
                .column(Column.OBSERVATION, observations)
                .column(Column.ACTION, actions)
                .column(Column.REWARD, rewards)
                .build();
    }

    /** Random windows, one-hot targets, a rate that changes little. */
    public static TrainConfig config(XlstmConfig backbone, int batch, int steps, long updates) {
        return new TrainConfig(
                backbone, batch, steps, 1, false, updates, 0, 1e-4, 1, 0.01, 0.99, 1, 0, 0, 0, false, 0.02, 0, 1, 7, 1,
                0.5, 0, 0);
    }
}
