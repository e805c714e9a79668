package ai.lram.dataset.sample;

import ai.lram.dataset.Column;
import ai.lram.dataset.store.TrajectoryStore;
import java.util.Arrays;

/**
 * Statistics of one column of one task, per element, over a chosen set of episodes: give it the training episodes only.
 *
 * <p>Count, mean, standard deviation (population), minimum and maximum are exact, in double. Quantiles interpolate
 * between order statistics; above {@value #MAX_SORTED} rows they are taken over every k-th row.
 *
 * @param taskId the task
 * @param column the column
 * @param count number of rows
 * @param mean mean of each element
 * @param std population standard deviation of each element
 * @param min smallest value of each element
 * @param max largest value of each element
 * @param q01 1 % quantile of each element
 * @param q10 10 % quantile
 * @param q50 median
 * @param q90 90 % quantile
 * @param q99 99 % quantile
 */
public record FeatureStatistics(
        String taskId,
        Column column,
        long count,
        double[] mean,
        double[] std,
        double[] min,
        double[] max,
        double[] q01,
        double[] q10,
        double[] q50,
        double[] q90,
        double[] q99) {
    private static final int MAX_SORTED = 1_000_000;

    /**
     * Computes the statistics of a float column over those of {@code episodes} that belong to {@code taskId}.
     *
     * @throws IllegalArgumentException if no episode of the task is among them, or the task has no such float column
     */
    public static FeatureStatistics of(TrajectoryStore store, String taskId, Column column, int[] episodes) {
        int width = store.taskInfo(taskId).width(column);
        int task = store.taskIds().indexOf(taskId);
        int[] own = Arrays.stream(episodes)
                .filter(episode -> store.taskNumber(episode) == task)
                .toArray();
        long rows = Arrays.stream(own).mapToLong(store::length).sum();
        if (width == 0 || column == Column.IMAGE || rows == 0) {
            throw new IllegalArgumentException("no statistics of " + column.key() + " of task " + taskId + ": width "
                    + width + ", " + own.length + " of the given episodes are of that task");
        }
        long stride = (rows + MAX_SORTED - 1) / MAX_SORTED;
        float[][] kept = new float[width][(int) ((rows + stride - 1) / stride)];
        double[] mean = new double[width];
        double[] min = new double[width];
        double[] max = new double[width];
        Arrays.fill(min, Double.POSITIVE_INFINITY);
        Arrays.fill(max, Double.NEGATIVE_INFINITY);
        float[] buffer = new float[0];
        long row = 0;
        for (int episode : own) {
            buffer = read(store, episode, column, width, buffer);
            int length = store.length(episode);
            for (int i = 0; i < length; i++, row++) {
                for (int element = 0; element < width; element++) {
                    float value = buffer[i * width + element];
                    mean[element] += value;
                    min[element] = Math.min(min[element], value);
                    max[element] = Math.max(max[element], value);
                    if (row % stride == 0) {
                        kept[element][(int) (row / stride)] = value;
                    }
                }
            }
        }
        for (int element = 0; element < width; element++) {
            mean[element] /= rows;
        }
        double[] std = new double[width];
        for (int episode : own) {
            buffer = read(store, episode, column, width, buffer);
            int values = store.length(episode) * width;
            for (int i = 0; i < values; i++) {
                double difference = buffer[i] - mean[i % width];
                std[i % width] += difference * difference;
            }
        }
        for (int element = 0; element < width; element++) {
            std[element] = Math.sqrt(std[element] / rows);
            Arrays.sort(kept[element]);
        }
        return new FeatureStatistics(
                taskId,
                column,
                rows,
                mean,
                std,
                min,
                max,
                quantile(kept, 0.01),
                quantile(kept, 0.1),
                quantile(kept, 0.5),
                quantile(kept, 0.9),
                quantile(kept, 0.99));
    }

    private static float[] read(TrajectoryStore store, int episode, Column column, int width, float[] buffer) {
        int size = Math.multiplyExact(store.length(episode), width);
        float[] target = buffer.length >= size ? buffer : new float[size];
        store.readWindow(episode, 0, store.length(episode), column, target, 0);
        return target;
    }

    private static double[] quantile(float[][] sorted, double q) {
        double[] result = new double[sorted.length];
        for (int element = 0; element < result.length; element++) {
            float[] values = sorted[element];
            double place = q * (values.length - 1);
            int below = (int) place;
            int above = Math.min(below + 1, values.length - 1);
            result[element] = values[below] + (place - below) * ((double) values[above] - values[below]);
        }
        return result;
    }
}
