package ai.lram.dataset.format;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.TaskInfo;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Reads a D4RL file: one flat HDF5 with {@code observations}, {@code actions}, {@code rewards}, {@code terminals} and
 * usually {@code timeouts}.
 *
 * <p>Episodes end after a terminal or a time-out. Only terminals become the end mark "done": a time-out is no absorbing
 * state. Without time-outs, {@link ReaderOptions#maxEpisodeSteps()} cuts. The whole file is held in memory.
 */
public final class D4rlReader implements DatasetReader {
    private final TaskInfo task;
    private final float[] observations;
    private final float[] actions;
    private final float[] rewards;
    private final float[] terminals;
    private final int[] ends;
    private final List<String> warnings = new ArrayList<>();
    private int nextEpisode;

    private D4rlReader(Path file, ReaderOptions options) {
        try (Hdf5 hdf = Hdf5.open(file)) {
            var root = hdf.root();
            var observed = hdf.require(root, "observations");
            var acted = hdf.require(root, "actions");
            int[] observedShape = hdf.dimensions(observed);
            int[] actedShape = hdf.dimensions(acted);
            if (observedShape.length != 2 || actedShape.length < 1 || actedShape.length > 2) {
                throw hdf.malformed(
                        "observations has shape " + Arrays.toString(observedShape) + ", actions "
                                + Arrays.toString(actedShape),
                        "(N, D) and (N, A) or (N) are needed");
            }
            int rows = observedShape[0];
            observations = hdf.floats(observed);
            actions = hdf.floats(acted);
            rewards = hdf.floats(hdf.require(root, "rewards"));
            terminals = hdf.floats(hdf.require(root, "terminals"));
            float[] timeouts = hdf.dataset(root, "timeouts").map(hdf::floats).orElse(null);
            if (rows < 1
                    || actedShape[0] != rows
                    || rewards.length != rows
                    || terminals.length != rows
                    || timeouts != null && timeouts.length != rows) {
                throw hdf.malformed(
                        "the arrays have different lengths: observations " + rows + ", actions " + actedShape[0]
                                + ", rewards "
                                + rewards.length + ", terminals " + terminals.length
                                + (timeouts == null ? "" : ", timeouts " + timeouts.length),
                        "all need one row per step, at least one");
            }
            ends = cut(file, rows, timeouts, options.maxEpisodeSteps());
            boolean discrete = actedShape.length == 1 && isWhole(actions);
            String name = String.valueOf(file.getFileName()).replaceFirst("\\.(hdf5|h5)$", "");
            FeatureSpec action = discrete
                    ? FeatureSpec.discrete("actions")
                    : FeatureSpec.vector("actions", actedShape.length == 1 ? 1 : actedShape[1]);
            task = new TaskInfo(
                    options.taskId().orElse(name),
                    options.domain().isEmpty() ? "d4rl" : options.domain(),
                    "",
                    Optional.of(FeatureSpec.vector("observations", observedShape[1])),
                    action,
                    Optional.empty(),
                    discrete ? options.discreteActions() : 0,
                    options.rateHz(),
                    true,
                    true,
                    false);
        }
    }

    /**
     * Reads the file.
     *
     * @throws MalformedDatasetException if arrays are missing or differ in length, or nothing says where episodes end
     */
    public static D4rlReader open(Path file, ReaderOptions options) {
        return Hdf5.guarded(file, () -> new D4rlReader(file, options));
    }

    private int[] cut(Path file, int rows, float[] timeouts, int maxSteps) {
        int[] found = new int[16];
        int count = 0;
        int start = 0;
        boolean marked = false;
        for (int row = 0; row < rows; row++) {
            boolean end = terminals[row] != 0 || timeouts != null && timeouts[row] != 0;
            marked |= end;
            if (end || maxSteps > 0 && row - start + 1 == maxSteps || row == rows - 1) {
                if (!end && row == rows - 1) {
                    warnings.add("the last episode (" + (row - start + 1) + " rows) has no end mark and was kept");
                }
                if (count == found.length) {
                    found = Arrays.copyOf(found, count * 2);
                }
                found[count++] = row + 1;
                start = row + 1;
            }
        }
        if (!marked && maxSteps == 0) {
            throw new MalformedDatasetException(
                    "HDF5 file " + file + ": nothing says where episodes end",
                    "it has no timeouts and no terminal row",
                    "give the environment's step limit (maxEpisodeSteps)");
        }
        if (timeouts == null && maxSteps == 0) {
            warnings.add(
                    "there are no timeouts: episodes were cut at terminals only; give maxEpisodeSteps to cut at time limits");
        }
        return Arrays.copyOf(found, count);
    }

    private static boolean isWhole(float[] values) {
        for (float value : values) {
            if (value < 0 || value != Math.rint(value)) {
                return false;
            }
        }
        return true;
    }

    @Override
    public String format() {
        return "D4RL HDF5";
    }

    @Override
    public List<TaskInfo> tasks() {
        return List.of(task);
    }

    @Override
    public long episodeCount() {
        return ends.length;
    }

    @Override
    public long rowCount() {
        return rewards.length;
    }

    @Override
    public Episode next() {
        if (nextEpisode == ends.length) {
            return null;
        }
        int from = nextEpisode == 0 ? 0 : ends[nextEpisode - 1];
        int to = ends[nextEpisode];
        int width = task.observationWidth();
        int actionWidth = task.actionWidth();
        return Episode.builder(task.taskId(), to - from)
                .sourceEpisode(nextEpisode++)
                .column(Column.OBSERVATION, Arrays.copyOfRange(observations, from * width, to * width))
                .column(Column.ACTION, Arrays.copyOfRange(actions, from * actionWidth, to * actionWidth))
                .column(Column.REWARD, Arrays.copyOfRange(rewards, from, to))
                .column(Column.DONE, Arrays.copyOfRange(terminals, from, to))
                .build();
    }

    @Override
    public List<String> warnings() {
        return List.copyOf(warnings);
    }

    @Override
    public void close() {
        nextEpisode = ends.length;
    }
}
