package ai.lram.dataset.convert;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.Column;
import ai.lram.dataset.DatasetException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.ProgressListener;
import ai.lram.dataset.StoreWriteException;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.TestEpisodes;
import ai.lram.dataset.format.DatasetFormats;
import ai.lram.dataset.format.DatasetReader;
import ai.lram.dataset.format.LeRobotSchema;
import ai.lram.dataset.format.LeRobotWriter;
import ai.lram.dataset.store.TrajectoryStore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ConvertTest {
    @TempDir
    Path folder;

    private Path source(int number) {
        Path root = folder.resolve("source" + number);
        TaskInfo task = TestEpisodes.task("t" + number, 2 + number, 1 + number % 2);
        try (LeRobotWriter writer = LeRobotWriter.open(root, LeRobotSchema.of(task))) {
            for (int i = 0; i < 3 + number; i++) {
                writer.append(TestEpisodes.episode(task, 10 + i, 100L * number + i));
            }
        }
        return root;
    }

    @Test
    void severalSourcesOfDifferentWidthsShareOneStore() {
        List<ImportSource> sources = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            sources.add(ImportSource.of(source(i), "env/task" + i, "env"));
        }
        ImportOptions options = new ImportOptions(Map.of("command", "test"), true, false);
        ImportReport report =
                ImportJob.importDatasets(sources, folder.resolve("store"), options, ProgressListener.NONE);
        assertEquals(33, report.episodes());
        assertEquals(List.of(), report.warnings());
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("store"))) {
            store.verify();
            assertEquals(6, store.taskIds().size());
            assertEquals(6, store.sources().size());
            assertEquals("test", store.provenance().get("command"));
            for (int i = 0; i < 6; i++) {
                TaskInfo task = store.taskInfo("env/task" + i);
                assertEquals("env", task.domain());
                assertEquals(2 + i, task.observationWidth());
                assertEquals(50, task.rateHz());
                assertTrue(task.hasRewards());
                int second = store.episodesOf("env/task" + i)[1];
                assertEquals(i, store.episode(second).source());
                Episode expected = TestEpisodes.episode(TestEpisodes.task("t", 2 + i, 1 + i % 2), 11, 100L * i + 1);
                assertArrayEquals(
                        expected.column(Column.ACTION),
                        store.readEpisode(second).column(Column.ACTION));
                assertEquals(expected.episodeReturn(), store.episode(second).episodeReturn());
            }
        }
    }

    @Test
    void observationsAreFollowedByTheirChanges() {
        ImportJob.importDatasets(
                List.of(ImportSource.of(source(1), "moving", "d")),
                folder.resolve("store"),
                ImportOptions.defaults().withChanges(),
                ProgressListener.NONE);
        Episode plain = TestEpisodes.episode(TestEpisodes.task("t", 3, 2), 11, 101);
        float[] x = plain.column(Column.OBSERVATION);
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("store"))) {
            store.verify();
            TaskInfo task = store.taskInfo("moving");
            assertEquals(6, task.observationWidth());
            List<String> names = task.observation().orElseThrow().names();
            assertEquals(names.subList(0, 3).stream().map(n -> n + ".change").toList(), names.subList(3, 6));
            Episode e = store.readEpisode(1);
            float[] got = e.column(Column.OBSERVATION);
            for (int row = 0; row < 11; row++) {
                for (int i = 0; i < 3; i++) {
                    assertEquals(x[3 * row + i], got[6 * row + i]);
                    float change = row == 0 ? 0 : x[3 * row + i] - x[3 * row - 3 + i];
                    assertEquals(change, got[6 * row + 3 + i], "change of " + i + " in row " + row);
                }
            }
            assertArrayEquals(plain.column(Column.ACTION), e.column(Column.ACTION));
            assertEquals(plain.episodeReturn(), e.episodeReturn());
        }
    }

    @Test
    void sourcesOfOneTaskMustAgree() throws IOException {
        List<ImportSource> sources =
                List.of(ImportSource.of(source(0), "same", "d"), ImportSource.of(source(2), "same", "d"));
        assertThrows(
                MalformedDatasetException.class,
                () -> ImportJob.importDatasets(
                        sources, folder.resolve("store"), ImportOptions.defaults(), ProgressListener.NONE));
        assertNothingBut("source0", "source2");
    }

    @Test
    void aBrokenSourceOrListenerLeavesNoStore() throws IOException {
        Path root = source(0);
        Path file = root.resolve("data/chunk-000/file-000.parquet");
        byte[] original = Files.readAllBytes(file);
        Files.write(file, Arrays.copyOf(original, original.length / 2));
        assertThrows(
                DatasetException.class,
                () -> ImportJob.importDataset(
                        root, folder.resolve("store"), ImportOptions.defaults(), ProgressListener.NONE));
        assertNothingBut("source0");
        Files.write(file, original);
        IllegalStateException stop = new IllegalStateException("stop");
        ProgressListener stopping = (done, total) -> {
            if (done > 15) {
                throw stop;
            }
        };
        assertEquals(
                stop,
                assertThrows(
                        IllegalStateException.class,
                        () -> ImportJob.importDataset(
                                root, folder.resolve("store"), ImportOptions.defaults(), stopping)));
        assertNothingBut("source0");
    }

    @Test
    void sourceHashesChangeWithTheContent() {
        Path root = source(1);
        assertEquals(hash(root, "a"), hash(root, "b"));
        TaskInfo task = TestEpisodes.task("t1", 3, 2);
        try (LeRobotWriter writer = LeRobotWriter.open(root, LeRobotSchema.of(task))) {
            writer.append(TestEpisodes.episode(task, 5, 1));
        }
        assertTrue(!hash(root, "a2").equals(hash(source(0), "c")));
        assertTrue(!hash(root, "a3").isEmpty());
    }

    private String hash(Path root, String name) {
        ImportJob.importDataset(root, folder.resolve(name), ImportOptions.defaults(), ProgressListener.NONE);
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve(name))) {
            return store.sources().getFirst().sha256();
        }
    }

    @Test
    void exportsAreWholeOrAbsent() throws IOException {
        ImportJob.importDatasets(
                List.of(ImportSource.of(source(0), "t", "d")),
                folder.resolve("store"),
                ImportOptions.defaults(),
                ProgressListener.NONE);
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("store"))) {
            IllegalStateException stop = new IllegalStateException("stop");
            assertThrows(
                    IllegalStateException.class,
                    () -> ExportJob.toLeRobot(store, "t", folder.resolve("out"), (done, total) -> {
                        throw stop;
                    }));
            assertNothingBut("source0", "store");
            assertEquals(3, ExportJob.toLeRobot(store, "t", folder.resolve("out"), ProgressListener.NONE));
            assertThrows(
                    StoreWriteException.class,
                    () -> ExportJob.toLeRobot(store, "t", folder.resolve("out"), ProgressListener.NONE));
            assertThrows(
                    IllegalArgumentException.class,
                    () -> ExportJob.toLeRobot(store, "none", folder.resolve("other"), ProgressListener.NONE));
        }
        try (DatasetReader reader = DatasetFormats.open(folder.resolve("out"))) {
            assertEquals(33, reader.rowCount());
        }
    }

    private void assertNothingBut(String... names) throws IOException {
        try (Stream<Path> left = Files.list(folder)) {
            assertEquals(
                    List.of(names),
                    left.map(path -> path.getFileName().toString()).sorted().toList());
        }
    }
}
