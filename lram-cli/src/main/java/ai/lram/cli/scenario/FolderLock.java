package ai.lram.cli.scenario;

import ai.lram.cli.config.InputException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Keeps two runs out of one folder. The system drops the lock of a process that dies. */
final class FolderLock {
    private static final Logger LOG = LoggerFactory.getLogger(FolderLock.class);
    private static final String FILE = ".lock";

    private final Path file;
    private final FileChannel channel;

    private FolderLock(Path file, FileChannel channel) {
        this.file = file;
        this.channel = channel;
    }

    /** @throws InputException if another run holds the folder, or it cannot be written */
    static FolderLock take(Path folder) {
        Path file = folder.resolve(FILE);
        FileChannel channel = null;
        boolean held = false;
        try {
            channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            FileLock lock = channel.tryLock();
            held = lock != null;
        } catch (OverlappingFileLockException e) {
            LOG.debug("{} is locked by this process", file, e);
        } catch (IOException e) {
            throw new InputException("cannot lock " + file, e.toString(), "choose a writable folder", e);
        }
        FolderLock taken = new FolderLock(file, channel);
        if (!held) {
            taken.release();
            throw new InputException(
                    "cannot train in " + folder, "another run does", "wait for it, or choose another --out");
        }
        return taken;
    }

    void release() {
        try {
            channel.close();
        } catch (IOException e) {
            LOG.warn("cannot release {}: {}", file, e.toString());
        }
    }
}
