package ai.lram.backend.cuda;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Compiled kernels on disk, one file each: magic, SHA-256 of the image, its length, the image. A file appears whole or not at all (written
 * beside, forced, renamed), so that processes may share the folder; a file that does not check is thrown away and compiled again. The least
 * recently used files go when the folder outgrows its bound. A cache that cannot be written costs time at the next start, nothing else: it
 * is logged once and left alone.
 */
final class CubinCache {
    /** A folder, or {@code off}. */
    static final String FOLDER_PROPERTY = "lram.cuda.cache";

    static final long DEFAULT_BYTES = 256L << 20;

    private static final Logger LOG = LoggerFactory.getLogger(CubinCache.class);
    private static final byte[] MAGIC = "LRAMCUB1".getBytes(StandardCharsets.US_ASCII);
    private static final int HASH = 32;
    private static final int HEADER = MAGIC.length + HASH + Long.BYTES;
    private static final long LARGEST = 64L << 20;
    private static final String SUFFIX = ".cubin";
    private static final String UNFINISHED = ".tmp";

    /** Age from which another process's unfinished file is taken for abandoned. */
    private static final long ABANDONED_MS = TimeUnit.HOURS.toMillis(1);

    private final Path folder;
    private final long bound;
    private boolean complained;

    /** @param folder null keeps nothing */
    CubinCache(Path folder, long bound) {
        this.folder = folder;
        this.bound = bound;
    }

    /** As the property says, else under the user's cache folder. */
    static CubinCache standard(String property, String xdgCacheHome, String userHome) {
        if ("off".equals(property)) {
            return new CubinCache(null, 0);
        }
        if (property != null) {
            return new CubinCache(Path.of(property), DEFAULT_BYTES);
        }
        if (xdgCacheHome != null && !xdgCacheHome.isEmpty()) {
            return new CubinCache(Path.of(xdgCacheHome, "lram", "cubin"), DEFAULT_BYTES);
        }
        return new CubinCache(
                userHome == null || userHome.isEmpty() || userHome.equals("?")
                        ? null
                        : Path.of(userHome, ".cache", "lram", "cubin"),
                DEFAULT_BYTES);
    }

    Optional<Path> folder() {
        return Optional.ofNullable(folder);
    }

    Optional<byte[]> load(String key) {
        if (folder == null) {
            return Optional.empty();
        }
        Path file = folder.resolve(key + SUFFIX);
        try {
            long size = Files.size(file);
            if (size < HEADER || size > LARGEST + HEADER) {
                return discard(file, "it holds " + size + " bytes");
            }
            byte[] all = Files.readAllBytes(file);
            ByteBuffer b = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN);
            if (all.length < HEADER
                    || !Arrays.equals(all, 0, MAGIC.length, MAGIC, 0, MAGIC.length)
                    || b.getLong(MAGIC.length + HASH) != all.length - HEADER) {
                return discard(file, "its header does not fit its length");
            }
            byte[] image = Arrays.copyOfRange(all, HEADER, all.length);
            byte[] hash = KernelCompiler.sha256().digest(image);
            if (!Arrays.equals(hash, 0, HASH, all, MAGIC.length, MAGIC.length + HASH)) {
                return discard(file, "its checksum is wrong");
            }
            Files.setLastModifiedTime(file, FileTime.fromMillis(System.currentTimeMillis()));
            return Optional.of(image);
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (IOException e) {
            complain("read", e);
            return Optional.empty();
        }
    }

    private Optional<byte[]> discard(Path file, String why) throws IOException {
        LOG.warn("the cached kernel {} is damaged ({}): it is compiled again", file, why);
        Files.deleteIfExists(file);
        return Optional.empty();
    }

    void store(String key, byte[] image) {
        if (folder == null || image.length > LARGEST) {
            return;
        }
        try {
            create();
            Path file = folder.resolve(key + SUFFIX);
            Path beside = Files.createTempFile(folder, "." + key.substring(0, Math.min(16, key.length())), UNFINISHED);
            try {
                write(beside, image);
                Files.move(beside, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            } finally {
                Files.deleteIfExists(beside);
            }
            tidy();
        } catch (IOException e) {
            complain("write", e);
        }
    }

    /** Private to the user: what lies here is executed on the device. */
    private void create() throws IOException {
        if (Files.isDirectory(folder)) {
            return;
        }
        if (folder.getFileSystem().supportedFileAttributeViews().contains("posix")) {
            Files.createDirectories(
                    folder, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
        } else {
            Files.createDirectories(folder);
        }
    }

    private static void write(Path file, byte[] image) throws IOException {
        ByteBuffer b = ByteBuffer.allocate(HEADER + image.length).order(ByteOrder.LITTLE_ENDIAN);
        b.put(MAGIC)
                .put(KernelCompiler.sha256().digest(image))
                .putLong(image.length)
                .put(image)
                .flip();
        try (FileChannel out = FileChannel.open(file, StandardOpenOption.WRITE)) {
            while (b.hasRemaining()) {
                out.write(b);
            }
            out.force(true);
        }
    }

    private record Entry(Path file, long bytes, long usedMs) {}

    /** Removes the least recently used files beyond the bound, and what crashed processes left. */
    private void tidy() throws IOException {
        List<Entry> entries = new ArrayList<>();
        long total = 0;
        long now = System.currentTimeMillis();
        try (Stream<Path> files = Files.list(folder)) {
            for (Path f : files.toList()) {
                Entry e;
                try {
                    e = new Entry(f, Files.size(f), Files.getLastModifiedTime(f).toMillis());
                } catch (NoSuchFileException gone) {
                    continue; // another process tidied up meanwhile
                }
                if (f.toString().endsWith(SUFFIX)) {
                    entries.add(e);
                    total += e.bytes;
                } else if (f.toString().endsWith(UNFINISHED) && now - e.usedMs > ABANDONED_MS) {
                    Files.deleteIfExists(f);
                }
            }
        }
        entries.sort(Comparator.comparingLong(Entry::usedMs));
        for (Entry e : entries) {
            if (total <= bound) {
                break;
            }
            Files.deleteIfExists(e.file);
            total -= e.bytes;
        }
    }

    private void complain(String what, IOException e) {
        if (!complained) {
            complained = true;
            String why = e instanceof FileSystemException f && f.getReason() != null ? f.getReason() : e.toString();
            LOG.warn(
                    "cannot {} compiled kernels in {} ({}): they are compiled at every start; name another folder with -D{}",
                    what,
                    folder,
                    why,
                    FOLDER_PROPERTY);
        }
    }
}
