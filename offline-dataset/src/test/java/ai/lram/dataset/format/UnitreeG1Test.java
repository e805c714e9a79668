package ai.lram.dataset.format;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.ProgressListener;
import ai.lram.dataset.RealData;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.convert.ExportJob;
import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.convert.ImportReport;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The recorded Unitree G1 set, read, imported, exported and read again. */
class UnitreeG1Test {
    @TempDir
    Path folder;

    @Test
    void holdsTheKnownRowsAndSums() {
        try (DatasetReader reader = DatasetFormats.open(RealData.require("unitree-g1-bottle"))) {
            assertEquals("LeRobot v2.1", reader.format());
            assertEquals(100, reader.episodeCount());
            assertEquals(35_965, reader.rowCount());
            TaskInfo task = reader.tasks().getFirst();
            assertEquals(26, task.observationWidth());
            assertEquals(26, task.actionWidth());
            assertEquals(30, task.rateHz());
            assertEquals(
                    "kLeftShoulderPitch",
                    task.observation().orElseThrow().names().getFirst());
            assertEquals("Pick up the yellow bottle on the table.", task.instruction());
            assertFalse(task.hasRewards() || task.isDiscrete() || task.hasImages());
            Episode first = reader.next();
            assertEquals(479, first.length());
            double sum = 0;
            for (float value : first.column(Column.ACTION)) {
                sum += value;
            }
            assertEquals(3970.5976755816373, sum);
            long rows = first.length();
            int longest = first.length();
            for (Episode next = reader.next(); next != null; next = reader.next()) {
                rows += next.length();
                longest = Math.max(longest, next.length());
            }
            assertEquals(35_965, rows);
            assertEquals(19.4, longest / 30.0, 0.05);
            assertEquals(1, reader.warnings().size());
            assertTrue(
                    reader.warnings().getFirst().contains("observation.images.cam_high")
                            && reader.warnings().getFirst().contains("100 of 100"),
                    reader.warnings().toString());
        }
    }

    @Test
    void survivesStoreAndLeRobotV3Unchanged() {
        Path source = RealData.require("unitree-g1-bottle");
        long[] progress = new long[2];
        ImportReport report =
                ImportJob.importDataset(source, folder.resolve("store"), ImportOptions.defaults(), (done, total) -> {
                    assertTrue(done >= progress[0]);
                    progress[0] = done;
                    progress[1] = total;
                });
        assertEquals(35_965, report.rows());
        assertArrayEquals(new long[] {35_965, 35_965}, progress);
        assertEquals(1, report.warnings().size());
        String task = report.taskIds().getFirst();
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("store"))) {
            store.verify();
            assertEquals(64, store.sources().getFirst().sha256().length());
            assertEquals(100, ExportJob.toLeRobot(store, task, folder.resolve("v3"), ProgressListener.NONE));
        }
        try (DatasetReader original = DatasetFormats.open(source);
                DatasetReader copy = DatasetFormats.open(folder.resolve("v3"))) {
            assertEquals("LeRobot v3.0", copy.format());
            assertEquals(original.rowCount(), copy.rowCount());
            assertEquals(
                    original.tasks().getFirst().action(),
                    copy.tasks().getFirst().action());
            for (Episode expected = original.next(); expected != null; expected = original.next()) {
                Episode actual = copy.next();
                assertEquals(expected.sourceEpisode(), actual.sourceEpisode());
                assertEquals(expected.instruction(), actual.instruction());
                assertArrayEquals(expected.column(Column.OBSERVATION), actual.column(Column.OBSERVATION));
                assertArrayEquals(expected.column(Column.ACTION), actual.column(Column.ACTION));
                assertArrayEquals(expected.column(Column.TIMESTAMP), actual.column(Column.TIMESTAMP), 1e-5f);
            }
        }
    }
}
