package ai.lram.dataset.store;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.Column;
import ai.lram.dataset.CorruptStoreException;
import ai.lram.dataset.DatasetException;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.StoreWriteException;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.TestEpisodes;
import ai.lram.dataset.TestProcess;
import ai.lram.dataset.UnsupportedFormatException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TrajectoryStoreTest {
    private static final TaskInfo ARM = TestEpisodes.task("arm", 7, 3);
    private static final TaskInfo CART = TestEpisodes.task("cart", 4, 1);
    private static final TaskInfo GAME = TestEpisodes.imageTask("game");

    @TempDir
    Path folder;

    private List<Episode> write(Path target) {
        List<Episode> episodes = new ArrayList<>();
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(target)) {
            writer.addTask(ARM);
            writer.addTask(CART);
            writer.addTask(GAME);
            writer.addSource(new StoreSource("somewhere", "made up", "00"));
            writer.putProvenance("licence", "none");
            Random random = new Random(5);
            for (int i = 0; i < 40; i++) {
                TaskInfo task = List.of(ARM, CART, GAME).get(random.nextInt(3));
                Episode episode = TestEpisodes.episode(task, 1 + random.nextInt(90), i);
                assertEquals(i, writer.append(episode));
                episodes.add(episode);
            }
            writer.commit();
        }
        return episodes;
    }

    @Test
    void readsBackWhatWasWrittenForTasksOfDifferentWidths() {
        List<Episode> written = write(folder.resolve("s"));
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("s"))) {
            store.verify();
            assertEquals(List.of("arm", "cart", "game"), store.taskIds());
            assertEquals(ARM, store.taskInfo("arm"));
            assertEquals(7, store.taskInfo("game").discreteActions());
            assertEquals("none", store.provenance().get("licence"));
            assertEquals("made up", store.sources().getFirst().format());
            assertEquals(written.size(), store.episodes().size());
            assertEquals(written.stream().mapToLong(Episode::length).sum(), store.rowCount());
            for (int i = 0; i < written.size(); i++) {
                Episode expected = written.get(i);
                Episode actual = store.readEpisode(i);
                EpisodeInfo line = store.episodes().get(i);
                assertEquals(
                        new EpisodeInfo(i, expected.taskId(), expected.length(), expected.episodeReturn(), i, 0), line);
                for (String column : expected.columnNames()) {
                    assertArrayEquals(expected.column(column), actual.column(column), column + " of episode " + i);
                }
                assertArrayEquals(
                        Episode.returnsToGo(expected.column(Column.REWARD)), actual.column(Column.RETURN_TO_GO));
                if (expected.has(Column.IMAGE)) {
                    assertArrayEquals(expected.image(), actual.image());
                }
            }
        }
    }

    @Test
    void windowsAreTheRowsTheyName() {
        List<Episode> written = write(folder.resolve("s"));
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("s"));
                Arena arena = Arena.ofConfined()) {
            Random random = new Random(1);
            for (int draw = 0; draw < 300; draw++) {
                int episode = random.nextInt(written.size());
                Episode expected = written.get(episode);
                int start = random.nextInt(expected.length());
                int length = 1 + random.nextInt(expected.length() - start);
                Column column = expected.has(Column.OBSERVATION) ? Column.OBSERVATION : Column.ACTION;
                int width = expected.width(column.key());
                float[] rows = Arrays.copyOfRange(expected.column(column), start * width, (start + length) * width);
                float[] array = new float[rows.length + 5];
                store.readWindow(episode, start, length, column, array, 5);
                assertArrayEquals(rows, Arrays.copyOfRange(array, 5, array.length));
                MemorySegment segment = arena.allocate(rows.length * 4L + 12, 4);
                store.readWindow(episode, start, length, column, segment, 12);
                assertArrayEquals(rows, segment.asSlice(12).toArray(ValueLayout.JAVA_FLOAT));
                assertArrayEquals(
                        rows, store.window(episode, start, length, column).toArray(StoreLayout.FLOAT));
            }
        }
    }

    @Test
    void refusesWindowsOutsideTheEpisodeAndUnknownColumns() {
        write(folder.resolve("s"));
        TrajectoryStore store = TrajectoryStore.open(folder.resolve("s"));
        int length = store.length(0);
        float[] big = new float[100_000];
        assertThrows(IndexOutOfBoundsException.class, () -> store.readWindow(0, 0, length + 1, Column.ACTION, big, 0));
        assertThrows(IndexOutOfBoundsException.class, () -> store.readWindow(0, -1, 1, Column.ACTION, big, 0));
        assertThrows(IndexOutOfBoundsException.class, () -> store.readWindow(0, 0, -1, Column.ACTION, big, 0));
        assertThrows(IndexOutOfBoundsException.class, () -> store.readWindow(40, 0, 1, Column.ACTION, big, 0));
        assertThrows(IndexOutOfBoundsException.class, () -> store.readWindow(0, 0, 1, Column.ACTION, big, big.length));
        int arm = store.episodesOf("arm")[0];
        assertThrows(IllegalArgumentException.class, () -> store.readWindow(arm, 0, 1, Column.IMAGE, big, 0));
        assertThrows(IllegalArgumentException.class, () -> store.readWindow(arm, 0, 1, Column.DONE, big, 0));
        assertThrows(IllegalArgumentException.class, () -> store.taskInfo("nobody"));
        store.close();
        store.close();
        assertThrows(IllegalStateException.class, () -> store.readWindow(0, 0, 1, Column.ACTION, big, 0));
    }

    @Test
    void unitsAndBoundsSurvive() {
        FeatureSpec observation = new FeatureSpec(
                "state",
                FeatureType.FLOAT32,
                List.of(2),
                List.of("angle", "speed"),
                List.of("rad", "rad/s"),
                List.of(-3.5, -1e300),
                List.of(3.5, 0.1));
        TaskInfo task = TaskInfo.of("joint", "d", observation, FeatureSpec.vector("a", 1), 12.5, false);
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(folder.resolve("s"))) {
            writer.addTask(task);
            writer.append(TestEpisodes.episode(task, 3, 1));
            writer.commit();
        }
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("s"))) {
            assertEquals(task, store.taskInfo("joint"));
            assertFalse(store.taskInfo("joint").hasRewards());
            assertThrows(
                    IllegalArgumentException.class,
                    () -> store.readWindow(0, 0, 1, Column.RETURN_TO_GO, new float[1], 0));
        }
    }

    @Test
    void emptyStoresAndTasksWithoutEpisodesOpen() {
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(folder.resolve("s"))) {
            writer.addTask(ARM);
            writer.commit();
        }
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("s"))) {
            store.verify();
            assertEquals(0, store.episodeCount());
            assertEquals(0, store.rowCount("arm"));
        }
    }

    @Test
    void manyTasksNeedNoMoreOpenFilesThanTheLimit() {
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(folder.resolve("s"))) {
            for (int round = 0; round < 2; round++) {
                for (int i = 0; i < 150; i++) {
                    TaskInfo task = TestEpisodes.task("t" + i, 1 + i % 5, 1);
                    writer.addTask(task);
                    writer.append(TestEpisodes.episode(task, 2, i));
                }
            }
            writer.commit();
        }
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("s"))) {
            store.verify();
            assertEquals(300, store.episodeCount());
            assertArrayEquals(
                    TestEpisodes.episode(TestEpisodes.task("t149", 5, 1), 2, 149)
                            .column(Column.OBSERVATION),
                    store.readEpisode(299).column(Column.OBSERVATION));
        }
    }

    @Test
    void nothingIsPublishedWithoutCommit() throws IOException {
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(folder.resolve("s"))) {
            writer.addTask(ARM);
            writer.append(TestEpisodes.episode(ARM, 5, 1));
        }
        try (Stream<Path> left = Files.list(folder)) {
            assertEquals(List.of(), left.toList());
        }
    }

    @Test
    void leavingsOfAKilledWriterAreRemovedAndThoseOfALivingOneAreNot() throws IOException {
        Path abandoned = Files.createDirectory(folder.resolve(".s.writing-dead"));
        Files.createFile(abandoned.resolve(".lock"));
        Files.write(abandoned.resolve("index.bin"), new byte[100]);
        try (TrajectoryStoreWriter living = TrajectoryStoreWriter.create(folder.resolve("s"));
                TrajectoryStoreWriter second = TrajectoryStoreWriter.create(folder.resolve("s"))) {
            assertFalse(Files.exists(abandoned));
            living.addTask(ARM);
            living.append(TestEpisodes.episode(ARM, 5, 1));
            living.commit();
            second.addTask(ARM);
            assertThrows(StoreWriteException.class, second::commit);
        }
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("s"))) {
            store.verify();
            assertEquals(1, store.episodeCount());
        }
        try (Stream<Path> left = Files.list(folder)) {
            assertEquals(1, left.count());
        }
    }

    @Test
    void aProcessKilledWhileWritingLeavesNoStoreAndItsLeavingsGoWithTheNextWriter()
            throws IOException, InterruptedException {
        TestProcess.killAfter(40, StoreWritingProcess.class, folder.resolve("s").toString());
        assertFalse(Files.exists(folder.resolve("s")));
        try (Stream<Path> left = Files.list(folder)) {
            assertEquals(1, left.count());
        }
        write(folder.resolve("s"));
        openAndVerify(folder.resolve("s"));
        try (Stream<Path> left = Files.list(folder)) {
            assertEquals(List.of(folder.resolve("s")), left.toList());
        }
    }

    @Test
    void refusesToOverwrite() {
        write(folder.resolve("s"));
        assertThrows(StoreWriteException.class, () -> TrajectoryStoreWriter.create(folder.resolve("s")));
    }

    @Test
    void refusesATargetThatCannotBeWritten() throws IOException {
        Path file = Files.createFile(folder.resolve("file"));
        assertThrows(StoreWriteException.class, () -> TrajectoryStoreWriter.create(file.resolve("below")));
    }

    @Test
    void refusesEpisodesThatDoNotFitTheirTaskAndGoesOn() {
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(folder.resolve("s"))) {
            writer.addTask(ARM);
            writer.addTask(GAME);
            Episode wide = TestEpisodes.episode(TestEpisodes.task("arm", 8, 3), 4, 1);
            assertThrows(MalformedDatasetException.class, () -> writer.append(wide));
            Episode bare = Episode.builder("arm", 2)
                    .column(Column.OBSERVATION, new float[14])
                    .build();
            assertThrows(MalformedDatasetException.class, () -> writer.append(bare));
            Episode poisoned = TestEpisodes.episode(ARM, 4, 2);
            poisoned.column(Column.OBSERVATION)[9] = Float.NaN;
            MalformedDatasetException error =
                    assertThrows(MalformedDatasetException.class, () -> writer.append(poisoned));
            assertTrue(error.getMessage().contains("row 1, element 2"), error.getMessage());
            Episode fractional = TestEpisodes.episode(GAME, 4, 3);
            fractional.column(Column.ACTION)[0] = 0.5f;
            assertThrows(MalformedDatasetException.class, () -> writer.append(fractional));
            assertThrows(IllegalArgumentException.class, () -> writer.append(TestEpisodes.episode(CART, 1, 1)));
            assertThrows(MalformedDatasetException.class, () -> writer.addTask(TestEpisodes.task("arm", 8, 3)));
            writer.append(TestEpisodes.episode(ARM, 4, 4));
            writer.commit();
        }
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("s"))) {
            store.verify();
            assertEquals(1, store.episodeCount());
        }
    }

    @Test
    void everyFlippedByteIsFound() throws IOException {
        Path target = folder.resolve("s");
        write(target);
        List<Path> files;
        try (Stream<Path> list = Files.list(target)) {
            files = list.sorted().toList();
        }
        assertEquals(3 + 4 + 4 + 6, files.size());
        Random random = new Random(3);
        for (Path file : files) {
            byte[] original = Files.readAllBytes(file);
            for (int i = 0; i < 25; i++) {
                byte[] damaged = original.clone();
                damaged[random.nextInt(damaged.length)] ^= (byte) (1 << random.nextInt(8));
                Files.write(file, damaged);
                DatasetException error =
                        assertThrows(DatasetException.class, () -> openAndVerify(target), file.toString());
                assertTrue(
                        error instanceof CorruptStoreException || error instanceof UnsupportedFormatException,
                        error.toString());
            }
            Files.write(file, original);
        }
        openAndVerify(target);
    }

    @Test
    void everyTruncatedExtendedOrMissingFileIsFoundAtOpening() throws IOException {
        Path target = folder.resolve("s");
        write(target);
        List<Path> files;
        try (Stream<Path> list = Files.list(target)) {
            files = list.toList();
        }
        for (Path file : files) {
            byte[] original = Files.readAllBytes(file);
            for (int size : new int[] {0, 1, original.length / 2, original.length - 1}) {
                Files.write(file, Arrays.copyOf(original, size));
                assertThrows(
                        DatasetException.class,
                        () -> TrajectoryStore.open(target).close(),
                        file + " cut to " + size);
            }
            Files.write(file, Arrays.copyOf(original, original.length + 1));
            assertThrows(
                    CorruptStoreException.class,
                    () -> TrajectoryStore.open(target).close(),
                    file + " extended");
            Files.delete(file);
            assertThrows(
                    DatasetReadException.class,
                    () -> TrajectoryStore.open(target).close(),
                    file + " missing");
            Files.write(file, original);
        }
        openAndVerify(target);
    }

    @Test
    void lyingIndexEntriesAreRefusedAtTheWindow() throws IOException {
        long[][] lies = {
            {StoreLayout.RECORD_TASK, 99},
            {StoreLayout.RECORD_TASK, -1},
            {StoreLayout.RECORD_LENGTH, 0},
            {StoreLayout.RECORD_LENGTH, Integer.MAX_VALUE},
            {StoreLayout.RECORD_FIRST_ROW, -1},
            {StoreLayout.RECORD_FIRST_ROW, Integer.MAX_VALUE},
        };
        for (int lie = 0; lie < lies.length; lie++) {
            Path target = folder.resolve("s" + lie);
            write(target);
            try (RandomAccessFile index =
                    new RandomAccessFile(target.resolve(StoreLayout.INDEX).toFile(), "rw")) {
                index.seek(StoreLayout.INDEX_HEADER_BYTES + lies[lie][0]);
                index.writeInt(Integer.reverseBytes((int) lies[lie][1]));
                if (lies[lie][0] == StoreLayout.RECORD_FIRST_ROW) {
                    index.writeInt(lies[lie][1] < 0 ? -1 : 0);
                }
            }
            try (TrajectoryStore store = TrajectoryStore.open(target)) {
                float[] row = new float[16];
                assertThrows(
                        CorruptStoreException.class,
                        () -> store.readWindow(0, 0, 1, Column.ACTION, row, 0),
                        "lie " + lie);
                assertThrows(CorruptStoreException.class, store::verify);
            }
        }
    }

    @Test
    void overlappingEpisodesWithRightChecksumsAreFoundByVerify() throws IOException {
        Path target = folder.resolve("s");
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(target)) {
            writer.addTask(ARM);
            writer.append(TestEpisodes.episode(ARM, 5, 1));
            writer.append(TestEpisodes.episode(ARM, 5, 2));
            writer.commit();
        }
        Path index = target.resolve(StoreLayout.INDEX);
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(index)).order(ByteOrder.LITTLE_ENDIAN);
        bytes.putLong(StoreLayout.INDEX_HEADER_BYTES + StoreLayout.RECORD_BYTES + StoreLayout.RECORD_FIRST_ROW, 0);
        Files.write(index, bytes.array());
        Path table = target.resolve(StoreLayout.CHECKSUMS);
        ByteBuffer sums = ByteBuffer.wrap(Files.readAllBytes(table)).order(ByteOrder.LITTLE_ENDIAN);
        sums.putInt(24 + 12, crc(bytes.array(), bytes.capacity()));
        sums.putInt(sums.capacity() - 4, crc(sums.array(), sums.capacity() - 4));
        Files.write(table, sums.array());
        try (TrajectoryStore store = TrajectoryStore.open(target)) {
            CorruptStoreException error = assertThrows(CorruptStoreException.class, store::verify);
            assertTrue(error.getMessage().contains("episode 1 starts at row 0"), error.getMessage());
        }
    }

    @Test
    void aManifestOfAnotherVersionIsUnsupported() throws IOException {
        Path target = folder.resolve("s");
        write(target);
        Path manifest = target.resolve(StoreLayout.MANIFEST);
        Files.writeString(
                manifest,
                Files.readString(manifest, StandardCharsets.UTF_8).replace("\"version\" : 1", "\"version\" : 2"));
        UnsupportedFormatException error =
                assertThrows(UnsupportedFormatException.class, () -> TrajectoryStore.open(target));
        assertTrue(error.getMessage().contains("version 2"), error.getMessage());
    }

    @Test
    void aMissingStoreIsAReadError() {
        DatasetReadException error =
                assertThrows(DatasetReadException.class, () -> TrajectoryStore.open(folder.resolve("none")));
        assertTrue(error.getMessage().contains("manifest.json"), error.getMessage());
    }

    @Test
    void tasksOfAnImageOnlyStoreHaveNoObservation() {
        TaskInfo task = new TaskInfo(
                "g", "d", "", Optional.empty(), FeatureSpec.discrete("a"), GAME.image(), 18, 0, false, false, false);
        assertEquals(0, task.observationWidth());
        assertEquals(List.of(Column.ACTION, Column.IMAGE), task.columns());
        assertThrows(
                IllegalArgumentException.class,
                () -> new TaskInfo(
                        "g",
                        "d",
                        "",
                        Optional.empty(),
                        FeatureSpec.discrete("a"),
                        Optional.empty(),
                        0,
                        0,
                        false,
                        false,
                        false));
    }

    private static void openAndVerify(Path target) {
        try (TrajectoryStore store = TrajectoryStore.open(target)) {
            store.verify();
        }
    }

    private static int crc(byte[] bytes, int count) {
        CRC32C crc = new CRC32C();
        crc.update(bytes, 0, count);
        return (int) crc.getValue();
    }
}
