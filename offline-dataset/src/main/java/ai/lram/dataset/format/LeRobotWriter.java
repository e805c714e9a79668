package ai.lram.dataset.format;

import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.StoreWriteException;
import ai.lram.dataset.UnsupportedFormatException;
import ai.lram.dataset.io.DurableFiles;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;

/**
 * Writes a LeRobot v3.0 data set, episode by episode, also into one that exists already.
 *
 * <p>{@link #append} buffers; {@link #flush} acknowledges: data and episode table go into files of their own, synced and
 * renamed, and {@code meta/info.json}, replaced last, makes them count. A process killed at any moment leaves a data set
 * that holds exactly the acknowledged episodes; {@link #open} removes what was not acknowledged.
 *
 * <p>Not thread-safe. One writer per data set, held by a file lock. After a {@link StoreWriteException} only
 * {@link #close()} may follow.
 */
public final class LeRobotWriter implements AutoCloseable {
    /** The lock file within a data set; left behind by a closed writer, ignored by readers, safe to delete then. */
    public static final String LOCK_FILE = "meta/.writer.lock";

    private static final String VERSION = "v3.0";
    private static final String DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
    private static final String EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
    private static final int FILES_PER_CHUNK = 1000;
    private static final int DATA_FILE_MB = 100;
    private static final int VIDEO_FILE_MB = 200;
    private static final ObjectMapper JSON = new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
    /** Data sets written by this process: opening a lock file again would release its lock (a rule of POSIX locks). */
    private static final Set<Path> IN_USE = ConcurrentHashMap.newKeySet();

    private final Path root;
    private final LeRobotSchema schema;
    private final List<ParquetTableWriter.Field> dataFields = new ArrayList<>();
    private final Map<String, Long> taskIndices = new LinkedHashMap<>();
    private final Map<String, LeRobotStats> totals = new LinkedHashMap<>();
    private final List<Pending> pending = new ArrayList<>();
    private FileChannel lockChannel;
    private FileLock lock;
    private ParquetTableWriter data;
    private int fileNumber;
    private long episodes;
    private long frames;
    private long pendingFrames;
    private int acknowledgedTasks;
    private boolean failed;
    private boolean closed;

    private record Pending(String task, int length, long from, Map<String, LeRobotStats> stats) {}

    private LeRobotWriter(Path root, LeRobotSchema schema) {
        this.root = root;
        this.schema = schema;
        for (LeRobotSchema.Feature feature : schema.features()) {
            ParquetTableWriter.Kind kind = feature.bool()
                    ? ParquetTableWriter.Kind.BOOLEAN
                    : feature.spec().type() == FeatureType.INT64
                            ? ParquetTableWriter.Kind.INT64
                            : ParquetTableWriter.Kind.FLOAT;
            int width = feature.spec().width();
            dataFields.add(
                    width == 1
                            ? ParquetTableWriter.Field.scalar(feature.spec().name(), kind)
                            : ParquetTableWriter.Field.list(feature.spec().name(), kind, width));
        }
        dataFields.add(ParquetTableWriter.Field.scalar("timestamp", ParquetTableWriter.Kind.FLOAT));
        for (String name : List.of("frame_index", "episode_index", "index", "task_index")) {
            dataFields.add(ParquetTableWriter.Field.scalar(name, ParquetTableWriter.Kind.INT64));
        }
    }

    /**
     * Opens the data set in {@code root} for appending, or creates it where there is none. What a killed process left
     * unacknowledged is removed.
     *
     * @throws StoreWriteException if another writer holds it or the device refuses
     * @throws MalformedDatasetException if the data set there has other features, or contradicts itself
     * @throws UnsupportedFormatException if it is of another version
     */
    public static LeRobotWriter open(Path root, LeRobotSchema schema) {
        Path absolute = root.toAbsolutePath().normalize();
        LeRobotWriter writer = new LeRobotWriter(absolute, schema);
        boolean opened = false;
        try {
            writer.start();
            opened = true;
            return writer;
        } catch (IOException e) {
            throw writer.failure(e);
        } finally {
            if (!opened) {
                writer.releaseLock();
            }
        }
    }

    private void start() throws IOException {
        DurableFiles.createFolders(root.resolve("meta"));
        acquireLock();
        if (Files.exists(root.resolve(LeRobotInfo.INFO))) {
            resume();
        } else {
            if (hasParquet(root.resolve("data")) || hasParquet(root.resolve("meta"))) {
                throw new MalformedDatasetException(
                        "folder " + root + " cannot be written to",
                        "it holds parquet files but no " + LeRobotInfo.INFO,
                        "restore that file, or record into another folder");
            }
            writeMeta();
        }
    }

    private static boolean hasParquet(Path folder) throws IOException {
        if (!Files.isDirectory(folder)) {
            return false;
        }
        try (Stream<Path> files = Files.walk(folder)) {
            return files.anyMatch(file -> file.toString().endsWith(".parquet"));
        }
    }

    private void acquireLock() throws IOException {
        if (!IN_USE.add(root)) {
            throw locked();
        }
        try {
            lockChannel =
                    FileChannel.open(root.resolve(LOCK_FILE), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        } catch (IOException e) {
            IN_USE.remove(root);
            throw e;
        }
        lock = lockChannel.tryLock();
        if (lock == null) {
            throw locked();
        }
    }

    private StoreWriteException locked() {
        return new StoreWriteException(
                "data set " + root + " was not opened for writing",
                "another writer holds it",
                "close that one first, or record into another folder");
    }

    /** Takes up an existing data set: its totals, tasks and statistics; then removes files that no total counts. */
    private void resume() throws IOException {
        LeRobotInfo info = LeRobotInfo.read(root);
        if (!info.version().equals(VERSION)) {
            throw new UnsupportedFormatException(
                    "data set " + root + " cannot be extended",
                    "its codebase_version is " + info.version(),
                    VERSION + " can be extended; import the other and write it anew");
        }
        requireSameFeatures(info);
        episodes = info.totalEpisodes();
        frames = info.totalFrames();
        if (Files.exists(root.resolve("meta/tasks.parquet"))) {
            readTasks();
        }
        int lastFile = -1;
        long found = 0;
        if (episodes > 0) {
            for (Path file : LeRobotReader.episodeTables(root)) {
                try (ParquetColumns table = ParquetColumns.open(file)) {
                    EpisodeFiles read = readStatistics(table);
                    lastFile = Math.max(lastFile, read.lastFile);
                    found += read.acknowledged;
                }
            }
        }
        if (found != episodes) {
            throw new MalformedDatasetException(
                    "data set " + root + " cannot be extended",
                    "meta/episodes lists " + found + " of the " + episodes + " episodes of meta/info.json",
                    "restore its meta folder, or record into another folder");
        }
        fileNumber = lastFile + 1;
        acknowledgedTasks = taskIndices.size();
        removeBeyond(lastFile);
    }

    private void requireSameFeatures(LeRobotInfo info) {
        Map<String, String> wanted = new LinkedHashMap<>();
        for (LeRobotSchema.Feature feature : schema.features()) {
            wanted.put(
                    feature.spec().name(),
                    dtype(feature) + feature.spec().shape() + feature.spec().names());
        }
        Map<String, String> present = new LinkedHashMap<>();
        info.features().forEach((name, feature) -> {
            if (!List.of("timestamp", "frame_index", "episode_index", "index", "task_index")
                    .contains(name)) {
                present.put(name, feature.dtype() + feature.shape() + feature.names());
            }
        });
        if (!wanted.equals(present) || info.rateHz() != schema.fps()) {
            throw new MalformedDatasetException(
                    "data set " + root + " cannot be extended with these features",
                    "it holds " + present + " at " + info.rateHz() + " fps; given are " + wanted + " at "
                            + schema.fps(),
                    "record into another folder");
        }
    }

    private void readTasks() {
        try (ParquetColumns table = ParquetColumns.open(root.resolve("meta/tasks.parquet"))) {
            String text = table.has("task") ? "task" : "__index_level_0__";
            ParquetColumns.Group group = table.all(List.of(
                    new ParquetColumns.Want("task_index", ParquetColumns.As.LONGS, 1),
                    new ParquetColumns.Want(text, ParquetColumns.As.STRINGS, 1)));
            for (int i = 0; i < group.rows(); i++) {
                taskIndices.put(group.strings(text)[i], group.longs("task_index")[i]);
            }
        }
    }

    private record EpisodeFiles(int lastFile, long acknowledged) {}

    private EpisodeFiles readStatistics(ParquetColumns table) {
        List<ParquetColumns.Want> wants = new ArrayList<>();
        for (String name : List.of("episode_index", "data/chunk_index", "data/file_index")) {
            wants.add(new ParquetColumns.Want(name, ParquetColumns.As.LONGS, 1));
        }
        for (ParquetTableWriter.Field field : dataFields) {
            for (String statistic : LeRobotStats.NAMES) {
                String name = "stats/" + field.name() + "/" + statistic;
                if (table.has(name)) {
                    wants.add(new ParquetColumns.Want(name, ParquetColumns.As.DOUBLE_LISTS, 0));
                }
            }
        }
        ParquetColumns.Group group = table.all(wants);
        int lastFile = -1;
        long acknowledged = 0;
        for (int row = 0; row < group.rows(); row++) {
            if (group.longs("episode_index")[row] >= episodes) {
                continue;
            }
            acknowledged++;
            long number = group.longs("data/chunk_index")[row] * FILES_PER_CHUNK + group.longs("data/file_index")[row];
            lastFile = (int) Math.max(lastFile, Math.min(number, Integer.MAX_VALUE - 1));
            for (ParquetTableWriter.Field field : dataFields) {
                Map<String, double[]> lists = new LinkedHashMap<>();
                for (String statistic : LeRobotStats.NAMES) {
                    double[][] lines = group.doubleLists("stats/" + field.name() + "/" + statistic);
                    if (lines != null) {
                        lists.put(statistic, lines[row]);
                    }
                }
                LeRobotStats stats = LeRobotStats.ofLists(lists, field.width());
                if (stats == null) {
                    throw new MalformedDatasetException(
                            "data set " + root + " cannot be extended",
                            "episode " + group.longs("episode_index")[row] + " has no complete statistics of "
                                    + field.name(),
                            "recompute them with LeRobot's tools, or record into another folder");
                }
                totals.merge(field.name(), stats, LeRobotStats::mergedWith);
            }
        }
        return new EpisodeFiles(lastFile, acknowledged);
    }

    /** Removes files being written and files numbered above the last acknowledged one. */
    private void removeBeyond(int lastFile) throws IOException {
        for (String folder : List.of("data", "meta")) {
            Path top = root.resolve(folder);
            if (!Files.isDirectory(top)) {
                continue;
            }
            List<Path> files;
            try (Stream<Path> walk = Files.walk(top)) {
                files = walk.filter(Files::isRegularFile).toList();
            }
            for (Path file : files) {
                String name = file.getFileName().toString();
                boolean unfinished = name.startsWith(".") && name.endsWith(DurableFiles.TEMPORARY_SUFFIX);
                if (unfinished || number(file) > lastFile) {
                    Files.delete(file);
                }
            }
        }
    }

    /** Number of a file {@code chunk-CCC/file-FFF.parquet} over all chunks, -1 for other files. */
    private static long number(Path file) {
        String name = file.getFileName().toString();
        String chunk = file.getParent().getFileName().toString();
        if (!name.matches("file-\\d{3,9}\\.parquet") || !chunk.matches("chunk-\\d{3,9}")) {
            return -1;
        }
        return Long.parseLong(chunk.substring(6)) * FILES_PER_CHUNK
                + Long.parseLong(name.substring(5, name.length() - 8));
    }

    /**
     * Adds an episode to the next flush. Its {@link Episode#instruction()} is its task. The feature "timestamp" is always
     * row / fps, as LeRobot wants it; measured times need a feature of their own.
     *
     * @return the number the episode will have in the data set
     * @throws MalformedDatasetException if a column of the schema is missing or has another width; nothing is written
     */
    public long append(Episode episode) {
        requireUsable();
        for (LeRobotSchema.Feature feature : schema.features()) {
            int width = episode.has(feature.column()) ? episode.width(feature.column()) : 0;
            if (width != feature.spec().width()) {
                throw new MalformedDatasetException(
                        "episode of " + episode.taskId() + " cannot be written to " + root,
                        "feature " + feature.spec().name() + " needs column " + feature.column() + " with "
                                + feature.spec().width() + " values a row; it has " + width,
                        "record what the data set's features say");
            }
        }
        failed = true;
        try {
            if (data == null) {
                Path file = dataFile();
                DurableFiles.createFolders(file.getParent());
                data = new ParquetTableWriter(DurableFiles.temporary(file), dataFields, Map.of());
            }
            long number = episodes + pending.size();
            long from = frames + pendingFrames;
            long task = taskIndices.computeIfAbsent(episode.instruction(), text -> nextTaskIndex());
            List<Object> columns = columns(episode, number, from, task);
            data.write(new ParquetTableWriter.Batch(episode.length(), columns));
            Map<String, LeRobotStats> stats = new LinkedHashMap<>();
            for (int i = 0; i < dataFields.size(); i++) {
                stats.put(
                        dataFields.get(i).name(),
                        LeRobotStats.of(
                                doubles(columns.get(i)), dataFields.get(i).width()));
            }
            pending.add(new Pending(episode.instruction(), episode.length(), from, stats));
            pendingFrames += episode.length();
            failed = false;
            if (data.dataSize() > (long) DATA_FILE_MB << 20) {
                flush();
            }
            return number;
        } catch (IOException e) {
            throw failure(e);
        }
    }

    private long nextTaskIndex() {
        return taskIndices.values().stream().mapToLong(Long::longValue).max().orElse(-1) + 1;
    }

    private List<Object> columns(Episode episode, long number, long from, long task) {
        int length = episode.length();
        float[] timestamps = new float[length];
        long[] frameIndex = new long[length];
        long[] episodeIndex = new long[length];
        long[] index = new long[length];
        long[] taskIndex = new long[length];
        for (int row = 0; row < length; row++) {
            timestamps[row] = (float) ((double) row / schema.fps());
            frameIndex[row] = row;
            episodeIndex[row] = number;
            index[row] = from + row;
            taskIndex[row] = task;
        }
        List<Object> columns = new ArrayList<>();
        for (LeRobotSchema.Feature feature : schema.features()) {
            columns.add(episode.column(feature.column()));
        }
        columns.addAll(List.of(timestamps, frameIndex, episodeIndex, index, taskIndex));
        return columns;
    }

    private static double[] doubles(Object column) {
        if (column instanceof long[] whole) {
            double[] values = new double[whole.length];
            for (int i = 0; i < values.length; i++) {
                values[i] = whole[i];
            }
            return values;
        }
        float[] floats = (float[]) column;
        double[] values = new double[floats.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = floats[i];
        }
        return values;
    }

    /**
     * Makes all appended episodes durable and visible. When this returns they survive a killed process and a power cut.
     *
     * @throws StoreWriteException if the device refuses; none of them is visible then
     */
    public void flush() {
        requireUsable();
        if (pending.isEmpty()) {
            return;
        }
        failed = true;
        try {
            Path file = dataFile();
            Path temporary = DurableFiles.temporary(file);
            data.close();
            data = null;
            DurableFiles.syncFile(temporary);
            DurableFiles.publish(temporary, file);
            writeEpisodeTable();
            for (Pending episode : pending) {
                episode.stats.forEach((name, stats) -> totals.merge(name, stats, LeRobotStats::mergedWith));
            }
            episodes += pending.size();
            frames += pendingFrames;
            pending.clear();
            pendingFrames = 0;
            fileNumber++;
            writeMeta();
        } catch (IOException e) {
            throw failure(e);
        }
        failed = false;
    }

    /** Number of acknowledged episodes. */
    public long episodeCount() {
        return episodes;
    }

    /** Number of acknowledged rows. */
    public long rowCount() {
        return frames;
    }

    /** The data set's root folder. */
    public Path root() {
        return root;
    }

    /** Flushes and ends the writer; after a failure only releases it. Idempotent. */
    @Override
    public void close() {
        if (closed) {
            return;
        }
        try {
            if (!failed) {
                flush();
            }
        } finally {
            closed = true;
            try {
                if (data != null) {
                    data.close();
                    Files.deleteIfExists(DurableFiles.temporary(dataFile()));
                }
            } catch (IOException e) {
                throw failure(e);
            } finally {
                releaseLock();
            }
        }
    }

    private void releaseLock() {
        if (lockChannel == null) {
            return;
        }
        try {
            if (lock != null) {
                lock.close();
            }
            lockChannel.close();
        } catch (IOException e) {
            throw failure(e);
        } finally {
            IN_USE.remove(root);
        }
    }

    private void requireUsable() {
        if (closed || failed) {
            throw new IllegalStateException(
                    "the writer of " + root + (closed ? " is closed" : " has failed before; close it"));
        }
    }

    private Path dataFile() {
        return new PathTemplate(DATA_PATH).resolve(root, place());
    }

    private Map<String, Object> place() {
        return Map.of("chunk_index", fileNumber / FILES_PER_CHUNK, "file_index", fileNumber % FILES_PER_CHUNK);
    }

    private void writeEpisodeTable() throws IOException {
        int rows = pending.size();
        List<ParquetTableWriter.Field> fields = new ArrayList<>();
        List<Object> columns = new ArrayList<>();
        long[] index = new long[rows];
        long[] lengths = new long[rows];
        long[] from = new long[rows];
        long[] to = new long[rows];
        long[] chunk = new long[rows];
        long[] file = new long[rows];
        String[][] tasks = new String[rows][];
        for (int row = 0; row < rows; row++) {
            Pending episode = pending.get(row);
            index[row] = episodes + row;
            lengths[row] = episode.length;
            from[row] = episode.from;
            to[row] = episode.from + episode.length;
            chunk[row] = fileNumber / FILES_PER_CHUNK;
            file[row] = fileNumber % FILES_PER_CHUNK;
            tasks[row] = new String[] {episode.task};
        }
        fields.add(ParquetTableWriter.Field.scalar("episode_index", ParquetTableWriter.Kind.INT64));
        columns.add(index);
        fields.add(ParquetTableWriter.Field.list("tasks", ParquetTableWriter.Kind.STRING, 0));
        columns.add(tasks);
        addWholeNumbers(fields, columns, "length", lengths);
        addWholeNumbers(fields, columns, "data/chunk_index", chunk);
        addWholeNumbers(fields, columns, "data/file_index", file);
        addWholeNumbers(fields, columns, "dataset_from_index", from);
        addWholeNumbers(fields, columns, "dataset_to_index", to);
        for (ParquetTableWriter.Field field : dataFields) {
            for (String statistic : LeRobotStats.NAMES) {
                addStatistic(fields, columns, field, statistic);
            }
        }
        addWholeNumbers(fields, columns, "meta/episodes/chunk_index", chunk);
        addWholeNumbers(fields, columns, "meta/episodes/file_index", file);
        writeTable(new PathTemplate(EPISODES_PATH).resolve(root, place()), fields, columns, rows, Map.of());
    }

    private static void addWholeNumbers(
            List<ParquetTableWriter.Field> fields, List<Object> columns, String name, long[] values) {
        fields.add(ParquetTableWriter.Field.scalar(name, ParquetTableWriter.Kind.INT64));
        columns.add(values);
    }

    private void addStatistic(
            List<ParquetTableWriter.Field> fields,
            List<Object> columns,
            ParquetTableWriter.Field field,
            String statistic) {
        int rows = pending.size();
        String name = "stats/" + field.name() + "/" + statistic;
        if (statistic.equals("count")) {
            long[][] counts = new long[rows][];
            for (int row = 0; row < rows; row++) {
                counts[row] = new long[] {
                    (long) pending.get(row).stats.get(field.name()).get(statistic)[0]
                };
            }
            fields.add(ParquetTableWriter.Field.list(name, ParquetTableWriter.Kind.INT64, 0));
            columns.add(counts);
        } else {
            double[][] lists = new double[rows][];
            for (int row = 0; row < rows; row++) {
                lists[row] = pending.get(row).stats.get(field.name()).get(statistic);
            }
            fields.add(ParquetTableWriter.Field.list(name, ParquetTableWriter.Kind.DOUBLE, 0));
            columns.add(lists);
        }
    }

    private static void writeTable(
            Path file,
            List<ParquetTableWriter.Field> fields,
            List<Object> columns,
            int rows,
            Map<String, String> metadata)
            throws IOException {
        DurableFiles.createFolders(file.getParent());
        Path temporary = DurableFiles.temporary(file);
        try (ParquetTableWriter table = new ParquetTableWriter(temporary, fields, metadata)) {
            table.write(new ParquetTableWriter.Batch(rows, columns));
        }
        DurableFiles.syncFile(temporary);
        DurableFiles.publish(temporary, file);
    }

    /** Tasks and statistics may run ahead of info.json; info.json is replaced last and makes the episodes count. */
    private void writeMeta() throws IOException {
        Path tasks = root.resolve("meta/tasks.parquet");
        if (taskIndices.size() > acknowledgedTasks || !Files.exists(tasks)) {
            writeTable(
                    tasks,
                    List.of(
                            ParquetTableWriter.Field.scalar("task_index", ParquetTableWriter.Kind.INT64),
                            ParquetTableWriter.Field.scalar("task", ParquetTableWriter.Kind.STRING)),
                    List.of(
                            taskIndices.values().stream()
                                    .mapToLong(Long::longValue)
                                    .toArray(),
                            taskIndices.keySet().toArray(String[]::new)),
                    taskIndices.size(),
                    Map.of("pandas", PANDAS_TASK_INDEX));
            acknowledgedTasks = taskIndices.size();
        }
        ObjectNode stats = JSON.createObjectNode();
        totals.forEach((feature, values) -> {
            ObjectNode entry = stats.putObject(feature);
            for (String name : LeRobotStats.NAMES) {
                ArrayNode list = entry.putArray(name);
                for (double value : values.get(name)) {
                    if (name.equals("count")) {
                        list.add((long) value);
                    } else {
                        list.add(value);
                    }
                }
            }
        });
        DurableFiles.replace(root.resolve("meta/stats.json"), JSON.writeValueAsBytes(stats));
        DurableFiles.replace(root.resolve(LeRobotInfo.INFO), JSON.writeValueAsBytes(info()));
    }

    /** Tells pandas that the text is the table's index, which is how LeRobot looks tasks up. */
    private static final String PANDAS_TASK_INDEX =
            """
            {"index_columns": ["task"], "column_indexes": [{"name": null, "field_name": null, "pandas_type": "unicode", \
            "numpy_type": "object", "metadata": {"encoding": "UTF-8"}}], "columns": [{"name": "task_index", \
            "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": null}, \
            {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", \
            "metadata": null}], "creator": {"library": "lram", "version": "0.1"}, "pandas_version": "2.2.0"}""";

    private ObjectNode info() {
        ObjectNode info = JSON.createObjectNode();
        info.put("codebase_version", VERSION);
        info.put("robot_type", schema.robotType());
        info.put("total_episodes", episodes);
        info.put("total_frames", frames);
        info.put("total_tasks", taskIndices.size());
        info.put("chunks_size", FILES_PER_CHUNK);
        info.put("data_files_size_in_mb", DATA_FILE_MB);
        info.put("video_files_size_in_mb", VIDEO_FILE_MB);
        info.put("fps", schema.fps());
        info.putObject("splits").put("train", "0:" + episodes);
        info.put("data_path", DATA_PATH);
        info.putNull("video_path");
        ObjectNode features = info.putObject("features");
        for (LeRobotSchema.Feature feature : schema.features()) {
            describe(features.putObject(feature.spec().name()), feature);
        }
        for (String name : List.of("timestamp", "frame_index", "episode_index", "index", "task_index")) {
            ObjectNode entry = features.putObject(name);
            entry.put("dtype", name.equals("timestamp") ? "float32" : "int64");
            entry.putArray("shape").add(1);
            entry.putNull("names");
        }
        return info;
    }

    private static String dtype(LeRobotSchema.Feature feature) {
        return feature.bool() ? "bool" : feature.spec().type() == FeatureType.INT64 ? "int64" : "float32";
    }

    private static void describe(ObjectNode entry, LeRobotSchema.Feature feature) {
        FeatureSpec spec = feature.spec();
        entry.put("dtype", dtype(feature));
        entry.putArray("shape").add(spec.width());
        if (spec.names().isEmpty()) {
            entry.putNull("names");
        } else {
            ArrayNode names = entry.putArray("names");
            spec.names().forEach(names::add);
        }
        if (feature.choices() > 0
                || !spec.units().isEmpty()
                || !spec.lower().isEmpty()
                || !spec.upper().isEmpty()) {
            ObjectNode extra = entry.putObject("info");
            if (feature.choices() > 0) {
                extra.put("lram.choices", feature.choices());
            }
            if (!spec.units().isEmpty()) {
                spec.units().forEach(extra.putArray("lram.units")::add);
            }
            putFinite(extra, "lram.lower", spec.lower());
            putFinite(extra, "lram.upper", spec.upper());
        }
    }

    private static void putFinite(ObjectNode extra, String name, List<Double> bounds) {
        if (!bounds.isEmpty() && bounds.stream().allMatch(Double::isFinite)) {
            bounds.forEach(extra.putArray(name)::add);
        }
    }

    private StoreWriteException failure(IOException e) {
        return new StoreWriteException(
                "data set " + root + " was not written",
                e.getClass().getSimpleName() + ": " + e.getMessage(),
                "check free space and permissions; acknowledged episodes are safe, open it again to go on",
                e);
    }
}
