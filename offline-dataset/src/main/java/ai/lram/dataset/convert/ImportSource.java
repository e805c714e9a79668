package ai.lram.dataset.convert;

import ai.lram.dataset.format.ReaderOptions;
import java.nio.file.Path;
import java.util.Objects;

/** One data set to import: where it is and what to take from it. */
public record ImportSource(Path path, ReaderOptions options) {
    public ImportSource {
        Objects.requireNonNull(path, "path");
        Objects.requireNonNull(options, "options");
    }

    /** A source read with the format's defaults, its episodes put under one task of one domain. */
    public static ImportSource of(Path path, String taskId, String domain) {
        return new ImportSource(path, ReaderOptions.defaults().withTask(taskId, domain));
    }
}
