package ai.lram.dataset.convert;

import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.ProgressListener;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.format.DatasetFormats;
import ai.lram.dataset.format.DatasetReader;
import ai.lram.dataset.format.ReaderOptions;
import ai.lram.dataset.store.StoreSource;
import ai.lram.dataset.store.TrajectoryStoreWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** Builds a store from data sets of any readable format. The store appears whole or not at all. */
public final class ImportJob {
    private ImportJob() {}

    /** Imports one data set with its format's defaults. */
    public static ImportReport importDataset(
            Path source, Path store, ImportOptions options, ProgressListener listener) {
        return importDatasets(List.of(new ImportSource(source, ReaderOptions.defaults())), store, options, listener);
    }

    /**
     * Imports several data sets into one store, in this order. Sources that name the same task must agree on its
     * features.
     *
     * @param listener hears rows done of all sources together; what it throws ends the import, and nothing is published
     * @throws ai.lram.dataset.DatasetException if a source cannot be read or the store not be written
     */
    public static ImportReport importDatasets(
            List<ImportSource> sources, Path store, ImportOptions options, ProgressListener listener) {
        if (sources.isEmpty()) {
            throw new IllegalArgumentException("name at least one data set to import");
        }
        List<String> warnings = new ArrayList<>();
        List<DatasetReader> readers = new ArrayList<>();
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(store)) {
            long total = 0;
            for (ImportSource source : sources) {
                DatasetReader reader = DatasetFormats.open(source.path(), source.options());
                readers.add(reader);
                total = total < 0 || reader.rowCount() < 0 ? -1 : total + reader.rowCount();
            }
            options.provenance().forEach(writer::putProvenance);
            Set<String> tasks = new LinkedHashSet<>();
            long done = 0;
            listener.onProgress(0, total);
            for (int i = 0; i < readers.size(); i++) {
                DatasetReader reader = readers.get(i);
                for (TaskInfo task : reader.tasks()) {
                    writer.addTask(options.changes() ? ObservedChanges.of(task) : task);
                    tasks.add(task.taskId());
                }
                writer.addSource(describe(sources.get(i).path(), reader, options));
                for (Episode episode = reader.next(); episode != null; episode = reader.next()) {
                    writer.append(options.changes() ? ObservedChanges.of(episode) : episode);
                    done += episode.length();
                    listener.onProgress(done, total);
                }
                for (String warning : reader.warnings()) {
                    warnings.add(sources.get(i).path() + ": " + warning);
                }
            }
            int episodes = writer.episodeCount();
            writer.commit();
            return new ImportReport(episodes, done, List.copyOf(tasks), warnings);
        } finally {
            readers.forEach(DatasetReader::close);
        }
    }

    private static StoreSource describe(Path path, DatasetReader reader, ImportOptions options) {
        try {
            return new StoreSource(path.toString(), reader.format(), options.hashSources() ? SourceHash.of(path) : "");
        } catch (IOException | UncheckedIOException e) {
            throw new DatasetReadException(
                    "data set " + path + " was not imported",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "check permissions and the device",
                    e);
        }
    }
}
