package ai.lram.dataset.store;

import ai.lram.dataset.Column;
import ai.lram.dataset.CorruptStoreException;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.UnsupportedFormatException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.AbstractList;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.RandomAccess;
import java.util.zip.CRC32C;

/**
 * A published trajectory store, memory-mapped and read-only.
 *
 * <p>Opening costs the same for ten episodes and ten million: the index is mapped, no object is made per episode.
 * Opening checks the manifest, every file's size and the checksums' own checksum; {@link #verify()} reads everything.
 * Safe for any number of threads; reading a window allocates nothing. The files must not be changed or truncated while
 * the store is open. Reads after {@link #close()} throw {@link IllegalStateException}.
 */
public final class TrajectoryStore implements AutoCloseable {
    private static final long MAX_MANIFEST_BYTES = 1L << 28;

    private final Path folder;
    private final Manifest manifest;
    private final List<TaskColumns> tasks;
    private final Map<String, Integer> taskNumbers;
    private final MemorySegment index;
    private final List<CheckedFile> files;
    private final Arena arena;

    private TrajectoryStore(
            Path folder,
            Manifest manifest,
            List<TaskColumns> tasks,
            Map<String, Integer> taskNumbers,
            MemorySegment index,
            List<CheckedFile> files,
            Arena arena) {
        this.folder = folder;
        this.manifest = manifest;
        this.tasks = tasks;
        this.taskNumbers = taskNumbers;
        this.index = index;
        this.files = files;
        this.arena = arena;
    }

    /** A task's mapped columns; both arrays by {@link Column#ordinal()}, 0 and null for columns it lacks. */
    private record TaskColumns(TaskInfo info, long rows, long[] rowBytes, MemorySegment[] contents) {}

    private record CheckedFile(String name, MemorySegment content, int[] blocks) {}

    /** Whether {@code folder} looks like a store: it has a manifest and an index. */
    public static boolean isStore(Path folder) {
        return Files.isRegularFile(folder.resolve(StoreLayout.MANIFEST))
                && Files.isRegularFile(folder.resolve(StoreLayout.INDEX));
    }

    /**
     * Maps the store in {@code folder}.
     *
     * @throws DatasetReadException if it is missing or unreadable
     * @throws UnsupportedFormatException if another version wrote it
     * @throws CorruptStoreException if manifest, sizes or checksum table do not agree
     */
    public static TrajectoryStore open(Path folder) {
        Arena arena = Arena.ofShared();
        boolean opened = false;
        try {
            TrajectoryStore store = open(folder, arena);
            opened = true;
            return store;
        } catch (NoSuchFileException e) {
            throw new DatasetReadException(
                    "store " + folder + " was not opened",
                    "there is no file " + e.getFile(),
                    "check the path, or build the store with an import",
                    e);
        } catch (IOException e) {
            throw new DatasetReadException(
                    "store " + folder + " was not opened",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "check permissions and the device",
                    e);
        } finally {
            if (!opened) {
                arena.close();
            }
        }
    }

    private static TrajectoryStore open(Path folder, Arena arena) throws IOException {
        byte[] json = readSmall(folder, StoreLayout.MANIFEST);
        Manifest manifest = parse(folder, json);
        ByteBuffer sums =
                ByteBuffer.wrap(readSmall(folder, StoreLayout.CHECKSUMS)).order(ByteOrder.LITTLE_ENDIAN);
        checkTable(folder, sums, json);
        List<CheckedFile> files = new ArrayList<>();

        ByteBuffer header = ByteBuffer.allocate(StoreLayout.INDEX_HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        MemorySegment index = map(folder, StoreLayout.INDEX, sums, files, arena, header);
        long expected = StoreLayout.INDEX_HEADER_BYTES + (long) manifest.episodes() * StoreLayout.RECORD_BYTES;
        require(
                index.byteSize() == expected,
                folder,
                StoreLayout.INDEX + " has " + index.byteSize() + " bytes",
                manifest.episodes() + " episodes need " + expected);
        require(
                header.getLong(0) == StoreLayout.INDEX_MAGIC
                        && header.getInt(8) == StoreLayout.VERSION
                        && header.getInt(12) == StoreLayout.RECORD_BYTES,
                folder,
                StoreLayout.INDEX + " has a wrong header",
                "magic, version or record size differ from this version's");

        List<TaskColumns> tasks = new ArrayList<>();
        Map<String, Integer> numbers = new LinkedHashMap<>();
        for (Manifest.Task entry : manifest.tasks()) {
            TaskInfo info = taskInfo(folder, entry);
            require(
                    entry.rows() >= 0 && numbers.put(info.taskId(), tasks.size()) == null,
                    folder,
                    "task " + info.taskId() + " is listed twice or has " + entry.rows() + " rows",
                    "ids are unique and rows not negative");
            long[] rowBytes = new long[Column.values().length];
            MemorySegment[] contents = new MemorySegment[rowBytes.length];
            for (Column column : info.columns()) {
                String name = StoreLayout.columnFile(tasks.size(), column);
                MemorySegment content = map(folder, name, sums, files, arena, ByteBuffer.allocate(0));
                long bytes = (long) info.width(column) * column.elementBytes();
                require(
                        content.byteSize() % bytes == 0 && content.byteSize() / bytes == entry.rows(),
                        folder,
                        name + " has " + content.byteSize() + " bytes",
                        entry.rows() + " rows of " + bytes + " bytes are promised");
                rowBytes[column.ordinal()] = bytes;
                contents[column.ordinal()] = content;
            }
            tasks.add(new TaskColumns(info, entry.rows(), rowBytes, contents));
        }
        require(
                sums.remaining() == 4,
                folder,
                StoreLayout.CHECKSUMS + " lists more files than the manifest",
                "one entry per file is expected");
        return new TrajectoryStore(folder, manifest, List.copyOf(tasks), numbers, index, List.copyOf(files), arena);
    }

    private static Manifest parse(Path folder, byte[] json) {
        Manifest manifest;
        try {
            manifest = Manifest.parse(json);
        } catch (IOException e) {
            throw new CorruptStoreException(
                    "store " + folder + ": " + StoreLayout.MANIFEST + " cannot be read",
                    String.valueOf(e.getMessage()),
                    "build the store again from its source",
                    e);
        }
        if (manifest == null
                || !StoreLayout.FORMAT.equals(manifest.format())
                || manifest.version() != StoreLayout.VERSION) {
            throw new UnsupportedFormatException(
                    "store " + folder + " was not opened",
                    "its manifest says format "
                            + (manifest == null ? null : manifest.format() + " version " + manifest.version()),
                    "this version reads " + StoreLayout.FORMAT + " version " + StoreLayout.VERSION
                            + "; build the store again from its source");
        }
        require(
                manifest.episodes() >= 0
                        && manifest.tasks() != null
                        && manifest.sources() != null
                        && manifest.provenance() != null,
                folder,
                StoreLayout.MANIFEST + " is incomplete",
                "episodes, tasks, sources and provenance are required");
        return manifest;
    }

    private static TaskInfo taskInfo(Path folder, Manifest.Task entry) {
        try {
            return entry.info();
        } catch (IllegalArgumentException | NullPointerException e) {
            throw new CorruptStoreException(
                    "store " + folder + ": task " + (entry == null ? null : entry.id())
                            + " of the manifest is not valid",
                    String.valueOf(e.getMessage()),
                    "build the store again from its source",
                    e);
        }
    }

    private static void checkTable(Path folder, ByteBuffer sums, byte[] manifest) {
        CRC32C crc = new CRC32C();
        require(
                sums.capacity() >= 28,
                folder,
                StoreLayout.CHECKSUMS + " has " + sums.capacity() + " bytes",
                "it was cut off");
        crc.update(sums.array(), 0, sums.capacity() - 4);
        require(
                sums.getInt(sums.capacity() - 4) == (int) crc.getValue()
                        && sums.getLong() == StoreLayout.CHECKSUM_MAGIC,
                folder,
                StoreLayout.CHECKSUMS + " is damaged",
                "its own checksum does not match");
        int version = sums.getInt();
        int blockBytes = sums.getInt();
        require(
                version == StoreLayout.VERSION && blockBytes == StoreLayout.BLOCK_BYTES,
                folder,
                StoreLayout.CHECKSUMS + " has version " + version + " and blocks of " + blockBytes + " bytes",
                "the manifest says version " + StoreLayout.VERSION);
        crc.reset();
        crc.update(manifest);
        require(
                sums.getInt() == (int) crc.getValue(),
                folder,
                StoreLayout.MANIFEST + " was changed",
                "its checksum does not match");
        sums.getInt();
    }

    /** Also fills {@code start} with the file's first bytes: read through the map they would cost a page of their own. */
    @SuppressWarnings("restricted")
    private static MemorySegment map(
            Path folder, String name, ByteBuffer sums, List<CheckedFile> files, Arena arena, ByteBuffer start)
            throws IOException {
        require(
                sums.remaining() >= 16,
                folder,
                StoreLayout.CHECKSUMS + " has no entry for " + name,
                "it lists fewer files");
        long bytes = sums.getLong();
        int count = sums.getInt();
        require(
                bytes >= 0 && count == StoreLayout.blocks(bytes) && sums.remaining() - 4 >= 4L * count,
                folder,
                StoreLayout.CHECKSUMS + ": entry of " + name + " claims " + bytes + " bytes in " + count + " blocks",
                "the table is too short for it");
        int[] blocks = new int[count];
        for (int i = 0; i < count; i++) {
            blocks[i] = sums.getInt();
        }
        MemorySegment content;
        try (FileChannel channel = FileChannel.open(folder.resolve(name), StandardOpenOption.READ)) {
            require(
                    channel.size() == bytes,
                    folder,
                    name + " has " + channel.size() + " bytes",
                    bytes + " were written; the file was truncated or extended");
            if (bytes == 0) {
                content = MemorySegment.NULL;
            } else {
                MemorySegment mapped = channel.map(FileChannel.MapMode.READ_ONLY, 0, bytes, arena);
                // Kernels warmed on arena memory slow down badly on the mapped class: re-wrap as plain native memory.
                while (start.hasRemaining() && channel.read(start, start.position()) >= 0) {
                    // Until it is full or the file ends.
                }
                content = MemorySegment.ofAddress(mapped.address())
                        .reinterpret(mapped.byteSize(), arena, null)
                        .asReadOnly();
            }
        }
        files.add(new CheckedFile(name, content, blocks));
        return content;
    }

    private static byte[] readSmall(Path folder, String name) throws IOException {
        Path file = folder.resolve(name);
        long size = Files.size(file);
        require(
                size <= MAX_MANIFEST_BYTES,
                folder,
                name + " has " + size + " bytes",
                "at most " + MAX_MANIFEST_BYTES + " are expected");
        return Files.readAllBytes(file);
    }

    private static void require(boolean holds, Path folder, String what, String why) {
        if (!holds) {
            throw new CorruptStoreException(
                    "store " + folder + ": " + what, why, "build the store again from its source");
        }
    }

    /** The folder this store lives in. */
    public Path folder() {
        return folder;
    }

    /** Task ids in the order in which they were added. */
    public List<String> taskIds() {
        return tasks.stream().map(task -> task.info.taskId()).toList();
    }

    /**
     * What is known of a task.
     *
     * @throws IllegalArgumentException if the store has no such task
     */
    public TaskInfo taskInfo(String taskId) {
        return task(taskId).info;
    }

    /** Number of rows of a task, over all its episodes. */
    public long rowCount(String taskId) {
        return task(taskId).rows;
    }

    /** Number of rows over all tasks. */
    public long rowCount() {
        return tasks.stream().mapToLong(TaskColumns::rows).sum();
    }

    /** Number of episodes. */
    public int episodeCount() {
        return manifest.episodes();
    }

    /** Where the episodes came from. */
    public List<StoreSource> sources() {
        return List.copyOf(manifest.sources());
    }

    /** Free-form provenance written at import. */
    public Map<String, String> provenance() {
        return Map.copyOf(manifest.provenance());
    }

    /** All episodes as a lazy view on the mapped index. */
    public List<EpisodeInfo> episodes() {
        return new EpisodeList();
    }

    /** One line of the index. */
    public EpisodeInfo episode(int episode) {
        long record = record(episode);
        return new EpisodeInfo(
                episode,
                taskOf(episode, record).info.taskId(),
                length(episode),
                index.get(StoreLayout.DOUBLE, record + StoreLayout.RECORD_RETURN),
                index.get(StoreLayout.LONG, record + StoreLayout.RECORD_SOURCE_EPISODE),
                index.get(StoreLayout.INT, record + StoreLayout.RECORD_SOURCE));
    }

    /** Numbers of the episodes of one task, ascending. */
    public int[] episodesOf(String taskId) {
        Integer number = taskNumbers.get(taskId);
        if (number == null) {
            throw unknownTask(taskId);
        }
        int count = 0;
        int[] found = new int[episodeCount()];
        for (int episode = 0; episode < found.length; episode++) {
            if (index.get(StoreLayout.INT, record(episode) + StoreLayout.RECORD_TASK) == number) {
                found[count++] = episode;
            }
        }
        return Arrays.copyOf(found, count);
    }

    /** Position in {@link #taskIds()} of the task of an episode. Allocates nothing. */
    public int taskNumber(int episode) {
        long record = record(episode);
        taskOf(episode, record);
        return index.get(StoreLayout.INT, record + StoreLayout.RECORD_TASK);
    }

    /** Number of rows of an episode, at least 1. Allocates nothing. */
    public int length(int episode) {
        long record = record(episode);
        int length = index.get(StoreLayout.INT, record + StoreLayout.RECORD_LENGTH);
        long first = index.get(StoreLayout.LONG, record + StoreLayout.RECORD_FIRST_ROW);
        long rows = taskOf(episode, record).rows;
        if (length < 1 || first < 0 || first > rows - length) {
            throw new CorruptStoreException(
                    "store " + folder + ": episode " + episode + " claims " + length + " rows from " + first,
                    "its task has " + rows,
                    "build the store again from its source");
        }
        return length;
    }

    /**
     * Copies rows {@code [start, start + length)} of a float column into {@code dst}, (length, width) row-major.
     *
     * @throws IllegalArgumentException if the episode's task has no such float column
     * @throws IndexOutOfBoundsException if the window leaves the episode or {@code dst}
     */
    public void readWindow(int episode, int start, int length, Column column, float[] dst, int dstOffset) {
        long width = floatWidth(episode, column);
        Objects.checkFromIndexSize(dstOffset, Math.multiplyExact(length, width), dst.length);
        MemorySegment content = content(episode, column);
        long first = firstRow(episode, start, length);
        MemorySegment.copy(
                content, StoreLayout.FLOAT, first * width * Float.BYTES, dst, dstOffset, (int) (length * width));
    }

    /**
     * Copies the raw little-endian bytes of rows {@code [start, start + length)} of any column to {@code dst}, starting
     * at byte {@code dstByteOffset}: 4 bytes an element, 1 for images.
     */
    public void readWindow(int episode, int start, int length, Column column, MemorySegment dst, long dstByteOffset) {
        long rowBytes = rowBytes(episode, column);
        long first = firstRow(episode, start, length);
        MemorySegment.copy(content(episode, column), first * rowBytes, dst, dstByteOffset, length * rowBytes);
    }

    /** Copies images of rows {@code [start, start + length)} into {@code dst}, (length, channels, height, width). */
    public void readImages(int episode, int start, int length, byte[] dst, int dstOffset) {
        long rowBytes = rowBytes(episode, Column.IMAGE);
        Objects.checkFromIndexSize(dstOffset, Math.multiplyExact(length, rowBytes), dst.length);
        long first = firstRow(episode, start, length);
        MemorySegment.copy(
                content(episode, Column.IMAGE), ValueLayout.JAVA_BYTE, first * rowBytes, dst, dstOffset, (int)
                        (length * rowBytes));
    }

    /** A read-only view on rows {@code [start, start + length)} of a column; no copy, valid until the store closes. */
    public MemorySegment window(int episode, int start, int length, Column column) {
        long rowBytes = rowBytes(episode, column);
        long first = firstRow(episode, start, length);
        return content(episode, column).asSlice(first * rowBytes, length * rowBytes);
    }

    /** Reads a whole episode into memory, all columns. */
    public Episode readEpisode(int episode) {
        EpisodeInfo line = episode(episode);
        TaskInfo task = taskInfo(line.taskId());
        Episode.Builder builder = Episode.builder(line.taskId(), line.length())
                .sourceEpisode(line.sourceEpisode())
                .instruction(task.instruction());
        for (Column column : task.columns()) {
            int elements = Math.multiplyExact(line.length(), task.width(column));
            if (column == Column.IMAGE) {
                byte[] pixels = new byte[elements];
                readImages(episode, 0, line.length(), pixels, 0);
                builder.image(pixels);
            } else {
                float[] values = new float[elements];
                readWindow(episode, 0, line.length(), column, values, 0);
                builder.column(column, values);
            }
        }
        return builder.build();
    }

    /**
     * Reads every byte and compares every checksum, then checks that the episodes of each task fill its rows without gap
     * or overlap.
     *
     * @throws CorruptStoreException naming the first file and block, or episode, that is wrong
     */
    public void verify() {
        CRC32C crc = new CRC32C();
        for (CheckedFile file : files) {
            for (int block = 0; block < file.blocks.length; block++) {
                long from = (long) block * StoreLayout.BLOCK_BYTES;
                long count = Math.min(StoreLayout.BLOCK_BYTES, file.content.byteSize() - from);
                crc.reset();
                crc.update(file.content.asSlice(from, count).asByteBuffer());
                if ((int) crc.getValue() != file.blocks[block]) {
                    throw new CorruptStoreException(
                            "store " + folder + ": " + file.name + " is damaged in bytes " + from + " to "
                                    + (from + count),
                            "the checksum of block " + block + " does not match",
                            "build the store again from its source");
                }
            }
        }
        long[] next = new long[tasks.size()];
        for (int episode = 0; episode < episodeCount(); episode++) {
            long first = index.get(StoreLayout.LONG, record(episode) + StoreLayout.RECORD_FIRST_ROW);
            int task = taskNumber(episode);
            require(
                    first == next[task],
                    folder,
                    "episode " + episode + " starts at row " + first,
                    "the episodes before it end at row " + next[task]);
            next[task] += length(episode);
        }
        for (int task = 0; task < next.length; task++) {
            require(
                    next[task] == tasks.get(task).rows,
                    folder,
                    "the episodes of task " + tasks.get(task).info.taskId() + " hold " + next[task] + " rows",
                    "its columns hold " + tasks.get(task).rows);
        }
    }

    /** Unmaps everything. Idempotent. */
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }

    private long record(int episode) {
        Objects.checkIndex(episode, manifest.episodes());
        return StoreLayout.INDEX_HEADER_BYTES + (long) episode * StoreLayout.RECORD_BYTES;
    }

    private TaskColumns taskOf(int episode, long record) {
        int number = index.get(StoreLayout.INT, record + StoreLayout.RECORD_TASK);
        if (number < 0 || number >= tasks.size()) {
            throw new CorruptStoreException(
                    "store " + folder + ": episode " + episode + " names task " + number,
                    "there are " + tasks.size(),
                    "build the store again from its source");
        }
        return tasks.get(number);
    }

    private long firstRow(int episode, int start, int length) {
        Objects.checkFromIndexSize(start, length, length(episode));
        return index.get(StoreLayout.LONG, record(episode) + StoreLayout.RECORD_FIRST_ROW) + start;
    }

    private MemorySegment content(int episode, Column column) {
        return taskOf(episode, record(episode)).contents[column.ordinal()];
    }

    private long rowBytes(int episode, Column column) {
        TaskColumns task = taskOf(episode, record(episode));
        long bytes = task.rowBytes[column.ordinal()];
        if (bytes == 0) {
            throw new IllegalArgumentException("task " + task.info.taskId() + " has no column " + column.key()
                    + "; it has " + task.info.columns());
        }
        return bytes;
    }

    private long floatWidth(int episode, Column column) {
        if (column.elementBytes() != Float.BYTES) {
            throw new IllegalArgumentException("column " + column.key() + " holds bytes: use readImages");
        }
        return rowBytes(episode, column) / Float.BYTES;
    }

    private TaskColumns task(String taskId) {
        Integer number = taskNumbers.get(taskId);
        if (number == null) {
            throw unknownTask(taskId);
        }
        return tasks.get(number);
    }

    private IllegalArgumentException unknownTask(String taskId) {
        return new IllegalArgumentException(
                "store " + folder + " has no task " + taskId + "; it has " + taskNumbers.keySet());
    }

    private final class EpisodeList extends AbstractList<EpisodeInfo> implements RandomAccess {
        @Override
        public EpisodeInfo get(int episode) {
            return episode(episode);
        }

        @Override
        public int size() {
            return episodeCount();
        }
    }
}
