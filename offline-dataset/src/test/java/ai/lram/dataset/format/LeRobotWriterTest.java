package ai.lram.dataset.format;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.StoreWriteException;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.TestEpisodes;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LeRobotWriterTest {
    private static final TaskInfo TASK = TestEpisodes.task("arm", 5, 2);
    private static final LeRobotSchema SCHEMA = LeRobotSchema.of(TASK);

    @TempDir
    Path folder;

    @Test
    void metaFilesHoldTotalsFeaturesAndStatistics() throws IOException {
        try (LeRobotWriter writer = LeRobotWriter.open(folder, SCHEMA)) {
            writer.append(episode(new float[] {1, 2}, new float[] {10, 20}));
            writer.flush();
            writer.append(episode(new float[] {3, 6}, new float[] {30, 40}));
        }
        JsonNode info = LeRobotInfo.json(folder.resolve("meta/info.json"));
        assertEquals("v3.0", info.path("codebase_version").asText());
        assertEquals(2, info.path("total_episodes").asInt());
        assertEquals(4, info.path("total_frames").asInt());
        assertEquals(1, info.path("total_tasks").asInt());
        assertEquals("0:2", info.path("splits").path("train").asText());
        assertTrue(info.path("video_path").isNull());
        for (String name : List.of(
                "observation.state",
                "action",
                "next.reward",
                "timestamp",
                "frame_index",
                "episode_index",
                "index",
                "task_index")) {
            assertTrue(info.path("features").has(name), name);
        }
        JsonNode reward = LeRobotInfo.json(folder.resolve("meta/stats.json")).path("next.reward");
        assertEquals(1, reward.path("min").path(0).asDouble());
        assertEquals(6, reward.path("max").path(0).asDouble());
        assertEquals(3, reward.path("mean").path(0).asDouble());
        assertEquals(Math.sqrt(3.5), reward.path("std").path(0).asDouble(), 1e-12);
        assertEquals(4, reward.path("count").path(0).asInt());
        try (ParquetColumns table = ParquetColumns.open(folder.resolve("meta/episodes/chunk-000/file-001.parquet"))) {
            assertTrue(table.names()
                    .containsAll(List.of(
                            "episode_index",
                            "tasks",
                            "length",
                            "data/chunk_index",
                            "data/file_index",
                            "dataset_from_index",
                            "dataset_to_index",
                            "stats/observation.state/q99",
                            "meta/episodes/file_index")));
            ParquetColumns.Group row = table.all(List.of(
                    new ParquetColumns.Want("dataset_from_index", ParquetColumns.As.LONGS, 1),
                    new ParquetColumns.Want("stats/next.reward/q50", ParquetColumns.As.DOUBLE_LISTS, 0)));
            assertEquals(2, row.longs("dataset_from_index")[0]);
            assertArrayEquals(new double[] {4.5}, row.doubleLists("stats/next.reward/q50")[0]);
        }
    }

    @Test
    void goesOnWhereAnotherWriterStopped() throws IOException {
        try (LeRobotWriter once = LeRobotWriter.open(folder.resolve("once"), SCHEMA)) {
            for (int i = 0; i < 4; i++) {
                once.append(TestEpisodes.episode(TASK, 5 + i, i));
            }
        }
        for (int i = 0; i < 4; i++) {
            try (LeRobotWriter again = LeRobotWriter.open(folder.resolve("again"), SCHEMA)) {
                assertEquals(i, again.append(TestEpisodes.episode(TASK, 5 + i, i)));
            }
        }
        assertEquals(4, count(folder.resolve("again")));
        JsonNode one = LeRobotInfo.json(folder.resolve("once/meta/stats.json")).path("observation.state");
        JsonNode two = LeRobotInfo.json(folder.resolve("again/meta/stats.json")).path("observation.state");
        for (String name : List.of("mean", "std", "min", "max", "q50")) {
            for (int i = 0; i < 5; i++) {
                assertEquals(
                        one.path(name).path(i).asDouble(),
                        two.path(name).path(i).asDouble(),
                        1e-9,
                        name);
            }
        }
    }

    @Test
    void unflushedEpisodesAreInvisibleAndLeavingsAreRemoved() throws IOException {
        try (LeRobotWriter writer = LeRobotWriter.open(folder, SCHEMA)) {
            writer.append(TestEpisodes.episode(TASK, 5, 1));
            writer.flush();
            writer.append(TestEpisodes.episode(TASK, 6, 2));
            assertEquals(1, count(folder));
            assertEquals(1, writer.episodeCount());
        }
        Path orphanData = folder.resolve("data/chunk-000/file-002.parquet");
        Files.copy(folder.resolve("data/chunk-000/file-001.parquet"), orphanData);
        Path orphanTable = folder.resolve("meta/episodes/chunk-000/file-002.parquet");
        Files.write(orphanTable, new byte[0]);
        Files.write(folder.resolve("data/chunk-000/.file-003.parquet.tmp"), new byte[10]);
        Files.delete(orphanTable);
        try (LeRobotWriter writer = LeRobotWriter.open(folder, SCHEMA)) {
            assertEquals(2, writer.episodeCount());
            assertFalse(Files.exists(orphanData));
            assertFalse(Files.exists(folder.resolve("data/chunk-000/.file-003.parquet.tmp")));
        }
    }

    @Test
    void aTableAheadOfInfoJsonCountsOnlyAcknowledgedEpisodes() throws IOException {
        byte[] before;
        try (LeRobotWriter writer = LeRobotWriter.open(folder, SCHEMA)) {
            writer.append(TestEpisodes.episode(TASK, 5, 1));
            writer.flush();
            before = Files.readAllBytes(folder.resolve("meta/info.json"));
            writer.append(TestEpisodes.episode(TASK, 6, 2));
        }
        Files.write(folder.resolve("meta/info.json"), before);
        assertEquals(1, count(folder));
        try (DatasetReader reader = DatasetFormats.open(folder)) {
            assertEquals(1, reader.warnings().size());
        }
        try (LeRobotWriter writer = LeRobotWriter.open(folder, SCHEMA)) {
            assertFalse(Files.exists(folder.resolve("data/chunk-000/file-001.parquet")));
            assertEquals(1, writer.append(TestEpisodes.episode(TASK, 7, 3)));
        }
        try (DatasetReader reader = DatasetFormats.open(folder)) {
            reader.next();
            assertEquals(7, reader.next().length());
        }
    }

    @Test
    void aSecondWriterIsRefused() {
        try (LeRobotWriter first = LeRobotWriter.open(folder, SCHEMA)) {
            assertThrows(StoreWriteException.class, () -> LeRobotWriter.open(folder, SCHEMA));
            first.append(TestEpisodes.episode(TASK, 5, 1));
        }
        LeRobotWriter.open(folder, SCHEMA).close();
    }

    @Test
    void otherFeaturesAreRefused() {
        LeRobotWriter.open(folder, SCHEMA).close();
        assertThrows(
                MalformedDatasetException.class,
                () -> LeRobotWriter.open(folder, LeRobotSchema.of(TestEpisodes.task("arm", 6, 2))));
        assertThrows(
                MalformedDatasetException.class,
                () -> LeRobotWriter.open(folder, SCHEMA.with(FeatureSpec.vector("extra", 1))));
        LeRobotWriter.open(folder, SCHEMA).close();
    }

    @Test
    void parquetFilesWithoutInfoJsonAreLeftAlone() throws IOException {
        try (LeRobotWriter writer = LeRobotWriter.open(folder, SCHEMA)) {
            writer.append(TestEpisodes.episode(TASK, 5, 1));
        }
        Files.delete(folder.resolve("meta/info.json"));
        assertThrows(MalformedDatasetException.class, () -> LeRobotWriter.open(folder, SCHEMA));
        assertTrue(Files.exists(folder.resolve("data/chunk-000/file-000.parquet")));
    }

    @Test
    void episodesWithoutTheDeclaredColumnsAreRefusedAndTheWriterGoesOn() {
        try (LeRobotWriter writer = LeRobotWriter.open(folder, SCHEMA)) {
            Episode bare = Episode.builder("arm", 2)
                    .column(Column.OBSERVATION, new float[10])
                    .build();
            assertThrows(MalformedDatasetException.class, () -> writer.append(bare));
            writer.append(TestEpisodes.episode(TASK, 5, 1));
        }
        assertEquals(1, count(folder));
    }

    @Test
    void aFolderThatCannotBeWrittenIsAWriteError() throws IOException {
        Path file = Files.createFile(folder.resolve("file"));
        assertThrows(StoreWriteException.class, () -> LeRobotWriter.open(file, SCHEMA));
    }

    @Test
    void anEmptyDataSetReadsAsEmpty() {
        LeRobotWriter.open(folder, SCHEMA).close();
        assertEquals(0, count(folder));
    }

    @Test
    void unitsBoundsAndChoicesSurvive() {
        FeatureSpec observation = new FeatureSpec(
                "o",
                FeatureType.FLOAT32,
                List.of(2),
                List.of("a", "b"),
                List.of("rad", "m"),
                List.of(-1.0, -2.0),
                List.of(1.0, 2.0));
        TaskInfo task = TaskInfo.of("t", "d", observation, FeatureSpec.discrete("a"), 10, true)
                .withDiscreteActions(9);
        try (LeRobotWriter writer = LeRobotWriter.open(folder, LeRobotSchema.of(task))) {
            writer.append(TestEpisodes.episode(task, 5, 1));
        }
        try (DatasetReader reader = DatasetFormats.open(folder)) {
            TaskInfo read = reader.tasks().getFirst();
            assertEquals(9, read.discreteActions());
            assertEquals(observation.units(), read.observation().orElseThrow().units());
            assertEquals(observation.upper(), read.observation().orElseThrow().upper());
        }
    }

    @Test
    void schemasThatLeRobotCannotExpressAreRefused() {
        assertThrows(
                IllegalArgumentException.class,
                () -> LeRobotSchema.of(
                        TaskInfo.of("t", "d", FeatureSpec.vector("o", 1), FeatureSpec.vector("a", 1), 12.5, false)));
        assertThrows(IllegalArgumentException.class, () -> LeRobotSchema.of(TestEpisodes.imageTask("g")));
        assertThrows(IllegalArgumentException.class, () -> SCHEMA.with(FeatureSpec.vector("timestamp", 1)));
        assertThrows(IllegalArgumentException.class, () -> SCHEMA.with(FeatureSpec.vector("action", 1)));
    }

    private static Episode episode(float[] rewards, float[] firstAction) {
        return Episode.builder("arm", 2)
                .instruction("do")
                .column(Column.OBSERVATION, new float[10])
                .column(Column.ACTION, new float[] {firstAction[0], 0, firstAction[1], 0})
                .column(Column.REWARD, rewards)
                .build();
    }

    private static long count(Path root) {
        long count = 0;
        try (DatasetReader reader = DatasetFormats.open(root)) {
            while (reader.next() != null) {
                count++;
            }
        }
        return count;
    }
}
