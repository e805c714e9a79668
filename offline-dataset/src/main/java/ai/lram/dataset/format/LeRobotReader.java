package ai.lram.dataset.format;

import ai.lram.dataset.Column;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.UnsupportedFormatException;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * Reads LeRobot data sets of versions 2.0, 2.1 and 3.0.
 *
 * <p>Every row's {@code episode_index} and {@code frame_index} are checked against the episode table. Video frames are
 * not decoded; declared videos, present or missing, are named in {@link #warnings()}. Images stored inside the parquet
 * files are read when {@link ReaderOptions#imageFeature()} names them.
 */
public final class LeRobotReader implements DatasetReader {
    private static final String EPISODE_INDEX = "episode_index";
    private static final String FRAME_INDEX = "frame_index";
    private static final String TASK_INDEX = "task_index";
    private static final String TIMESTAMP = "timestamp";

    private final Path root;
    private final LeRobotInfo info;
    private final ReaderOptions options;
    private final List<EpisodeEntry> episodes;
    private final Map<Long, String> taskTexts;
    private final List<LeRobotInfo.Feature> observation;
    private final Optional<LeRobotInfo.Feature> image;
    private final Optional<String> reward;
    private final Optional<String> done;
    private final Map<String, TaskInfo> tasksByText = new LinkedHashMap<>();
    private final List<ParquetColumns.Want> wants = new ArrayList<>();
    private final List<String> warnings = new ArrayList<>();
    private final boolean discrete;
    private final long rows;
    private long unacknowledged;
    private int nextEpisode;
    private RowCursor cursor;

    /** Where one episode lies: file, length, first global row, and the text of its task. */
    private record EpisodeEntry(
            long index, int length, String task, Path file, long firstRow, Map<String, Object> video) {}

    private LeRobotReader(Path root, ReaderOptions options) {
        this.root = root;
        this.options = options;
        this.info = LeRobotInfo.read(root);
        this.taskTexts = info.version().equals("v3.0") ? tasksV3() : tasksV2();
        this.episodes = info.version().equals("v3.0") ? episodesV3() : episodesV2();
        this.rows = episodes.stream().mapToLong(EpisodeEntry::length).sum();
        if (rows != info.totalFrames()) {
            throw malformed(
                    "the episode table holds " + rows + " frames, total_frames is " + info.totalFrames(),
                    "meta/info.json and the table were not written together");
        }
        this.observation = observationFeatures();
        this.image = options.imageFeature().map(name -> info.feature(root, name));
        if (observation.isEmpty() && image.isEmpty()) {
            throw malformed(
                    "no observation feature was found",
                    "it declares " + info.features().keySet());
        }
        LeRobotInfo.Feature action = info.feature(root, options.actionFeature());
        FeatureSpec actionSpec = action.numeric(root, true);
        this.discrete = actionSpec.type() == FeatureType.INT64;
        this.reward = firstPresent(options.rewardFeatures());
        this.done = firstPresent(options.doneFeatures());
        buildTasks(actionSpec, options.discreteActions() > 0 ? options.discreteActions() : action.choices());
        buildWants(action);
        reportVideos();
    }

    /**
     * Opens the data set whose root folder (the one that holds {@code meta/}) is {@code root}.
     *
     * @throws ai.lram.dataset.DatasetException if its meta folder is missing, contradictory or of an unknown version
     */
    public static LeRobotReader open(Path root, ReaderOptions options) {
        return new LeRobotReader(root, options);
    }

    @Override
    public String format() {
        return "LeRobot " + info.version();
    }

    /** Robot type as the data set states it; empty if it does not. */
    public String robotType() {
        return info.robotType();
    }

    @Override
    public List<TaskInfo> tasks() {
        return tasksByText.values().stream().distinct().toList();
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
    public List<String> warnings() {
        return List.copyOf(warnings);
    }

    @Override
    public Episode next() {
        if (nextEpisode == episodes.size()) {
            close();
            return null;
        }
        EpisodeEntry entry = episodes.get(nextEpisode);
        if (cursor == null || !cursor.file.equals(entry.file)) {
            close();
            cursor = new RowCursor(entry.file);
            long expected = 0;
            for (int i = nextEpisode;
                    i < episodes.size() && episodes.get(i).file.equals(entry.file);
                    i++) {
                expected += episodes.get(i).length;
            }
            if (cursor.columns.rows() != expected) {
                throw new MalformedDatasetException(
                        "parquet file " + entry.file + " has " + cursor.columns.rows() + " rows",
                        "the episode table puts " + expected + " into it",
                        "restore the file or correct the episode table in meta/");
            }
        }
        Episode episode = cursor.read(entry);
        nextEpisode++;
        return episode;
    }

    @Override
    public void close() {
        if (cursor != null) {
            cursor.columns.close();
            cursor = null;
        }
    }

    private List<LeRobotInfo.Feature> observationFeatures() {
        if (!options.observationFeatures().isEmpty()) {
            return options.observationFeatures().stream()
                    .map(name -> info.feature(root, name))
                    .toList();
        }
        LeRobotInfo.Feature state = info.features().get("observation.state");
        if (state != null) {
            return List.of(state);
        }
        if (options.imageFeature().isPresent()) {
            return List.of();
        }
        throw new MalformedDatasetException(
                "data set " + root + " has no feature observation.state",
                "it declares " + info.features().keySet(),
                "name the observation features in the import options");
    }

    private Optional<String> firstPresent(List<String> names) {
        return names.stream().filter(name -> info.features().containsKey(name)).findFirst();
    }

    private void buildTasks(FeatureSpec action, int choices) {
        Optional<FeatureSpec> state =
                switch (observation.size()) {
                    case 0 -> Optional.empty();
                    case 1 -> Optional.of(observation.getFirst().numeric(root, false));
                    default -> Optional.of(joined());
                };
        String folder = String.valueOf(root.toAbsolutePath().normalize().getFileName());
        String domain = !options.domain().isEmpty()
                ? options.domain()
                : info.robotType().isEmpty() ? "lerobot" : info.robotType();
        List<String> texts =
                episodes.stream().map(EpisodeEntry::task).distinct().toList();
        if (options.taskId().isPresent() && texts.size() > 1) {
            warnings.add(texts.size() + " different instructions were put under the one task "
                    + options.taskId().get());
        }
        for (String text : texts) {
            boolean alone = texts.size() == 1;
            String id = options.taskId().orElse(alone ? folder : folder + "/" + text);
            String instruction = options.taskId().isPresent() ? texts.getFirst() : text;
            tasksByText.put(
                    text,
                    new TaskInfo(
                            id,
                            domain,
                            instruction,
                            state,
                            action,
                            image.map(this::imageSpec),
                            discrete ? choices : 0,
                            info.rateHz(),
                            reward.isPresent(),
                            done.isPresent(),
                            info.features().containsKey(TIMESTAMP)));
        }
    }

    /** Several features side by side, each element named after its feature. */
    private FeatureSpec joined() {
        List<String> names = new ArrayList<>();
        for (LeRobotInfo.Feature feature : observation) {
            FeatureSpec spec = feature.numeric(root, false);
            for (int i = 0; i < spec.width(); i++) {
                names.add(feature.name() + "."
                        + (spec.names().isEmpty()
                                ? String.valueOf(i)
                                : spec.names().get(i)));
            }
        }
        return new FeatureSpec("observation", FeatureType.FLOAT32, List.of(names.size()), names);
    }

    private FeatureSpec imageSpec(LeRobotInfo.Feature feature) {
        if (!feature.isImage() || feature.shape().size() != 3) {
            throw new UnsupportedFormatException(
                    "data set " + root + ": feature " + feature.name() + " cannot be read as image",
                    "its dtype is " + feature.dtype() + " with shape " + feature.shape(),
                    "choose a feature of dtype image; video frames must be extracted first");
        }
        int last = feature.shape().get(2);
        boolean channelsFirst = last != 1 && last != 3;
        int channels = feature.shape().get(channelsFirst ? 0 : 2);
        int height = feature.shape().get(channelsFirst ? 1 : 0);
        int width = feature.shape().get(channelsFirst ? 2 : 1);
        if (channels != 1 && channels != 3) {
            throw new UnsupportedFormatException(
                    "data set " + root + ": image " + feature.name() + " has " + channels + " channels",
                    "images of 1 and 3 channels are read",
                    "leave this image out");
        }
        return FeatureSpec.image(feature.name(), channels, height, width);
    }

    private void buildWants(LeRobotInfo.Feature action) {
        wants.add(new ParquetColumns.Want(EPISODE_INDEX, ParquetColumns.As.LONGS, 1));
        wants.add(new ParquetColumns.Want(FRAME_INDEX, ParquetColumns.As.LONGS, 1));
        for (LeRobotInfo.Feature feature : observation) {
            wants.add(new ParquetColumns.Want(feature.name(), ParquetColumns.As.FLOATS, feature.width()));
        }
        wants.add(new ParquetColumns.Want(action.name(), ParquetColumns.As.FLOATS, action.width()));
        reward.ifPresent(name -> wants.add(scalar(name)));
        done.ifPresent(name -> wants.add(scalar(name)));
        if (info.features().containsKey(TIMESTAMP)) {
            wants.add(scalar(TIMESTAMP));
        }
        image.ifPresent(feature -> wants.add(new ParquetColumns.Want(feature.name(), ParquetColumns.As.BYTES, 1)));
    }

    private ParquetColumns.Want scalar(String name) {
        int width = info.feature(root, name).width();
        if (width != 1) {
            throw malformed(
                    "feature " + name + " has " + width + " elements", "a reward, end mark or time is one number");
        }
        return new ParquetColumns.Want(name, ParquetColumns.As.FLOATS, 1);
    }

    private void reportVideos() {
        for (LeRobotInfo.Feature feature : info.features().values()) {
            if (feature.isVideo()) {
                int missing = 0;
                for (EpisodeEntry entry : episodes) {
                    missing += videoExists(feature.name(), entry) ? 0 : 1;
                }
                warnings.add("feature " + feature.name() + " is video and was left out; "
                        + (missing == 0
                                ? "its files are there, but frames are not decoded"
                                : "the video of " + missing + " of " + episodes.size() + " episodes is missing"));
            } else if (feature.isImage() && !options.imageFeature().equals(Optional.of(feature.name()))) {
                warnings.add("feature " + feature.name() + " is an image and was not asked for; it was left out");
            }
        }
    }

    private boolean videoExists(String key, EpisodeEntry entry) {
        if (info.videoPath() == null) {
            return false;
        }
        Map<String, Object> values = new LinkedHashMap<>(entry.video);
        values.put("video_key", key);
        for (String part : List.of("chunk_index", "file_index")) {
            Object perKey = entry.video.get("videos/" + key + "/" + part);
            if (perKey != null) {
                values.put(part, perKey);
            }
        }
        if (info.version().equals("v3.0") && !values.containsKey("file_index")) {
            return false;
        }
        return Files.isRegularFile(info.videoPath().resolve(root, values));
    }

    private Map<Long, String> tasksV2() {
        Map<Long, String> tasks = new LinkedHashMap<>();
        for (JsonNode line : LeRobotInfo.jsonLines(root.resolve("meta/tasks.jsonl"))) {
            tasks.put(line.path("task_index").asLong(-1), line.path("task").asText(""));
        }
        return tasks;
    }

    private List<EpisodeEntry> episodesV2() {
        List<EpisodeEntry> entries = new ArrayList<>();
        long firstRow = 0;
        for (JsonNode line : LeRobotInfo.jsonLines(root.resolve("meta/episodes.jsonl"))) {
            long index = line.path(EPISODE_INDEX).asLong(-1);
            long length = line.path("length").asLong(-1);
            checkEntry(index, length);
            Map<String, Object> values = Map.of("episode_chunk", index / info.chunksSize(), "episode_index", index);
            Path file = info.dataPath().resolve(root, values);
            String task = line.path("tasks").path(0).asText(anyTask());
            entries.add(new EpisodeEntry(index, (int) length, task, file, firstRow, values));
            firstRow += length;
        }
        if (entries.size() != info.totalEpisodes()) {
            throw malformed(
                    "meta/episodes.jsonl lists " + entries.size() + " episodes, total_episodes is "
                            + info.totalEpisodes(),
                    "meta/info.json and the list were not written together");
        }
        return entries;
    }

    private Map<Long, String> tasksV3() {
        Map<Long, String> tasks = new LinkedHashMap<>();
        try (ParquetColumns table = ParquetColumns.open(root.resolve("meta/tasks.parquet"))) {
            String text = table.has("task") ? "task" : "__index_level_0__";
            ParquetColumns.Group group = table.all(List.of(
                    new ParquetColumns.Want(TASK_INDEX, ParquetColumns.As.LONGS, 1),
                    new ParquetColumns.Want(text, ParquetColumns.As.STRINGS, 1)));
            for (int i = 0; i < group.rows(); i++) {
                tasks.put(group.longs(TASK_INDEX)[i], group.strings(text)[i]);
            }
        }
        return tasks;
    }

    private List<EpisodeEntry> episodesV3() {
        List<EpisodeEntry> entries = new ArrayList<>();
        List<String> videoKeys = info.features().values().stream()
                .filter(LeRobotInfo.Feature::isVideo)
                .map(LeRobotInfo.Feature::name)
                .toList();
        for (Path file : info.totalEpisodes() == 0 ? List.<Path>of() : episodeTables(root)) {
            try (ParquetColumns table = ParquetColumns.open(file)) {
                readEpisodeTable(table, videoKeys, entries);
            }
        }
        entries.sort(Comparator.comparingLong(EpisodeEntry::index));
        if (entries.size() < info.totalEpisodes()) {
            throw malformed(
                    "meta/episodes lists " + entries.size() + " episodes, total_episodes is " + info.totalEpisodes(),
                    "files of meta/episodes are missing");
        }
        if (unacknowledged > 0) {
            warnings.add(unacknowledged
                    + " episodes beyond total_episodes were left out: their recording was never acknowledged");
        }
        for (int i = 1; i < entries.size(); i++) {
            if (entries.get(i).index == entries.get(i - 1).index) {
                throw malformed(
                        "episode " + entries.get(i).index + " is listed twice in meta/episodes", "numbers are unique");
            }
        }
        entries.sort(Comparator.comparing(EpisodeEntry::file).thenComparingLong(EpisodeEntry::firstRow));
        return entries;
    }

    /** The files of {@code meta/episodes}, in order; files being written (hidden) are not among them. */
    static List<Path> episodeTables(Path root) {
        Path folder = root.resolve("meta/episodes");
        try (Stream<Path> files = Files.walk(folder)) {
            return files.filter(file -> file.getFileName().toString().endsWith(".parquet")
                            && !file.getFileName().toString().startsWith("."))
                    .sorted()
                    .toList();
        } catch (IOException e) {
            throw new DatasetReadException(
                    "folder " + folder + " cannot be read",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "copy the data set completely and check permissions",
                    e);
        }
    }

    private void readEpisodeTable(ParquetColumns table, List<String> videoKeys, List<EpisodeEntry> entries) {
        List<ParquetColumns.Want> columns = new ArrayList<>();
        for (String name : List.of(
                EPISODE_INDEX,
                "length",
                "data/chunk_index",
                "data/file_index",
                "dataset_from_index",
                "dataset_to_index")) {
            columns.add(new ParquetColumns.Want(name, ParquetColumns.As.LONGS, 1));
        }
        boolean hasTasks = table.has("tasks");
        if (hasTasks) {
            columns.add(new ParquetColumns.Want("tasks", ParquetColumns.As.STRING_LISTS, 0));
        }
        List<String> videoColumns = new ArrayList<>();
        for (String key : videoKeys) {
            for (String part : List.of("chunk_index", "file_index")) {
                String name = "videos/" + key + "/" + part;
                if (table.has(name)) {
                    videoColumns.add(name);
                    columns.add(new ParquetColumns.Want(name, ParquetColumns.As.LONGS, 1));
                }
            }
        }
        ParquetColumns.Group group = table.all(columns);
        for (int i = 0; i < group.rows(); i++) {
            long index = group.longs(EPISODE_INDEX)[i];
            long length = group.longs("length")[i];
            long from = group.longs("dataset_from_index")[i];
            if (index >= info.totalEpisodes()) {
                unacknowledged++;
                continue;
            }
            checkEntry(index, length);
            if (from < 0 || group.longs("dataset_to_index")[i] - from != length) {
                throw malformed(
                        "episode " + index + " has length " + length + " but spans rows " + from + " to "
                                + group.longs("dataset_to_index")[i],
                        "the two must agree");
            }
            Path file = info.dataPath()
                    .resolve(
                            root,
                            Map.of(
                                    "chunk_index", group.longs("data/chunk_index")[i],
                                    "file_index", group.longs("data/file_index")[i]));
            String[] texts = hasTasks ? group.stringLists("tasks")[i] : new String[0];
            Map<String, Object> video = new LinkedHashMap<>();
            for (String name : videoColumns) {
                video.put(name, group.longs(name)[i]);
            }
            String task = texts.length > 0 ? texts[0] : anyTask();
            entries.add(new EpisodeEntry(index, (int) length, task, file, from, video));
        }
    }

    private String anyTask() {
        return taskTexts.values().stream().findFirst().orElse("");
    }

    private void checkEntry(long index, long length) {
        if (index < 0 || length < 1 || length > info.totalFrames() || length > Integer.MAX_VALUE) {
            throw malformed(
                    "episode " + index + " has length " + length,
                    "numbers start at 0 and lengths lie between 1 and total_frames (" + info.totalFrames() + ")");
        }
    }

    private MalformedDatasetException malformed(String what, String why) {
        return new MalformedDatasetException(
                "data set " + root + ": " + what, why, "restore or correct the data set's meta folder");
    }

    /** Walks the rows of one data file, over its row groups. */
    private final class RowCursor {
        private final Path file;
        private final ParquetColumns columns;
        private ParquetColumns.Group group;
        private int position;

        RowCursor(Path file) {
            this.file = file;
            this.columns = ParquetColumns.open(file);
        }

        Episode read(EpisodeEntry entry) {
            float[][] state = new float[observation.size()][];
            for (int i = 0; i < state.length; i++) {
                state[i] = allocate(entry, observation.get(i).width());
            }
            int actionWidth = info.feature(root, options.actionFeature()).width();
            float[] actions = allocate(entry, actionWidth);
            Map<String, float[]> scalars = new LinkedHashMap<>();
            reward.ifPresent(name -> scalars.put(name, new float[entry.length]));
            done.ifPresent(name -> scalars.put(name, new float[entry.length]));
            if (info.features().containsKey(TIMESTAMP)) {
                scalars.put(TIMESTAMP, new float[entry.length]);
            }
            FeatureSpec imageSpec = image.map(LeRobotReader.this::imageSpec).orElse(null);
            byte[] pixels = imageSpec == null ? null : new byte[size(entry, imageSpec.width())];
            for (int done = 0; done < entry.length; ) {
                if (group == null || position == group.rows()) {
                    // Two of them at once would be the most memory an import takes.
                    group = null;
                    group = columns.next(wants);
                    position = 0;
                    if (group == null) {
                        throw new MalformedDatasetException(
                                "parquet file " + file + " ends within episode " + entry.index,
                                "its row groups hold fewer rows than its footer says",
                                "restore the file from its source");
                    }
                }
                int count = Math.min(entry.length - done, group.rows() - position);
                checkRows(entry, done, count);
                for (int i = 0; i < state.length; i++) {
                    copy(observation.get(i).name(), observation.get(i).width(), state[i], done, count);
                }
                copy(options.actionFeature(), actionWidth, actions, done, count);
                for (Map.Entry<String, float[]> scalar : scalars.entrySet()) {
                    copy(scalar.getKey(), 1, scalar.getValue(), done, count);
                }
                if (imageSpec != null) {
                    decode(imageSpec, entry, pixels, done, count);
                }
                done += count;
                position += count;
            }
            return episode(entry, state, actions, scalars, pixels);
        }

        private Episode episode(
                EpisodeEntry entry, float[][] state, float[] actions, Map<String, float[]> scalars, byte[] pixels) {
            TaskInfo task = Objects.requireNonNull(tasksByText.get(entry.task));
            Episode.Builder builder = Episode.builder(task.taskId(), entry.length)
                    .instruction(entry.task)
                    .sourceEpisode(entry.index);
            if (state.length == 1) {
                builder.column(Column.OBSERVATION, state[0]);
            } else if (state.length > 1) {
                builder.column(Column.OBSERVATION, interleave(state, entry.length));
            }
            builder.column(Column.ACTION, actions);
            reward.ifPresent(name -> builder.column(Column.REWARD, scalars.get(name)));
            done.ifPresent(name -> builder.column(Column.DONE, scalars.get(name)));
            if (scalars.containsKey(TIMESTAMP)) {
                builder.column(Column.TIMESTAMP, scalars.get(TIMESTAMP));
            }
            if (pixels != null) {
                builder.image(pixels);
            }
            return builder.build();
        }

        private void checkRows(EpisodeEntry entry, int done, int count) {
            long[] episodeIndex = group.longs(EPISODE_INDEX);
            long[] frameIndex = group.longs(FRAME_INDEX);
            for (int i = 0; i < count; i++) {
                if (episodeIndex[position + i] != entry.index || frameIndex[position + i] != done + i) {
                    throw new MalformedDatasetException(
                            "parquet file " + file + ": found frame " + frameIndex[position + i] + " of episode "
                                    + episodeIndex[position + i],
                            "the episode table puts frame " + (done + i) + " of episode " + entry.index + " there",
                            "restore the file or correct the episode table in meta/");
                }
            }
        }

        private void copy(String name, int width, float[] target, int done, int count) {
            System.arraycopy(group.floats(name), position * width, target, done * width, count * width);
        }

        private void decode(FeatureSpec spec, EpisodeEntry entry, byte[] pixels, int done, int count) {
            byte[][] encoded = group.bytes(spec.name());
            for (int i = 0; i < count; i++) {
                try {
                    EncodedImage.decode(spec, encoded[position + i], pixels, (done + i) * spec.width());
                } catch (IOException e) {
                    throw malformedImage(spec, entry, e);
                }
            }
        }

        private MalformedDatasetException malformedImage(FeatureSpec spec, EpisodeEntry entry, IOException e) {
            return new MalformedDatasetException(
                    "parquet file " + file + ": an image of " + spec.name() + " in episode " + entry.index
                            + " cannot be used",
                    e.getMessage(),
                    "shape " + spec.shape() + " is declared; restore the file or leave the image out",
                    e);
        }

        private float[] allocate(EpisodeEntry entry, int width) {
            return new float[size(entry, width)];
        }

        private int size(EpisodeEntry entry, int width) {
            long size = (long) entry.length * width;
            if (size > Integer.MAX_VALUE - 8) {
                throw new UnsupportedFormatException(
                        "episode " + entry.index + " of " + root + " is too long",
                        entry.length + " rows of " + width + " values exceed 2^31",
                        "cut the episode");
            }
            return (int) size;
        }

        private float[] interleave(float[][] parts, int length) {
            int width = 0;
            for (float[] part : parts) {
                width += part.length / length;
            }
            float[] joined = new float[Math.multiplyExact(width, length)];
            int offset = 0;
            for (float[] part : parts) {
                int own = part.length / length;
                for (int row = 0; row < length; row++) {
                    System.arraycopy(part, row * own, joined, row * width + offset, own);
                }
                offset += own;
            }
            return joined;
        }
    }
}
