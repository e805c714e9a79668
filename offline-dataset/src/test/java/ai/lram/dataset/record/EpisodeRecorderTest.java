package ai.lram.dataset.record;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.StoreWriteException;
import ai.lram.dataset.TestProcess;
import ai.lram.dataset.format.DatasetFormats;
import ai.lram.dataset.format.DatasetReader;
import ai.lram.dataset.format.ReaderOptions;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EpisodeRecorderTest {
    @TempDir
    Path folder;

    private EpisodeRecorder open() {
        return EpisodeRecorder.open(folder, RecordingProcess.SCHEMA, 100);
    }

    @Test
    void finishedEpisodesAreReadableWhileOthersRun() {
        try (EpisodeRecorder recorder = open()) {
            EpisodeRecorder.RunningEpisode running = recorder.begin("other");
            RecordingProcess.fill(running, 7);
            EpisodeRecorder.RunningEpisode finished = recorder.begin("task");
            RecordingProcess.fill(finished, 0);
            assertEquals(0, finished.finish());
            assertEquals(1, checkAll());
            assertThrows(IllegalStateException.class, finished::finish);
            EpisodeRecorder.RunningEpisode dropped = recorder.begin("task");
            RecordingProcess.fill(dropped, 1);
            dropped.abort();
            assertThrows(IllegalStateException.class, dropped::finish);
        }
        assertEquals(1, checkAll());
    }

    @Test
    void captureTimesAreKeptBesideTheNominalTimestamps() {
        try (EpisodeRecorder recorder = open()) {
            EpisodeRecorder.RunningEpisode episode = recorder.begin("task");
            for (long ns : new long[] {1_000, 11_500_000, 21_000_000}) {
                episode.append(new float[4], new float[2], 0, false, ns);
            }
            episode.finish();
        }
        ReaderOptions options = ReaderOptions.defaults().withObservations(List.of(EpisodeRecorder.CAPTURE_TIME));
        try (DatasetReader reader = DatasetFormats.open(folder, options)) {
            Episode episode = reader.next();
            assertArrayEquals(new float[] {0, 0.011499f, 0.020999f}, episode.column(Column.OBSERVATION), 1e-7f);
            assertArrayEquals(new float[] {0, 0.01f, 0.02f}, episode.column(Column.TIMESTAMP));
        }
    }

    @Test
    void wrongStepsAreRefusedAndTheEpisodeGoesOn() {
        try (EpisodeRecorder recorder = open()) {
            EpisodeRecorder.RunningEpisode episode = recorder.begin("task");
            assertThrows(MalformedDatasetException.class, episode::finish);
            episode.append(new float[4], new float[2], 1, false, 10);
            assertThrows(
                    MalformedDatasetException.class, () -> episode.append(new float[5], new float[2], 0, false, 11));
            assertThrows(
                    MalformedDatasetException.class, () -> episode.append(new float[4], new float[1], 0, false, 11));
            assertThrows(
                    MalformedDatasetException.class, () -> episode.append(new float[4], new float[2], 0, false, 10));
            assertThrows(
                    MalformedDatasetException.class,
                    () -> episode.append(new float[] {0, 0, Float.NaN, 0}, new float[2], 0, false, 11));
            assertThrows(
                    MalformedDatasetException.class,
                    () -> episode.append(new float[4], new float[2], Float.POSITIVE_INFINITY, false, 11));
            for (int i = 1; i < 100; i++) {
                episode.append(new float[4], new float[2], 1, false, 10 + i);
            }
            assertThrows(
                    MalformedDatasetException.class, () -> episode.append(new float[4], new float[2], 0, false, 999));
            assertEquals(100, episode.length());
            episode.finish();
        }
        try (DatasetReader reader = DatasetFormats.open(folder)) {
            assertEquals(100, reader.next().episodeReturn());
        }
    }

    @Test
    void aSecondRecorderOfTheSameFolderIsRefused() {
        try (EpisodeRecorder recorder = open()) {
            assertThrows(StoreWriteException.class, this::open);
            assertEquals(0, recorder.episodeCount());
        }
    }

    @Test
    void columnsARecorderCannotFillAreRefused() {
        assertThrows(
                IllegalArgumentException.class,
                () -> EpisodeRecorder.open(
                        folder, RecordingProcess.SCHEMA.with(FeatureSpec.vector("observation.force", 1)), 10));
        assertThrows(IllegalArgumentException.class, () -> EpisodeRecorder.open(folder, RecordingProcess.SCHEMA, 0));
    }

    @Test
    void aKilledProcessLosesNoAcknowledgedEpisode() throws IOException, InterruptedException {
        int known = 0;
        for (int round = 0; round < 3; round++) {
            int acknowledged =
                    TestProcess.killAfter(known + 3 + 3 * round, RecordingProcess.class, folder.toString()) + 1;
            known = checkAll();
            assertTrue(known >= acknowledged, known + " episodes on disk, " + acknowledged + " were acknowledged");
            try (EpisodeRecorder recorder = EpisodeRecorder.open(folder, RecordingProcess.SCHEMA, 1000)) {
                assertEquals(known, recorder.episodeCount());
            }
        }
        try (EpisodeRecorder recorder = EpisodeRecorder.open(folder, RecordingProcess.SCHEMA, 1000)) {
            EpisodeRecorder.RunningEpisode next = recorder.begin("task");
            RecordingProcess.fill(next, known);
            assertEquals(known, next.finish());
        }
        assertEquals(known + 1, checkAll());
    }

    /** Reads everything and checks every value against what the process is known to record. */
    private int checkAll() {
        int count = 0;
        try (DatasetReader reader = DatasetFormats.open(folder)) {
            for (Episode episode = reader.next(); episode != null; episode = reader.next()) {
                assertEquals(RecordingProcess.length(count), episode.length());
                for (int t = 0; t < episode.length(); t++) {
                    assertEquals(count * 1000f + t, episode.column(Column.OBSERVATION)[4 * t + 2]);
                    assertEquals(count, episode.column(Column.ACTION)[2 * t + 1]);
                    assertEquals(t, episode.column(Column.REWARD)[t]);
                }
                assertEquals(1, episode.column(Column.DONE)[episode.length() - 1]);
                count++;
            }
        }
        return count;
    }
}
