package ai.lram.dataset.format;

import ai.lram.dataset.Column;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.UnsupportedFormatException;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import io.jhdf.api.Dataset;
import io.jhdf.api.Group;
import io.jhdf.api.Node;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * Reads a Minari data set: {@code main_data.hdf5} with one group per episode, and {@code metadata.json} beside it.
 *
 * <p>Minari stores T + 1 observations for T actions; the last one has no action and is dropped. Dictionary and tuple
 * observations are concatenated in the order of their sorted keys; {@link ReaderOptions#observationFeatures()} chooses
 * among them by path ({@code observation/achieved_goal}: {@code achieved_goal}). Only terminations become the end mark
 * "done"; truncations are time-outs. Observations of unsigned bytes with three axes are read as images.
 */
public final class MinariReader implements DatasetReader {
    private final Path file;
    private final Hdf5 hdf;
    private final List<Group> episodes;
    private final List<String> leaves;
    private final boolean images;
    private final TaskInfo task;
    private final List<String> warnings = new ArrayList<>();
    private final long rows;
    private int nextEpisode;

    private MinariReader(Path file, Hdf5 hdf, ReaderOptions options) {
        this.file = file;
        this.hdf = hdf;
        JsonNode metadata = metadata(file);
        String dataFormat = metadata.path("data_format").asText("hdf5");
        if (!dataFormat.equals("hdf5")) {
            throw new UnsupportedFormatException(
                    "Minari data set " + file + " was not opened",
                    "its data_format is " + dataFormat,
                    "hdf5 is read; convert it with Minari's own tools");
        }
        this.episodes = episodeGroups();
        if (episodes.isEmpty()) {
            throw hdf.malformed("there is no group episode_0", "a Minari data set has one group per episode");
        }
        Group first = episodes.getFirst();
        Map<String, Dataset> observed = leaves(first);
        this.leaves = chosen(observed, options.observationFeatures());
        this.images = leaves.size() == 1 && hdf.dimensions(observed.get(leaves.getFirst())).length == 4;
        if (metadata.path("jpeg_encoding").asBoolean(false)
                && leaves.stream().anyMatch(leaf -> isBytes(observed.get(leaf)))) {
            throw new UnsupportedFormatException(
                    "Minari data set " + file + " was not opened",
                    "its images are JPEG-encoded",
                    "choose other observation features, or convert it with jpeg_encoding off");
        }
        this.task = task(metadata, observed, options);
        this.rows = episodes.stream().mapToLong(this::rows).sum();
        long promised = metadata.path("total_steps").asLong(rows);
        if (promised != rows) {
            throw hdf.malformed("the episodes hold " + rows + " steps", "metadata.json says total_steps " + promised);
        }
    }

    /**
     * Opens the data set whose folder (the one with {@code data/}), data folder or {@code main_data.hdf5} is {@code path}.
     */
    public static MinariReader open(Path path, ReaderOptions options) {
        Path file = mainFile(path)
                .orElseThrow(() -> new DatasetReadException(
                        "Minari data set " + path + " was not opened", "there is no main_data.hdf5", "check the path"));
        Hdf5 hdf = Hdf5.open(file);
        boolean opened = false;
        try {
            MinariReader reader = Hdf5.guarded(file, () -> new MinariReader(file, hdf, options));
            opened = true;
            return reader;
        } finally {
            if (!opened) {
                hdf.close();
            }
        }
    }

    /** The main file of the Minari data set at {@code path}, if it is one. */
    static Optional<Path> mainFile(Path path) {
        return List.of(path, path.resolve("main_data.hdf5"), path.resolve("data/main_data.hdf5")).stream()
                .filter(Files::isRegularFile)
                .findFirst();
    }

    private static JsonNode metadata(Path file) {
        Path json = file.resolveSibling("metadata.json");
        return Files.exists(json) ? LeRobotInfo.json(json) : LeRobotInfo.JSON.createObjectNode();
    }

    private List<Group> episodeGroups() {
        record Numbered(long number, Group group) {}
        List<Numbered> found = new ArrayList<>();
        for (Node node : hdf.root().getChildren().values()) {
            if (node instanceof Group group && group.getName().matches("episode_\\d{1,18}")) {
                found.add(new Numbered(Long.parseLong(group.getName().substring(8)), group));
            }
        }
        return found.stream()
                .sorted(Comparator.comparingLong(Numbered::number))
                .map(Numbered::group)
                .toList();
    }

    private Map<String, Dataset> leaves(Group episode) {
        Map<String, Dataset> found = new TreeMap<>();
        collect("", hdf.child(episode, "observations").orElseThrow(() -> missing(episode, "observations")), found);
        return found;
    }

    private MalformedDatasetException missing(Group episode, String name) {
        return hdf.malformed(
                episode.getPath() + " has no " + name,
                "it holds " + episode.getChildren().keySet());
    }

    private static void collect(String path, Node node, Map<String, Dataset> found) {
        if (node instanceof Dataset dataset) {
            found.put(path, dataset);
        } else if (node instanceof Group group) {
            group.getChildren()
                    .forEach((name, child) -> collect(path.isEmpty() ? name : path + "/" + name, child, found));
        }
    }

    private List<String> chosen(Map<String, Dataset> observed, List<String> wanted) {
        List<String> chosen = wanted.isEmpty() ? List.copyOf(observed.keySet()) : wanted;
        for (String leaf : chosen) {
            if (!observed.containsKey(leaf)) {
                throw hdf.malformed("there is no observation " + leaf, "it has " + observed.keySet());
            }
        }
        if (chosen.isEmpty()) {
            throw hdf.malformed("observations is empty", "at least one array is needed");
        }
        return chosen;
    }

    private static boolean isChannels(int axis) {
        return axis == 1 || axis == 3;
    }

    private static boolean isBytes(Dataset dataset) {
        return dataset.getDataType().getSize() == 1;
    }

    private TaskInfo task(JsonNode metadata, Map<String, Dataset> observed, ReaderOptions options) {
        Group first = episodes.getFirst();
        int[] actionShape = hdf.dimensions(hdf.require(first, "actions"));
        JsonNode space = space(metadata, "action_space");
        boolean discrete = space.path("type").asText("").equals("Discrete");
        if (actionShape.length > 2 || discrete && actionShape.length != 1) {
            throw new UnsupportedFormatException(
                    "Minari data set " + file + " was not opened",
                    "its actions have shape " + Arrays.toString(actionShape),
                    "vectors and single choices are read");
        }
        if (space.path("start").asInt(0) != 0) {
            throw new UnsupportedFormatException(
                    "Minari data set " + file + " was not opened",
                    "its discrete actions start at " + space.path("start"),
                    "choices counted from 0 are read");
        }
        int choices = options.discreteActions() > 0
                ? options.discreteActions()
                : space.path("n").asInt(0);
        FeatureSpec action = discrete
                ? FeatureSpec.discrete("actions")
                : FeatureSpec.vector("actions", actionShape.length == 1 ? 1 : actionShape[1]);
        Optional<FeatureSpec> image = Optional.empty();
        Optional<FeatureSpec> state = Optional.empty();
        if (images) {
            int[] shape = hdf.dimensions(observed.get(leaves.getFirst()));
            boolean channelsLast = isChannels(shape[3]);
            image = Optional.of(FeatureSpec.image(
                    "observations",
                    channelsLast ? shape[3] : shape[1],
                    channelsLast ? shape[1] : shape[2],
                    channelsLast ? shape[2] : shape[3]));
        } else {
            int width = 0;
            for (String leaf : leaves) {
                width += width(hdf.dimensions(observed.get(leaf)));
            }
            state = Optional.of(new FeatureSpec("observations", FeatureType.FLOAT32, List.of(width), List.of()));
        }
        String id = metadata.path("dataset_id").asText("");
        String folder = String.valueOf(file.toAbsolutePath().getParent().getFileName());
        return new TaskInfo(
                options.taskId().orElse(id.isEmpty() ? folder : id),
                options.domain().isEmpty() ? "minari" : options.domain(),
                "",
                state,
                action,
                image,
                discrete ? choices : 0,
                options.rateHz(),
                hdf.dataset(first, "rewards").isPresent(),
                hdf.dataset(first, "terminations").isPresent(),
                false);
    }

    /** Spaces are JSON inside a JSON string. */
    private JsonNode space(JsonNode metadata, String key) {
        JsonNode space = metadata.path(key);
        if (!space.isTextual()) {
            return space;
        }
        try {
            return LeRobotInfo.JSON.readTree(space.asText());
        } catch (JsonProcessingException e) {
            throw hdf.malformed("metadata.json: " + key + " is not valid JSON", String.valueOf(e.getOriginalMessage()));
        }
    }

    private static int width(int[] shape) {
        int width = 1;
        for (int axis = 1; axis < shape.length; axis++) {
            width = Math.multiplyExact(width, shape[axis]);
        }
        return width;
    }

    private int rows(Group episode) {
        int[] shape = hdf.dimensions(hdf.require(episode, "actions"));
        int rows = shape.length == 0 ? 0 : shape[0];
        long promised = hdf.attribute(episode, "total_steps", rows);
        if (rows < 1 || promised != rows) {
            throw hdf.malformed(
                    episode.getPath() + " has " + rows + " actions",
                    "its total_steps is " + promised + " and must be at least 1");
        }
        return rows;
    }

    @Override
    public String format() {
        return "Minari HDF5";
    }

    @Override
    public List<TaskInfo> tasks() {
        return List.of(task);
    }

    @Override
    public long episodeCount() {
        return episodes.size();
    }

    @Override
    public long rowCount() {
        return rows;
    }

    @Override
    public Episode next() {
        if (nextEpisode == episodes.size()) {
            return null;
        }
        Episode episode = Hdf5.guarded(file, () -> read(episodes.get(nextEpisode)));
        nextEpisode++;
        return episode;
    }

    private Episode read(Group group) {
        int length = rows(group);
        Episode.Builder builder = Episode.builder(task.taskId(), length)
                .sourceEpisode(Long.parseLong(group.getName().substring(8)));
        Map<String, Dataset> observed = leaves(group);
        if (images) {
            builder.image(frames(observed.get(leaves.getFirst()), length));
        } else {
            builder.column(Column.OBSERVATION, state(group, observed, length));
        }
        builder.column(Column.ACTION, column(group, "actions", length, task.actionWidth()));
        if (task.hasRewards()) {
            builder.column(Column.REWARD, column(group, "rewards", length, 1));
        }
        if (task.hasDone()) {
            builder.column(Column.DONE, column(group, "terminations", length, 1));
        }
        return builder.build();
    }

    private float[] column(Group group, String name, int length, int width) {
        float[] values = hdf.floats(hdf.require(group, name));
        if (values.length != length * width) {
            throw hdf.malformed(
                    group.getPath() + "/" + name + " has " + values.length + " values",
                    length + " rows of " + width + " are needed");
        }
        return values;
    }

    private float[] state(Group group, Map<String, Dataset> observed, int length) {
        int width = task.observationWidth();
        float[] state = new float[Math.multiplyExact(length, width)];
        int offset = 0;
        for (String leaf : leaves) {
            Dataset dataset = observed.get(leaf);
            if (dataset == null) {
                throw hdf.malformed(group.getPath() + " has no observation " + leaf, "the first episode has one");
            }
            int own = width(checkedShape(dataset, length));
            float[] values = hdf.floats(dataset);
            if (offset + own > width || values.length < length * own) {
                throw hdf.malformed(
                        dataset.getPath() + " has " + own + " values a row", "the first episode has fewer or others");
            }
            for (int row = 0; row < length; row++) {
                System.arraycopy(values, row * own, state, row * width + offset, own);
            }
            offset += own;
        }
        if (offset != width) {
            throw hdf.malformed(
                    group.getPath() + " has " + offset + " observation values a row", "the first episode has " + width);
        }
        return state;
    }

    private int[] checkedShape(Dataset dataset, int length) {
        int[] shape = hdf.dimensions(dataset);
        if (shape.length == 0 || shape[0] != length + 1) {
            throw hdf.malformed(
                    dataset.getPath() + " has shape " + Arrays.toString(shape),
                    "an episode of " + length + " actions has " + (length + 1) + " observations");
        }
        return shape;
    }

    private byte[] frames(Dataset dataset, int length) {
        int[] shape = checkedShape(dataset, length);
        FeatureSpec spec = task.image().orElseThrow();
        int channels = spec.shape().get(0);
        int height = spec.shape().get(1);
        int width = spec.shape().get(2);
        byte[] pixels = hdf.bytes(dataset);
        if (shape.length != 4 || pixels.length != (length + 1) * spec.width()) {
            throw hdf.malformed(
                    dataset.getPath() + " has shape " + Arrays.toString(shape),
                    "frames of " + spec.shape() + " are needed");
        }
        if (!isChannels(shape[3])) {
            return Arrays.copyOf(pixels, length * spec.width());
        }
        byte[] planes = new byte[length * spec.width()];
        for (int row = 0; row < length; row++) {
            for (int pixel = 0; pixel < height * width; pixel++) {
                for (int c = 0; c < channels; c++) {
                    planes[row * spec.width() + c * height * width + pixel] =
                            pixels[row * spec.width() + pixel * channels + c];
                }
            }
        }
        return planes;
    }

    @Override
    public List<String> warnings() {
        return List.copyOf(warnings);
    }

    @Override
    public void close() {
        hdf.close();
    }
}
