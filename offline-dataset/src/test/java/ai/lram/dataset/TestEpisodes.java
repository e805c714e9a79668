package ai.lram.dataset;

import java.util.Optional;
import java.util.Random;

/** Made-up episodes for tests: reproducible values, any widths. */
public final class TestEpisodes {
    private TestEpisodes() {}

    public static TaskInfo task(String id, int observationWidth, int actionWidth) {
        return TaskInfo.of(
                id,
                "test",
                FeatureSpec.vector("observation.state", observationWidth),
                FeatureSpec.vector("action", actionWidth),
                50,
                true);
    }

    public static TaskInfo imageTask(String id) {
        return new TaskInfo(
                id,
                "pixels",
                "look",
                Optional.empty(),
                FeatureSpec.discrete("action"),
                Optional.of(FeatureSpec.image("frame", 3, 4, 5)),
                0,
                0,
                true,
                true,
                true);
    }

    /** An episode that fits {@link #task}. */
    public static Episode episode(TaskInfo task, int length, long seed) {
        Random random = new Random(seed);
        Episode.Builder builder =
                Episode.builder(task.taskId(), length).sourceEpisode(seed).instruction(task.instruction());
        for (Column column : task.columns()) {
            int size = length * task.width(column);
            switch (column) {
                case IMAGE -> {
                    byte[] pixels = new byte[size];
                    random.nextBytes(pixels);
                    builder.image(pixels);
                }
                case RETURN_TO_GO -> {
                    continue;
                }
                case ACTION -> builder.column(column, values(random, size, task.isDiscrete()));
                case DONE -> {
                    float[] done = new float[size];
                    done[size - 1] = 1;
                    builder.column(column, done);
                }
                default -> builder.column(column, values(random, size, false));
            }
        }
        return builder.build();
    }

    private static float[] values(Random random, int size, boolean ids) {
        float[] values = new float[size];
        for (int i = 0; i < size; i++) {
            values[i] = ids ? random.nextInt(7) : (float) random.nextGaussian();
        }
        return values;
    }
}
