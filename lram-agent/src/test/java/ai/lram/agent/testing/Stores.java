package ai.lram.agent.testing;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import ai.lram.dataset.store.TrajectoryStoreWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Random;

/** Made-up trajectory stores. */
public final class Stores {
    /** Observation width of {@link #linear}. */
    public static final int OBS = 3;
    /** Action width of {@link #linear}. */
    public static final int ACT = 2;

    private Stores() {}

    /** The law of {@link #linear}: action {@code j} at an observation. */
    public static float law(int j, float[] obs, int at) {
        return j == 0 ? 0.6f * obs[at] - 0.3f * obs[at + 1] + 0.1f : 0.5f * obs[at + 2];
    }

    public static TaskInfo linearTask(String id, boolean rewards) {
        return TaskInfo.of(
                id,
                "made-up",
                new FeatureSpec("observation", FeatureType.FLOAT32, List.of(OBS), List.of("x", "y", "z")),
                new FeatureSpec("action", FeatureType.FLOAT32, List.of(ACT), List.of("x", "grip")),
                50,
                rewards);
    }

    /** Smooth observations and actions that are a linear law of them; the reward of row t is 0.01 (t + 1). */
    public static Episode linear(TaskInfo task, int length, long seed) {
        Random random = new Random(seed);
        float[] obs = new float[length * OBS];
        float[] act = new float[length * ACT];
        float[] reward = new float[length];
        double[] phase = {random.nextDouble() * 6, random.nextDouble() * 6, random.nextDouble() * 6};
        for (int t = 0; t < length; t++) {
            for (int i = 0; i < OBS; i++) {
                obs[t * OBS + i] = (float) (Math.sin(phase[i] + 0.2 * (i + 1) * t) + 0.05 * random.nextGaussian());
            }
            for (int j = 0; j < ACT; j++) {
                act[t * ACT + j] = law(j, obs, t * OBS);
            }
            reward[t] = 0.01f * (t + 1);
        }
        Episode.Builder b = Episode.builder(task.taskId(), length)
                .column(Column.OBSERVATION, obs)
                .column(Column.ACTION, act)
                .sourceEpisode(seed);
        return (task.hasRewards() ? b.column(Column.REWARD, reward) : b).build();
    }

    /** Every number tells where it comes from: observation 1000 e + t, action (t mod 64)/64, reward e + t. */
    public static Episode traceable(TaskInfo task, int length, int episode) {
        float[] obs = new float[length * OBS];
        float[] act = new float[length * ACT];
        float[] reward = new float[length];
        for (int t = 0; t < length; t++) {
            for (int i = 0; i < OBS; i++) {
                obs[t * OBS + i] = 1000 * episode + t;
            }
            act[t * ACT] = t % 64 / 64f;
            act[t * ACT + 1] = -t % 64 / 64f;
            reward[t] = episode + t;
        }
        return Episode.builder(task.taskId(), length)
                .column(Column.OBSERVATION, obs)
                .column(Column.ACTION, act)
                .column(Column.REWARD, reward)
                .build();
    }

    /** A task of three choices seen by a vector; the choice is the index of the largest observation. */
    public static TaskInfo choiceTask(String id) {
        return TaskInfo.of(
                        id, "made-up", FeatureSpec.vector("observation", OBS), FeatureSpec.discrete("action"), 50, true)
                .withDiscreteActions(3);
    }

    public static Episode choice(TaskInfo task, int length, long seed) {
        Random random = new Random(seed);
        float[] obs = new float[length * OBS];
        float[] act = new float[length];
        float[] reward = new float[length];
        for (int t = 0; t < length; t++) {
            int best = random.nextInt(3);
            for (int i = 0; i < OBS; i++) {
                obs[t * OBS + i] = (float) ((i == best ? 1 : -1) + 0.1 * random.nextGaussian());
            }
            act[t] = best;
            reward[t] = 1;
        }
        return Episode.builder(task.taskId(), length)
                .column(Column.OBSERVATION, obs)
                .column(Column.ACTION, act)
                .column(Column.REWARD, reward)
                .build();
    }

    /** A task of three choices seen by camera. */
    public static TaskInfo imageTask(String id) {
        return new TaskInfo(
                id,
                "pixels",
                "",
                Optional.empty(),
                FeatureSpec.discrete("action"),
                Optional.of(FeatureSpec.image("frame", 3, 64, 64)),
                3,
                15,
                true,
                false,
                false);
    }

    public static Episode image(TaskInfo task, int length, long seed) {
        Random random = new Random(seed);
        byte[] pixels = new byte[length * 3 * 64 * 64];
        random.nextBytes(pixels);
        float[] act = new float[length];
        float[] reward = new float[length];
        for (int t = 0; t < length; t++) {
            act[t] = random.nextInt(3);
            reward[t] = random.nextInt(2);
        }
        return Episode.builder(task.taskId(), length)
                .image(pixels)
                .column(Column.ACTION, act)
                .column(Column.REWARD, reward)
                .build();
    }

    /** Writes and opens a store. */
    public static TrajectoryStore of(Path folder, List<TaskInfo> tasks, List<Episode> episodes) {
        try (TrajectoryStoreWriter w = TrajectoryStoreWriter.create(folder)) {
            tasks.forEach(w::addTask);
            episodes.forEach(w::append);
            w.commit();
        }
        return TrajectoryStore.open(folder);
    }

    /** A store of one linear task with episodes of the given lengths. */
    public static TrajectoryStore linear(Path folder, boolean rewards, int... lengths) {
        TaskInfo task = linearTask("linear", rewards);
        Episode[] all = new Episode[lengths.length];
        for (int i = 0; i < lengths.length; i++) {
            all[i] = linear(task, lengths[i], 100 + i);
        }
        return of(folder, List.of(task), List.of(all));
    }
}
