package ai.lram.dataset.store;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.StoreWriteException;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.io.DurableFiles;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.zip.CRC32C;

/**
 * Writes a trajectory store, episode by episode. Everything goes to a hidden folder beside the target; {@link #commit()}
 * syncs it and renames it into place, so a reader sees a whole store or none. Closing without a commit removes the
 * hidden folder; one left by a killed process is removed by the next writer for the same target.
 *
 * <p>Not thread-safe. After any {@link StoreWriteException} only {@link #close()} may follow.
 */
public final class TrajectoryStoreWriter implements AutoCloseable {
    private static final int MAX_OPEN_FILES = 256;
    /** Folders written by this process: probing their locks would release them (a rule of POSIX locks). */
    private static final Set<Path> IN_USE = ConcurrentHashMap.newKeySet();

    private final Path target;
    private final Path folder;
    private final FileChannel lockChannel;
    private final FileLock lock;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment scratch = arena.allocate(StoreLayout.BLOCK_BYTES, 64);
    private final ByteBuffer scratchBuffer = scratch.asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
    private final Map<String, TaskWriter> tasks = new LinkedHashMap<>();
    private final List<StoreSource> sources = new ArrayList<>();
    private final Map<String, String> provenance = new LinkedHashMap<>();
    private final LinkedHashMap<BlockFile, FileChannel> open = new LinkedHashMap<>(64, 0.75f, true);
    private final BlockFile index;
    private int episodes;
    private boolean failed;
    private boolean closed;

    private TrajectoryStoreWriter(Path target, Path folder, FileChannel lockChannel, FileLock lock) {
        this.target = target;
        this.folder = folder;
        this.lockChannel = lockChannel;
        this.lock = lock;
        this.index = new BlockFile(folder.resolve(StoreLayout.INDEX));
    }

    /**
     * Starts a store at {@code target}, which must not exist yet.
     *
     * @throws StoreWriteException if the target exists or its folder cannot be written
     */
    public static TrajectoryStoreWriter create(Path target) {
        Path absolute = target.toAbsolutePath().normalize();
        if (Files.exists(absolute, LinkOption.NOFOLLOW_LINKS)) {
            throw new StoreWriteException(
                    "store " + target + " was not created",
                    "something of that name exists already",
                    "choose another name or remove it first");
        }
        try {
            Path parent = absolute.getParent();
            DurableFiles.createFolders(parent);
            removeAbandoned(parent, prefix(absolute));
            Path folder = parent.resolve(prefix(absolute) + UUID.randomUUID());
            IN_USE.add(folder);
            Files.createDirectory(folder);
            FileChannel channel = FileChannel.open(
                    folder.resolve(StoreLayout.LOCK), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
            TrajectoryStoreWriter writer = new TrajectoryStoreWriter(absolute, folder, channel, channel.lock());
            writer.writeIndexHeader();
            return writer;
        } catch (IOException e) {
            throw failure(target, e);
        }
    }

    /** Adds a task; its columns are fixed from here on. Adding the identical task again does nothing. */
    public void addTask(TaskInfo task) {
        requireUsable();
        TaskWriter known = tasks.get(task.taskId());
        if (known != null && !known.info.equals(task)) {
            throw new MalformedDatasetException(
                    "task " + task.taskId() + " was added twice with different features",
                    "first " + known.info + ", then " + task,
                    "import the two sources under different task ids");
        }
        if (known == null) {
            tasks.put(task.taskId(), new TaskWriter(task, tasks.size()));
        }
    }

    /** Whether a task of this id was added. */
    public boolean hasTask(String taskId) {
        return tasks.containsKey(taskId);
    }

    /** Names the source of the episodes appended from now on. */
    public void addSource(StoreSource source) {
        requireUsable();
        sources.add(source);
    }

    /** Adds one entry of free-form provenance to the manifest. */
    public void putProvenance(String key, String value) {
        requireUsable();
        provenance.put(key, value);
    }

    /**
     * Appends one episode. Its returns-to-go are computed here; a column "return_to_go" of the episode is ignored.
     *
     * @return the episode's number in the store
     * @throws MalformedDatasetException if a column is missing, has another width than its task says, or holds NaN or an
     *     infinity; nothing of the episode is written
     * @throws StoreWriteException if the device refuses
     */
    public int append(Episode episode) {
        requireUsable();
        TaskWriter task = tasks.get(episode.taskId());
        if (task == null) {
            throw new IllegalArgumentException("task " + episode.taskId() + " was not added; known: " + tasks.keySet());
        }
        check(episode, task);
        if (episodes == Integer.MAX_VALUE) {
            throw new IllegalArgumentException("a store holds at most " + Integer.MAX_VALUE + " episodes");
        }
        failed = true;
        try {
            for (Map.Entry<Column, BlockFile> entry : task.files.entrySet()) {
                switch (entry.getKey()) {
                    case IMAGE -> writeBytes(entry.getValue(), episode.image());
                    case RETURN_TO_GO ->
                        writeFloats(entry.getValue(), Episode.returnsToGo(episode.column(Column.REWARD)));
                    default -> writeFloats(entry.getValue(), episode.column(entry.getKey()));
                }
            }
            scratchBuffer
                    .clear()
                    .putInt(task.number)
                    .putInt(episode.length())
                    .putLong(task.rows)
                    .putDouble(episode.episodeReturn())
                    .putLong(episode.sourceEpisode())
                    .putInt(sources.size() - 1)
                    .putInt(0);
            write(index, scratchBuffer.flip());
        } catch (IOException e) {
            throw failure(target, e);
        }
        failed = false;
        task.rows += episode.length();
        return episodes++;
    }

    /** Number of episodes appended so far. */
    public int episodeCount() {
        return episodes;
    }

    /**
     * Syncs everything and renames the store into place.
     *
     * @throws StoreWriteException if the device refuses or the target has appeared meanwhile; nothing is published then
     */
    public void commit() {
        requireUsable();
        failed = true;
        try {
            for (FileChannel channel : open.values()) {
                channel.close();
            }
            open.clear();
            List<BlockFile> files = new ArrayList<>();
            files.add(index);
            List<Manifest.Task> taskEntries = new ArrayList<>();
            for (TaskWriter task : tasks.values()) {
                files.addAll(task.files.values());
                taskEntries.add(Manifest.Task.of(task.finishedInfo(), task.rows));
            }
            for (BlockFile file : files) {
                if (!Files.exists(file.path)) {
                    Files.createFile(file.path);
                }
                DurableFiles.syncFile(file.path);
            }
            byte[] manifest = new Manifest(
                            StoreLayout.FORMAT, StoreLayout.VERSION, episodes, sources, provenance, taskEntries)
                    .toJson();
            DurableFiles.replace(folder.resolve(StoreLayout.MANIFEST), manifest);
            DurableFiles.replace(folder.resolve(StoreLayout.CHECKSUMS), checksums(manifest, files));
            DurableFiles.syncFolder(folder);
            if (Files.exists(target, LinkOption.NOFOLLOW_LINKS)) {
                throw new StoreWriteException(
                        "store " + target + " was not published",
                        "something of that name appeared while it was written",
                        "choose another name or remove it first");
            }
            Files.move(folder, target, StandardCopyOption.ATOMIC_MOVE);
            Files.delete(target.resolve(StoreLayout.LOCK));
            DurableFiles.syncFolder(target.getParent());
        } catch (AtomicMoveNotSupportedException e) {
            throw new StoreWriteException(
                    "store " + target + " was not published",
                    "the file system cannot rename a folder atomically",
                    "write the store to a local file system",
                    e);
        } catch (IOException e) {
            throw failure(target, e);
        }
        release();
    }

    /** Ends the writer; without a commit before, everything written is removed. Idempotent. */
    @Override
    public void close() {
        if (closed) {
            return;
        }
        release();
        try {
            DurableFiles.deleteTree(folder);
        } catch (IOException e) {
            throw new StoreWriteException(
                    "the unfinished store " + folder + " was not removed",
                    String.valueOf(e.getMessage()),
                    "remove it by hand",
                    e);
        }
    }

    private void release() {
        closed = true;
        try {
            for (FileChannel channel : open.values()) {
                channel.close();
            }
            open.clear();
            lock.close();
            lockChannel.close();
        } catch (IOException e) {
            throw failure(target, e);
        } finally {
            IN_USE.remove(folder);
            arena.close();
        }
    }

    private void requireUsable() {
        if (closed) {
            throw new IllegalStateException("the writer of " + target + " is closed");
        }
        if (failed) {
            throw new IllegalStateException("the writer of " + target + " has failed before; close it");
        }
    }

    private void check(Episode episode, TaskWriter task) {
        for (Column column : task.files.keySet()) {
            if (column == Column.RETURN_TO_GO) {
                continue;
            }
            if (!episode.has(column)) {
                throw malformed(episode, "has no column " + column.key(), "its task promises one");
            }
            int width =
                    column == Column.IMAGE ? episode.image().length / episode.length() : episode.width(column.key());
            if (width != task.info.width(column)) {
                throw malformed(
                        episode,
                        "column " + column.key() + " has " + width + " values a row",
                        "its task says " + task.info.width(column));
            }
            if (column != Column.IMAGE) {
                checkFinite(episode, column, width);
            }
        }
        if (task.info.isDiscrete()) {
            task.noteIds(episode);
        }
    }

    private static void checkFinite(Episode episode, Column column, int width) {
        float[] values = episode.column(column);
        for (int i = 0; i < values.length; i++) {
            if (!Float.isFinite(values[i])) {
                throw malformed(
                        episode,
                        "column " + column.key() + " holds " + values[i] + " at row " + i / width + ", element "
                                + i % width,
                        "training needs finite numbers");
            }
        }
    }

    private static MalformedDatasetException malformed(Episode episode, String what, String why) {
        return new MalformedDatasetException(
                "episode " + episode.sourceEpisode() + " of " + episode.taskId() + ": " + what,
                why,
                "repair or leave out this episode");
    }

    private void writeFloats(BlockFile file, float[] values) throws IOException {
        int capacity = StoreLayout.BLOCK_BYTES / Float.BYTES;
        for (int from = 0; from < values.length; from += capacity) {
            int count = Math.min(capacity, values.length - from);
            MemorySegment.copy(values, from, scratch, StoreLayout.FLOAT, 0, count);
            write(file, scratchBuffer.clear().limit(count * Float.BYTES));
        }
    }

    private void writeBytes(BlockFile file, byte[] values) throws IOException {
        for (int from = 0; from < values.length; from += StoreLayout.BLOCK_BYTES) {
            int count = Math.min(StoreLayout.BLOCK_BYTES, values.length - from);
            write(file, scratchBuffer.clear().put(values, from, count).flip());
        }
    }

    private void write(BlockFile file, ByteBuffer bytes) throws IOException {
        FileChannel channel = open.get(file);
        if (channel == null) {
            if (open.size() >= MAX_OPEN_FILES) {
                var eldest = open.pollFirstEntry();
                eldest.getValue().close();
            }
            channel = FileChannel.open(
                    file.path, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.APPEND);
            open.put(file, channel);
        }
        file.update(bytes.duplicate());
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    private void writeIndexHeader() throws IOException {
        scratchBuffer
                .clear()
                .putLong(StoreLayout.INDEX_MAGIC)
                .putInt(StoreLayout.VERSION)
                .putInt(StoreLayout.RECORD_BYTES)
                .putLong(0)
                .putLong(0);
        write(index, scratchBuffer.flip());
    }

    private static byte[] checksums(byte[] manifest, List<BlockFile> files) {
        long size = 28;
        for (BlockFile file : files) {
            size += 12 + 4L * file.blocks().length;
        }
        ByteBuffer out = ByteBuffer.allocate(Math.toIntExact(size)).order(ByteOrder.LITTLE_ENDIAN);
        CRC32C crc = new CRC32C();
        crc.update(manifest);
        out.putLong(StoreLayout.CHECKSUM_MAGIC)
                .putInt(StoreLayout.VERSION)
                .putInt(StoreLayout.BLOCK_BYTES)
                .putInt((int) crc.getValue())
                .putInt(files.size());
        for (BlockFile file : files) {
            int[] blocks = file.blocks();
            out.putLong(file.bytes).putInt(blocks.length);
            for (int block : blocks) {
                out.putInt(block);
            }
        }
        crc.reset();
        crc.update(out.array(), 0, out.position());
        out.putInt((int) crc.getValue());
        return out.array();
    }

    private static String prefix(Path target) {
        return "." + target.getFileName() + ".writing-";
    }

    private static void removeAbandoned(Path parent, String prefix) throws IOException {
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(
                parent, entry -> entry.getFileName().toString().startsWith(prefix))) {
            for (Path entry : entries) {
                if (!IN_USE.contains(entry) && isAbandoned(entry.resolve(StoreLayout.LOCK))) {
                    DurableFiles.deleteTree(entry);
                }
            }
        }
    }

    private static boolean isAbandoned(Path lockFile) throws IOException {
        if (!Files.exists(lockFile)) {
            return false;
        }
        try (FileChannel channel = FileChannel.open(lockFile, StandardOpenOption.WRITE);
                FileLock probe = channel.tryLock()) {
            return probe != null;
        }
    }

    private static StoreWriteException failure(Path target, IOException e) {
        return new StoreWriteException(
                "store " + target + " was not written",
                e.getClass().getSimpleName() + ": " + e.getMessage(),
                "check free space and permissions, then run the import again; nothing was published",
                e);
    }

    private final class TaskWriter {
        private final TaskInfo info;
        private final int number;
        private final Map<Column, BlockFile> files = new EnumMap<>(Column.class);
        private long rows;
        private int highestId = -1;

        TaskWriter(TaskInfo info, int number) {
            this.info = info;
            this.number = number;
            for (Column column : info.columns()) {
                files.put(column, new BlockFile(folder.resolve(StoreLayout.columnFile(number, column))));
            }
        }

        void noteIds(Episode episode) {
            int highest = highestId;
            for (float id : episode.column(Column.ACTION)) {
                if (id < 0
                        || id != Math.rint(id)
                        || id >= 1 << 24
                        || info.discreteActions() > 0 && id >= info.discreteActions()) {
                    throw malformed(
                            episode,
                            "discrete action " + id,
                            "ids are whole numbers from 0"
                                    + (info.discreteActions() > 0 ? " to " + (info.discreteActions() - 1) : ""));
                }
                highest = Math.max(highest, (int) id);
            }
            highestId = highest;
        }

        TaskInfo finishedInfo() {
            return info.isDiscrete() && info.discreteActions() == 0 ? info.withDiscreteActions(highestId + 1) : info;
        }
    }

    /** One append-only file with the checksum of each of its blocks. */
    private static final class BlockFile {
        private final Path path;
        private final CRC32C current = new CRC32C();
        private int[] finished = new int[4];
        private int finishedCount;
        private long bytes;

        BlockFile(Path path) {
            this.path = path;
        }

        void update(ByteBuffer data) {
            while (data.hasRemaining()) {
                int room = StoreLayout.BLOCK_BYTES - (int) (bytes % StoreLayout.BLOCK_BYTES);
                int count = Math.min(room, data.remaining());
                current.update(data.slice(data.position(), count));
                data.position(data.position() + count);
                bytes += count;
                if (count == room) {
                    if (finishedCount == finished.length) {
                        finished = Arrays.copyOf(finished, finishedCount * 2);
                    }
                    finished[finishedCount++] = (int) current.getValue();
                    current.reset();
                }
            }
        }

        int[] blocks() {
            boolean partial = bytes % StoreLayout.BLOCK_BYTES != 0;
            int[] all = Arrays.copyOf(finished, finishedCount + (partial ? 1 : 0));
            if (partial) {
                all[finishedCount] = (int) current.getValue();
            }
            return all;
        }
    }
}
