package ai.lram.dataset.format;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.Column;
import ai.lram.dataset.DatasetException;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.RealData;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.UnsupportedFormatException;
import io.jhdf.HdfFile;
import io.jhdf.WritableHdfFile;
import io.jhdf.api.Dataset;
import io.jhdf.api.Group;
import io.jhdf.api.Node;
import io.jhdf.api.WritableGroup;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class Hdf5ReadersTest {
    @TempDir
    Path folder;

    private Path d4rl(boolean[] terminals, boolean[] timeouts) {
        Path file = folder.resolve("hopper.hdf5");
        int rows = terminals.length;
        float[][] observations = new float[rows][3];
        double[][] actions = new double[rows][2];
        float[] rewards = new float[rows];
        for (int i = 0; i < rows; i++) {
            observations[i] = new float[] {i, i + 0.5f, -i};
            actions[i] = new double[] {i, 2 * i};
            rewards[i] = i;
        }
        try (WritableHdfFile hdf = HdfFile.write(file)) {
            hdf.putDataset("observations", observations);
            hdf.putDataset("actions", actions);
            hdf.putDataset("rewards", rewards);
            hdf.putDataset("terminals", terminals);
            if (timeouts != null) {
                hdf.putDataset("timeouts", timeouts);
            }
        }
        return file;
    }

    private static List<Episode> readAll(DatasetReader reader) {
        List<Episode> episodes = new ArrayList<>();
        for (Episode next = reader.next(); next != null; next = reader.next()) {
            episodes.add(next);
        }
        assertNull(reader.next());
        return episodes;
    }

    @Test
    void d4rlIsCutAfterTerminalsAndTimeoutsAndOnlyTerminalsAreDone() {
        Path file = d4rl(
                new boolean[] {false, true, false, false, false, false},
                new boolean[] {false, false, false, true, false, false});
        try (DatasetReader reader =
                DatasetFormats.open(file, ReaderOptions.defaults().withTiming(125, 0))) {
            assertEquals("D4RL HDF5", reader.format());
            List<Episode> episodes = readAll(reader);
            assertEquals(
                    List.of(2, 2, 2), episodes.stream().map(Episode::length).toList());
            assertArrayEquals(new float[] {0, 1}, episodes.get(0).column(Column.DONE));
            assertArrayEquals(new float[] {0, 0}, episodes.get(1).column(Column.DONE));
            assertArrayEquals(new float[] {2, 4, 3, 6}, episodes.get(1).column(Column.ACTION));
            assertArrayEquals(
                    new float[] {4, 4.5f, -4, 5, 5.5f, -5}, episodes.get(2).column(Column.OBSERVATION));
            assertTrue(reader.warnings().getFirst().contains("no end mark"));
            assertEquals(125, reader.tasks().getFirst().rateHz());
            assertEquals("hopper", reader.tasks().getFirst().taskId());
        }
    }

    @Test
    void d4rlWithoutTimeoutsNeedsAStepLimit() {
        Path file = d4rl(new boolean[7], null);
        assertThrows(MalformedDatasetException.class, () -> DatasetFormats.open(file));
        try (DatasetReader reader =
                DatasetFormats.open(file, ReaderOptions.defaults().withTiming(0, 3))) {
            assertEquals(
                    List.of(3, 3, 1),
                    readAll(reader).stream().map(Episode::length).toList());
        }
    }

    @Test
    void choicesThatD4rlAndMinariDoNotOfferAreRefused() throws IOException {
        Path file = d4rl(new boolean[] {false, true}, new boolean[2]);
        ReaderOptions plain = ReaderOptions.defaults();
        for (ReaderOptions options : List.of(
                plain.withObservations(List.of("state")),
                plain.withImage("front"),
                plain.withSplits(List.of("train")),
                plain.withLastStep())) {
            assertThrows(UnsupportedFormatException.class, () -> DatasetFormats.open(file, options));
        }
        Path root = minari(false);
        assertThrows(UnsupportedFormatException.class, () -> DatasetFormats.open(root, plain.withImage("front")));
        assertThrows(UnsupportedFormatException.class, () -> DatasetFormats.open(root, plain.withLastStep()));
    }

    @Test
    void d4rlArraysOfDifferentLengthsAreRefused() {
        Path file = folder.resolve("bad.hdf5");
        try (WritableHdfFile hdf = HdfFile.write(file)) {
            hdf.putDataset("observations", new float[4][2]);
            hdf.putDataset("actions", new float[4][1]);
            hdf.putDataset("rewards", new float[3]);
            hdf.putDataset("terminals", new boolean[4]);
        }
        MalformedDatasetException error =
                assertThrows(MalformedDatasetException.class, () -> DatasetFormats.open(file));
        assertTrue(error.getMessage().contains("rewards 3"), error.getMessage());
    }

    @Test
    void minariDropsTheObservationAfterTheLastAction() throws IOException {
        Path root = minari(false);
        try (DatasetReader reader = DatasetFormats.open(root)) {
            assertEquals("Minari HDF5", reader.format());
            TaskInfo task = reader.tasks().getFirst();
            assertEquals("maze/test-v0", task.taskId());
            assertEquals(3, task.observationWidth());
            assertTrue(task.isDiscrete());
            assertEquals(4, task.discreteActions());
            List<Episode> episodes = readAll(reader);
            assertEquals(12, episodes.size());
            Episode tenth = episodes.get(10);
            assertEquals(10, tenth.sourceEpisode());
            assertEquals(12, tenth.length());
            assertArrayEquals(new float[] {100, 0, 10}, Arrays.copyOf(tenth.column(Column.OBSERVATION), 3));
            assertArrayEquals(new float[] {111, 11, 10}, Arrays.copyOfRange(tenth.column(Column.OBSERVATION), 33, 36));
            assertEquals(1, tenth.column(Column.DONE)[11]);
            assertEquals(3, tenth.column(Column.ACTION)[11]);
        }
        try (DatasetReader reader =
                DatasetFormats.open(root, ReaderOptions.defaults().withObservations(List.of("state/velocity")))) {
            assertEquals(1, reader.tasks().getFirst().observationWidth());
        }
        assertThrows(
                MalformedDatasetException.class,
                () -> DatasetFormats.open(root, ReaderOptions.defaults().withObservations(List.of("smell"))));
    }

    @Test
    void minariWithoutTheExtraObservationIsRefused() throws IOException {
        Path root = minari(true);
        try (DatasetReader reader = DatasetFormats.open(root)) {
            MalformedDatasetException error = assertThrows(MalformedDatasetException.class, reader::next);
            assertTrue(error.getMessage().contains("has 3 observations"), error.getMessage());
        }
    }

    @Test
    void minariTotalsAndFormatsThatDisagreeAreRefused() throws IOException {
        Path root = minari(false);
        Path metadata = root.resolve("data/metadata.json");
        String text = Files.readString(metadata);
        Files.writeString(metadata, text.replace("\"total_steps\": 90", "\"total_steps\": 91"));
        assertThrows(MalformedDatasetException.class, () -> DatasetFormats.open(root));
        Files.writeString(metadata, text.replace("\"hdf5\"", "\"arrow\""));
        assertThrows(UnsupportedFormatException.class, () -> DatasetFormats.open(root));
        Files.writeString(metadata, text.replace("\\\"n\\\"", "\\\"n"));
        assertThrows(MalformedDatasetException.class, () -> DatasetFormats.open(root));
    }

    /** Twelve episodes of 2 + i steps with a dictionary observation; i runs past 9 so that order must be numeric. */
    private Path minari(boolean withoutExtra) throws IOException {
        Path data = Files.createDirectories(folder.resolve("maze/data"));
        try (WritableHdfFile hdf = HdfFile.write(data.resolve("main_data.hdf5"))) {
            for (int i = 0; i < 12; i++) {
                int steps = 2 + i;
                int rows = withoutExtra ? steps : steps + 1;
                WritableGroup episode = hdf.putGroup("episode_" + i);
                episode.putAttribute("total_steps", steps);
                episode.putAttribute("id", i);
                WritableGroup observations = episode.putGroup("observations");
                double[][] position = new double[rows][2];
                long[] goal = new long[rows];
                for (int t = 0; t < rows; t++) {
                    position[t] = new double[] {10 * i + t, t};
                    goal[t] = i;
                }
                observations.putDataset("position", position);
                observations.putGroup("state").putDataset("velocity", goal);
                long[] actions = new long[steps];
                Arrays.setAll(actions, t -> t % 4);
                boolean[] end = new boolean[steps];
                end[steps - 1] = true;
                episode.putDataset("actions", actions);
                episode.putDataset("rewards", new double[steps]);
                episode.putDataset("terminations", end);
                episode.putDataset("truncations", new boolean[steps]);
            }
        }
        Files.writeString(
                data.resolve("metadata.json"),
                """
                {"dataset_id": "maze/test-v0", "total_episodes": 12, "total_steps": 90, "data_format": "hdf5",
                 "jpeg_encoding": false, "action_space": "{\\"type\\": \\"Discrete\\", \\"n\\": 4, \\"start\\": 0}"}
                """);
        return folder.resolve("maze");
    }

    @Test
    void minariFramesBecomeChannelsFirst() throws IOException {
        Path data = Files.createDirectories(folder.resolve("pix/data"));
        try (WritableHdfFile hdf = HdfFile.write(data.resolve("main_data.hdf5"))) {
            WritableGroup episode = hdf.putGroup("episode_0");
            byte[][][][] frames = new byte[3][2][2][3];
            for (int t = 0; t < 3; t++) {
                for (int pixel = 0; pixel < 4; pixel++) {
                    for (int c = 0; c < 3; c++) {
                        frames[t][pixel / 2][pixel % 2][c] = (byte) (t * 100 + c * 10 + pixel);
                    }
                }
            }
            episode.putDataset("observations", frames);
            episode.putDataset("actions", new float[2][1]);
            episode.putDataset("rewards", new float[2]);
        }
        try (DatasetReader reader = DatasetFormats.open(folder.resolve("pix"))) {
            Episode episode = reader.next();
            assertArrayEquals(
                    new byte[] {0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23}, Arrays.copyOf(episode.image(), 12));
            assertEquals(24, episode.image().length);
            assertEquals(100, episode.image()[12]);
        }
    }

    @Test
    void growableChunksAndEnumBooleansOfH5pyAreRead() throws IOException {
        Path file = resource("h5py-minari.hdf5");
        try (DatasetReader reader = DatasetFormats.open(file)) {
            assertEquals("Minari HDF5", reader.format());
            List<Episode> episodes = readAll(reader);
            assertEquals(
                    List.of(4, 5, 6), episodes.stream().map(Episode::length).toList());
            Episode second = episodes.get(1);
            assertArrayEquals(
                    new float[] {0, 100, 101, 1, 102, 103, 0, 104, 105, 1, 106, 107, 0, 108, 109},
                    second.column(Column.OBSERVATION));
            assertArrayEquals(new float[] {0, 0, 0, 0, 1}, second.column(Column.DONE));
            assertEquals(10, second.episodeReturn());
            assertEquals(1.75f, second.column(Column.ACTION)[14]);
        }
        try (DatasetReader reader = DatasetFormats.open(resource("h5py-d4rl.hdf5"))) {
            assertEquals("D4RL HDF5", reader.format());
            List<Episode> episodes = readAll(reader);
            assertEquals(
                    List.of(20, 10, 10, 10),
                    episodes.stream().map(Episode::length).toList());
            assertEquals(1, episodes.get(0).column(Column.DONE)[19]);
            assertEquals(0, episodes.get(1).column(Column.DONE)[9]);
            assertEquals(199, episodes.get(3).column(Column.OBSERVATION)[39]);
        }
    }

    private Path resource(String name) throws IOException {
        Path copy = folder.resolve(name);
        try (InputStream in = Hdf5ReadersTest.class.getResourceAsStream(name)) {
            Files.copy(in, copy);
        }
        return copy;
    }

    @Test
    void damagedHdf5FilesGiveTypedErrorsOrValues() throws IOException {
        Path flat = d4rl(new boolean[] {false, true, false, true}, new boolean[4]);
        assertTrue(refusals(flat) >= 45);
        assertTrue(refusals(resource("h5py-minari.hdf5")) >= 45);
    }

    /** Reads 100 damaged copies, every second one cut off as well, and counts the refused ones. */
    private static int refusals(Path file) throws IOException {
        byte[] original = Files.readAllBytes(file);
        Random random = new Random(7);
        int refused = 0;
        for (int i = 0; i < 100; i++) {
            byte[] damaged =
                    i % 2 == 0 ? Arrays.copyOf(original, 1 + random.nextInt(original.length / 2)) : original.clone();
            damaged[random.nextInt(damaged.length)] ^= (byte) (1 << random.nextInt(8));
            Files.write(file, damaged);
            try (DatasetReader reader = DatasetFormats.open(file)) {
                assertTrue(readAll(reader).size() >= 1);
            } catch (DatasetException expected) {
                assertTrue(expected.getMessage().contains("; fix: "));
                refused++;
            }
        }
        return refused;
    }

    @Test
    void unknownPathsSayWhatIsKnown() throws IOException {
        assertThrows(DatasetReadException.class, () -> DatasetFormats.open(folder.resolve("none")));
        UnsupportedFormatException error =
                assertThrows(UnsupportedFormatException.class, () -> DatasetFormats.open(folder));
        assertTrue(error.getMessage().contains("LeRobot") && error.getMessage().contains("D4RL"), error.getMessage());
        Path pickle = Files.writeString(folder.resolve("000000001.pkl"), "x");
        assertTrue(assertThrows(UnsupportedFormatException.class, () -> DatasetFormats.open(pickle))
                .getMessage()
                .contains("pickle"));
        Path records = Files.writeString(folder.resolve("x-train.tfrecord-00000-of-00001"), "x");
        assertTrue(assertThrows(UnsupportedFormatException.class, () -> DatasetFormats.open(records))
                .getMessage()
                .contains("RLDS"));
    }

    @Test
    void recordedMotionCaptureIsReadCompletely() {
        Path file = RealData.require("dm-control-mocap-test").resolve("test_trajectories.h5");
        List<Dataset> datasets = new ArrayList<>();
        try (Hdf5 hdf = Hdf5.open(file)) {
            collect(hdf.root(), datasets);
            long values = 0;
            for (Dataset dataset : datasets) {
                if (dataset.getJavaType() == double.class) {
                    float[] read = hdf.floats(dataset);
                    assertEquals(dataset.getSize(), read.length);
                    values += read.length;
                    for (float value : read) {
                        assertTrue(Float.isFinite(value), dataset.getPath());
                    }
                }
            }
            assertTrue(values > 1000, values + " values");
        }
        assertEquals(30, datasets.size());
        assertThrows(DatasetException.class, () -> DatasetFormats.open(file));
    }

    private static void collect(Group group, List<Dataset> datasets) {
        for (Node child : group.getChildren().values()) {
            if (child instanceof Dataset dataset) {
                datasets.add(dataset);
            } else if (child instanceof Group below) {
                collect(below, datasets);
            }
        }
    }
}
