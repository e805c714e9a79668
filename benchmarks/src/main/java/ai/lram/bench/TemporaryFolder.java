package ai.lram.bench;

import ai.lram.dataset.io.DurableFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** A folder for what a benchmark makes, deleted with all it holds when closed, or when the program is ended before. */
public final class TemporaryFolder implements AutoCloseable {
    private static final String PREFIX = "lram-bench";

    private final Path path;
    private final Thread atExit;

    private TemporaryFolder(Path path) {
        this.path = path;
        atExit = Thread.ofPlatform().name("lram-bench-remove").unstarted(this::delete);
        Runtime.getRuntime().addShutdownHook(atExit);
    }

    /**
     * A new one where the system has its temporary files.
     *
     * @param what it is for, e.g. {@code the data benchmark}
     * @throws BenchException if there can be none
     */
    public static TemporaryFolder create(String what) {
        return createIn(parent(), what);
    }

    /** The same in a folder that is there. */
    public static TemporaryFolder createIn(Path parent, String what) {
        try {
            return new TemporaryFolder(Files.createTempDirectory(parent, PREFIX));
        } catch (IOException e) {
            throw noFolder(what, e);
        }
    }

    /** Where the system has its temporary files. */
    public static Path parent() {
        return Path.of(System.getProperty("java.io.tmpdir"));
    }

    /**
     * Refuses what will not fit before anything is written.
     *
     * @param what would be written
     * @throws BenchException naming what is needed and what is free
     */
    public static void requireSpace(String what, long bytes) {
        Path parent = parent();
        long free;
        try {
            free = Files.getFileStore(parent).getUsableSpace();
        } catch (IOException e) {
            throw noFolder(what, e);
        }
        if (free < bytes) {
            throw new BenchException(
                    what + " does not fit into " + parent,
                    "it needs " + Memory.text(bytes) + " and " + Memory.text(free) + " are free",
                    "set -Djava.io.tmpdir to a folder with room");
        }
    }

    private static BenchException noFolder(String what, IOException e) {
        return new BenchException(
                "no folder for " + what, e.toString(), "set -Djava.io.tmpdir to a folder you may write to", e);
    }

    public Path path() {
        return path;
    }

    /** @throws BenchException if something is left; in a try statement what was thrown within comes first */
    @Override
    public void close() {
        delete();
        try {
            Runtime.getRuntime().removeShutdownHook(atExit);
        } catch (IllegalStateException ending) {
            // The hook runs as well, and finds nothing.
        }
    }

    private void delete() {
        try {
            DurableFiles.deleteTree(path);
        } catch (IOException e) {
            throw new BenchException("cannot remove " + path, e.toString(), "remove it by hand", e);
        }
    }
}
