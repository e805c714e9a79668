package ai.lram.bench.report;

import ai.lram.dataset.io.DurableFiles;
import java.io.IOException;
import java.nio.file.Path;

/** Publishes finished reports. */
final class ReportFiles {
    private ReportFiles() {}

    static void write(Path target, byte[] content) {
        Path file = target.toAbsolutePath().normalize();
        try {
            DurableFiles.createFolders(file.getParent());
            DurableFiles.replace(file, content);
        } catch (IOException e) {
            throw new ReportException(
                    "cannot write " + target, e.toString(), "choose a writable place on a disk with room", e);
        }
    }
}
