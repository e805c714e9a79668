package ai.lram.dataset.format;

import static ai.lram.dataset.format.RldsFiles.classLabel;
import static ai.lram.dataset.format.RldsFiles.encoded;
import static ai.lram.dataset.format.RldsFiles.image;
import static ai.lram.dataset.format.RldsFiles.named;
import static ai.lram.dataset.format.RldsFiles.nested;
import static ai.lram.dataset.format.RldsFiles.tensor;
import static ai.lram.dataset.format.RldsFiles.text;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.Column;
import ai.lram.dataset.DatasetException;
import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.ProgressListener;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.UnsupportedFormatException;
import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.convert.ImportReport;
import ai.lram.dataset.format.RldsFiles.Record;
import ai.lram.dataset.store.TrajectoryStore;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Random;
import java.util.function.UnaryOperator;
import java.util.zip.Deflater;
import java.util.zip.GZIPOutputStream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RldsReaderTest {
    private static final String[] MARKS = {
        tensor("is_first", "bool"), tensor("is_last", "bool"), tensor("is_terminal", "bool")
    };

    @TempDir
    Path folder;

    private RldsFiles files() {
        return new RldsFiles(folder.resolve("toy_arm/v1/1.0.0"));
    }

    private static String[] withMarks(String... fields) {
        String[] all = Arrays.copyOf(fields, fields.length + MARKS.length);
        System.arraycopy(MARKS, 0, all, fields.length, MARKS.length);
        return all;
    }

    /** Step fields of most tests: a state of 2, an action of 1, a reward, the marks. */
    private static String[] plain() {
        return withMarks(
                nested("observation", tensor("state", "float32", 2)),
                tensor("action", "float32", 1),
                tensor("reward", "float32"),
                tensor("discount", "float32"));
    }

    /** An episode of {@code steps} steps for {@link #plain()}; state and action hold {@code id} and the step. */
    private static Record episode(int id, int steps, boolean terminal) {
        float[] state = new float[2 * steps];
        float[] action = new float[steps];
        float[] reward = new float[steps];
        float[] discount = new float[steps];
        for (int i = 0; i < steps; i++) {
            state[2 * i] = id;
            state[2 * i + 1] = i;
            action[i] = 10 * id + i;
            reward[i] = i < steps - 1 ? i + 1 : 0;
            discount[i] = 1;
        }
        return new Record()
                .floats("steps/observation/state", state)
                .floats("steps/action", action)
                .floats("steps/reward", reward)
                .floats("steps/discount", discount)
                .marks(steps, terminal);
    }

    private static List<Episode> readAll(DatasetReader reader) {
        List<Episode> episodes = new ArrayList<>();
        for (Episode next = reader.next(); next != null; next = reader.next()) {
            episodes.add(next);
        }
        assertNull(reader.next());
        return episodes;
    }

    private static List<Episode> readAll(Path root, ReaderOptions options) {
        try (DatasetReader reader = DatasetFormats.open(root, options)) {
            return readAll(reader);
        }
    }

    private static List<String> warningsAfterReading(Path root, ReaderOptions options) {
        try (DatasetReader reader = DatasetFormats.open(root, options)) {
            readAll(reader);
            return reader.warnings();
        }
    }

    private static void assertRefused(Class<? extends DatasetException> kind, String text, Path root) {
        assertRefused(kind, text, root, ReaderOptions.defaults());
    }

    private static void assertRefused(
            Class<? extends DatasetException> kind, String text, Path root, ReaderOptions options) {
        DatasetException error = assertThrows(kind, () -> readAll(root, options));
        assertTrue(error.getMessage().contains(text), error.getMessage());
        assertTrue(error.getMessage().contains("; why: ") && error.getMessage().contains("; fix: "));
    }

    private void edit(Path file, UnaryOperator<String> change) throws IOException {
        String before = Files.readString(file);
        String after = change.apply(before);
        assertFalse(before.equals(after), "nothing to change in " + file);
        Files.writeString(file, after);
    }

    // ---- framing and schema, against bytes that TensorFlow wrote

    @Test
    void readsTheRecordsThatTensorFlowWrote() throws IOException {
        // Two records "foo" and "bar" of tf.io.TFRecordWriter, published in Apache Beam's tests.
        byte[] written = Base64.getDecoder().decode("AwAAAAAAAACwmUkOZm9vYYq+/gMAAAAAAAAAsJlJDmJhckYA5cg=");
        Path file = Files.write(folder.resolve("foo.tfrecord"), written);
        try (TfRecordFile records = TfRecordFile.open(file)) {
            assertEquals("foo", new String(records.next(), StandardCharsets.US_ASCII));
            assertEquals("bar", new String(records.next(), StandardCharsets.US_ASCII));
            assertNull(records.next());
            assertEquals(2, records.records());
        }
        assertArrayEquals(written, RldsFiles.frame(List.of(new byte[] {'f', 'o', 'o'}, new byte[] {'b', 'a', 'r'})));
    }

    @Test
    void readsTheExampleThatTensorFlowWrote() {
        // What TensorFlow's tutorial on tf.train.Example prints for {feature0: 0, feature1: 4, feature2: goat,
        // feature3: 0.9876}.
        String escaped = "\nR\n\21\n\10feature0\22\5\32\3\n\1\0\n\21\n\10feature1\22\5\32\3\n\1\4"
                + "\n\24\n\10feature2\22\10\n\6\n\4goat\n\24\n\10feature3\22\10\22\6\n\4[\323|?";
        RldsRecord record = new RldsRecord(folder, 0, escaped.getBytes(StandardCharsets.ISO_8859_1));
        var features = record.example().getFeatures().getFeatureMap();
        assertEquals(List.of(0L), features.get("feature0").getInt64List().getValueList());
        assertEquals(List.of(4L), features.get("feature1").getInt64List().getValueList());
        assertEquals("goat", features.get("feature2").getBytesList().getValue(0).toStringUtf8());
        assertEquals(List.of(0.9876f), features.get("feature3").getFloatList().getValueList());
    }

    // ---- what is read

    @Test
    void filesAndSplitsAreReadInOrder() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard(
                        "train",
                        episode(1, 3, true).build(),
                        episode(2, 4, false).build())
                .shard("train", episode(3, 2, true).build())
                .shard("test", episode(4, 5, true).build())
                .write();
        for (Path path : List.of(files.root(), files.root().getParent(), folder.resolve("toy_arm"), folder)) {
            try (DatasetReader reader = DatasetFormats.open(path)) {
                assertEquals("RLDS TFRecord", reader.format());
                assertEquals(4, reader.episodeCount());
                assertEquals(-1, reader.rowCount());
                List<Episode> episodes = readAll(reader);
                assertEquals(
                        List.of(2, 3, 1, 4),
                        episodes.stream().map(Episode::length).toList());
                assertEquals(
                        List.of(0L, 1L, 2L, 3L),
                        episodes.stream().map(Episode::sourceEpisode).toList());
                assertArrayEquals(
                        new float[] {2, 0, 2, 1, 2, 2}, episodes.get(1).column(Column.OBSERVATION));
                assertArrayEquals(new float[] {20, 21, 22}, episodes.get(1).column(Column.ACTION));
                assertArrayEquals(new float[] {1, 2, 3}, episodes.get(1).column(Column.REWARD));
                assertTrue(
                        reader.warnings().getFirst().contains("train (episodes 0 to 2), test (episodes 3 to 3)"),
                        reader.warnings().toString());
            }
        }
        List<Episode> test = readAll(files.root(), ReaderOptions.defaults().withSplits(List.of("test")));
        assertEquals(List.of(3L), test.stream().map(Episode::sourceEpisode).toList());
        assertRefused(
                MalformedDatasetException.class,
                "no split val",
                files.root(),
                ReaderOptions.defaults().withSplits(List.of("val")));
    }

    @Test
    void theTaskSaysWhatTheColumnsAre() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard("train", episode(1, 3, true).build())
                .write();
        try (DatasetReader reader =
                DatasetFormats.open(files.root(), ReaderOptions.defaults().withTiming(10, 0))) {
            TaskInfo task = reader.tasks().getFirst();
            assertEquals("toy_arm/v1", task.taskId());
            assertEquals("rlds", task.domain());
            assertEquals(
                    FeatureSpec.vector("observation/state", 2),
                    task.observation().orElseThrow());
            assertEquals(FeatureSpec.vector("action", 1), task.action());
            assertEquals(10, task.rateHz());
            assertTrue(task.hasRewards() && task.hasDone() && !task.hasImages() && !task.hasTimestamps());
            assertEquals(List.of(), reader.warnings());
        }
        try (DatasetReader reader =
                DatasetFormats.open(files.root(), ReaderOptions.defaults().withTask("reach", "arm"))) {
            assertEquals("reach", reader.next().taskId());
            assertEquals("arm", reader.tasks().getFirst().domain());
        }
    }

    @Test
    void severalDataSetsInAFolderAreNamedAndNotChosen() throws IOException {
        files().steps(plain()).shard("train", episode(1, 3, true).build()).write();
        new RldsFiles(folder.resolve("toy_arm/v1/1.1.0"))
                .steps(plain())
                .shard("train", episode(1, 3, true).build())
                .write();
        assertRefused(UnsupportedFormatException.class, "2 RLDS data sets", folder);
        assertRefused(UnsupportedFormatException.class, "1.1.0", folder);
        assertEquals(
                1,
                readAll(folder.resolve("toy_arm/v1/1.1.0"), ReaderOptions.defaults())
                        .size());
    }

    @Test
    void nestedObservationsAndActionsStandSideBySideInTheOrderOfTheirNames() throws IOException {
        RldsFiles files = files().steps(withMarks(
                        nested(
                                "observation",
                                tensor("pose", "float64", 3),
                                tensor("gripper_closed", "bool"),
                                nested("base", tensor("wheel", "int32", 2)),
                                tensor("map", "float32", 2, 2),
                                text("note")),
                        nested("action", tensor("world_vector", "float32", 2), tensor("gripper", "float32", 1))))
                .shard(
                        "train",
                        new Record()
                                .floats("steps/observation/pose", 1, 2, 3, 4, 5, 6, 7, 8, 9)
                                .longs("steps/observation/gripper_closed", 0, 1, 1)
                                .longs("steps/observation/base/wheel", -1, -2, -3, -4, -5, -6)
                                .floats("steps/observation/map", new float[12])
                                .bytes("steps/observation/note", new byte[0], new byte[0], new byte[0])
                                .floats("steps/action/world_vector", .1f, .2f, .3f, .4f, 0, 0)
                                .floats("steps/action/gripper", 1, -1, 0)
                                .marks(3, true)
                                .build())
                .write();
        try (DatasetReader reader = DatasetFormats.open(files.root())) {
            TaskInfo task = reader.tasks().getFirst();
            assertEquals(
                    List.of(
                            "observation/base/wheel.0",
                            "observation/base/wheel.1",
                            "observation/gripper_closed.0",
                            "observation/pose.0",
                            "observation/pose.1",
                            "observation/pose.2"),
                    task.observation().orElseThrow().names());
            assertEquals(
                    List.of("action/gripper.0", "action/world_vector.0", "action/world_vector.1"),
                    task.action().names());
            assertFalse(task.hasRewards());
            Episode episode = reader.next();
            assertArrayEquals(new float[] {-1, -2, 0, 1, 2, 3, -3, -4, 1, 4, 5, 6}, episode.column(Column.OBSERVATION));
            assertArrayEquals(new float[] {1, .1f, .2f, -1, .3f, .4f}, episode.column(Column.ACTION));
            assertTrue(
                    reader.warnings().contains("fields that were left out: observation/map, observation/note"),
                    reader.warnings().toString());
        }
        Episode chosen = readAll(
                        files.root(),
                        ReaderOptions.defaults()
                                .withObservations(List.of("map", "observation/base", "gripper_closed"))
                                .withAction("action/world_vector"))
                .getFirst();
        assertArrayEquals(
                new float[] {0, 0, 0, 0, -1, -2, 0, 0, 0, 0, 0, -3, -4, 1}, chosen.column(Column.OBSERVATION));
        assertArrayEquals(new float[] {.1f, .2f, .3f, .4f}, chosen.column(Column.ACTION));
        assertRefused(
                UnsupportedFormatException.class,
                "observation/note",
                files.root(),
                ReaderOptions.defaults().withObservations(List.of("note")));
        assertRefused(
                MalformedDatasetException.class,
                "no field smell",
                files.root(),
                ReaderOptions.defaults().withObservations(List.of("smell")));
        assertRefused(
                MalformedDatasetException.class,
                "no field torque",
                files.root(),
                ReaderOptions.defaults().withAction("torque"));
    }

    @Test
    void aSingleTensorIsTheObservationAndAWholeNumberADiscreteAction() throws IOException {
        Record record = new Record()
                .floats("steps/observation", 1, 2, 3)
                .longs("steps/action", 4, 2, 0)
                .marks(3, false);
        RldsFiles files = files().steps(withMarks(tensor("observation", "float32"), tensor("action", "int64")))
                .shard("train", record.build())
                .write();
        try (DatasetReader reader = DatasetFormats.open(files.root())) {
            TaskInfo task = reader.tasks().getFirst();
            assertEquals(1, task.observationWidth());
            assertEquals(FeatureType.INT64, task.action().type());
            assertEquals(0, task.discreteActions());
            Episode episode = reader.next();
            assertArrayEquals(new float[] {4, 2}, episode.column(Column.ACTION));
            assertArrayEquals(new float[] {1, 2}, episode.column(Column.OBSERVATION));
        }
        files.steps(withMarks(tensor("observation", "float32"), classLabel("action", 5)))
                .write();
        try (DatasetReader reader = DatasetFormats.open(files.root())) {
            assertEquals(5, reader.tasks().getFirst().discreteActions());
        }
    }

    @Test
    void tensorsEncodedAsBytesAreUnpackedByTheirType() throws IOException {
        RldsFiles files = files().steps(withMarks(
                        nested(
                                "observation",
                                encoded("a", "float64", "bytes", 2),
                                encoded("b", "float32", "zlib", 2),
                                encoded("c", "float16", "zlib"),
                                encoded("d", "int16", "bytes", 1),
                                encoded("e", "uint8", "zlib", 2)),
                        tensor("action", "float32", 1)))
                .shard(
                        "train",
                        new Record()
                                .bytes("steps/observation/a", doubles(1.5, -2), doubles(3, 4), doubles(0, 0))
                                .bytes("steps/observation/b", zip(floats(5, 6)), zip(floats(7, 8)), zip(floats(0, 0)))
                                .bytes("steps/observation/c", zip(half(0.5f)), zip(half(-4)), zip(half(0)))
                                .bytes("steps/observation/d", new byte[] {-1, -1}, new byte[] {0, 1}, new byte[2])
                                .bytes(
                                        "steps/observation/e",
                                        zip(new byte[] {-1, 2}),
                                        zip(new byte[2]),
                                        zip(new byte[2]))
                                .floats("steps/action", 1, 2, 3)
                                .marks(3, false)
                                .build())
                .write();
        Episode episode = readAll(files.root(), ReaderOptions.defaults()).getFirst();
        assertArrayEquals(
                new float[] {1.5f, -2, 5, 6, .5f, -1, 255, 2, 3, 4, 7, 8, -4, 256, 0, 0},
                episode.column(Column.OBSERVATION));
    }

    @Test
    void encodedValuesOfAnotherSizeAreRefused() throws IOException {
        String[] raw = withMarks(encoded("observation", "float32", "bytes", 2), tensor("action", "float32", 1));
        String[] zipped = withMarks(encoded("observation", "float32", "zlib", 2), tensor("action", "float32", 1));
        Record rest = new Record().floats("steps/action", 1, 2).marks(2, true);
        assertEpisodeRefused(
                "holds", "has 12 encoded bytes", raw, rest.bytes("steps/observation", new byte[4], new byte[8]));
        assertEpisodeRefused("holds", "has 4 bytes", raw, rest.bytes("steps/observation", new byte[4], new byte[12]));
        for (byte[] bad : List.of(zip(new byte[7]), zip(new byte[9]), zip(new byte[1 << 22]))) {
            assertEpisodeRefused(
                    "holds", "does not decompress to 8", zipped, rest.bytes("steps/observation", bad, bad));
        }
        byte[] cut = Arrays.copyOf(zip(new byte[8]), 6);
        assertEpisodeRefused("holds", "does not decompress", zipped, rest.bytes("steps/observation", cut, cut));
        byte[] noise = {1, 2, 3, 4, 5, 6, 7, 8};
        assertEpisodeRefused("holds", "cannot be decompressed", zipped, rest.bytes("steps/observation", noise, noise));
        String[] vast = withMarks(encoded("observation", "float32", "zlib", 1 << 26), tensor("action", "float32", 1));
        assertEpisodeRefused("holds", "encoded bytes", vast, rest.bytes("steps/observation", noise, noise));
    }

    @Test
    void oldDeclarationsAreUnderstood() throws IOException {
        byte[] record = episode(1, 3, true).build();
        String prefix = "tensorflow_datasets.core.features.";
        String oldTensor = "{\"type\": \"" + prefix + "tensor_feature.Tensor\", \"content\": {\"shape\": [%s],"
                + " \"dtype\": \"%s\", \"encoding\": \"none\"}}";
        String steps = named("observation", oldDict(prefix, named("state", oldTensor.formatted("2", "float32"))))
                + ", " + named("action", oldTensor.formatted("1", "float32"))
                + ", " + named("reward", oldTensor.formatted("", "float32"))
                + ", " + named("is_first", oldTensor.formatted("", "bool"))
                + ", " + named("is_last", oldTensor.formatted("", "bool"))
                + ", " + named("is_terminal", oldTensor.formatted("", "bool"));
        String oldest = oldDict(
                prefix,
                named(
                        "steps",
                        "{\"type\": \"" + prefix
                                + "dataset_feature.Dataset\", \"content\": {\"length\": null, \"feature\": "
                                + oldDict(prefix, steps) + "}}"));
        RldsFiles files = files().features(oldest).shard("train", record).write();
        assertArrayEquals(
                new float[] {10, 11},
                readAll(files.root(), ReaderOptions.defaults()).getFirst().column(Column.ACTION));
        files.steps(plain()).write();
        String modern = Files.readString(files.root().resolve("features.json"));
        String inner = LeRobotInfo.JSON.readTree(modern).path("featuresDict").toString();
        files.features("{\"type\": \"" + prefix + "features_dict.FeaturesDict\", \"proto_cls\":"
                        + " \"tensorflow_datasets.FeaturesDict\", \"content\": "
                        + LeRobotInfo.JSON.writeValueAsString(inner) + "}")
                .write();
        assertArrayEquals(
                new float[] {10, 11},
                readAll(files.root(), ReaderOptions.defaults()).getFirst().column(Column.ACTION));
    }

    private static String oldDict(String prefix, String fields) {
        return "{\"type\": \"" + prefix + "features_dict.FeaturesDict\", \"content\": {" + fields + "}}";
    }

    @Test
    void filesNumberedWithoutATotalAreFound() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard("train", episode(1, 3, true).build())
                .shard("train", episode(2, 3, true).build())
                .write();
        for (int i = 0; i < 2; i++) {
            Files.move(files.file("train", i), files.root().resolve("toy_arm-train.tfrecord-0000" + i));
        }
        edit(files.root().resolve("dataset_info.json"), text -> text.replace("{SHARD_X_OF_Y}", "{SHARD_INDEX}"));
        assertEquals(2, readAll(files.root(), ReaderOptions.defaults()).size());
    }

    @Test
    void instructionsAreReadAndSeveralOfThemAreReported() throws IOException {
        String[] fields = withMarks(
                nested("observation", tensor("state", "float32", 2)),
                tensor("action", "float32", 1),
                text("language_instruction"));
        byte[] pick = "pick up the cup".getBytes(StandardCharsets.UTF_8);
        byte[] place = "place it".getBytes(StandardCharsets.UTF_8);
        RldsFiles files = files().steps(fields)
                .shard(
                        "train",
                        episode(1, 2, true)
                                .bytes("steps/language_instruction", pick, pick)
                                .build(),
                        episode(2, 2, true)
                                .bytes("steps/language_instruction", place, place)
                                .build())
                .write();
        assertEquals(
                List.of("pick up the cup", "place it"),
                readAll(files.root(), ReaderOptions.defaults()).stream()
                        .map(Episode::instruction)
                        .toList());
        assertEquals(
                List.of("different instructions (language_instruction) were put under the one task toy_arm/v1"),
                warningsAfterReading(files.root(), ReaderOptions.defaults()));
    }

    // ---- the end of an episode

    @Test
    void theLastStepIsDroppedAndOnlyTerminalStepsAreDone() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard(
                        "train",
                        episode(1, 4, true).build(),
                        episode(2, 4, false).build())
                .write();
        try (DatasetReader reader = DatasetFormats.open(files.root())) {
            Episode ended = reader.next();
            assertEquals(3, ended.length());
            assertArrayEquals(new float[] {1, 0, 1, 1, 1, 2}, ended.column(Column.OBSERVATION));
            assertArrayEquals(new float[] {10, 11, 12}, ended.column(Column.ACTION));
            assertArrayEquals(new float[] {1, 2, 3}, ended.column(Column.REWARD));
            assertArrayEquals(new float[] {0, 0, 1}, ended.column(Column.DONE));
            Episode cutOff = reader.next();
            assertEquals(3, cutOff.length());
            assertArrayEquals(new float[3], cutOff.column(Column.DONE));
            assertNull(reader.next());
            assertEquals(List.of(), reader.warnings());
        }
    }

    @Test
    void rewardsOfLastStepsAreReportedAndKeptOnDemand() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard(
                        "train",
                        episode(1, 3, true).floats("steps/reward", 0, 0, 1).build(),
                        episode(2, 3, false).floats("steps/reward", 0, 0, .5f).build())
                .write();
        List<String> warnings = warningsAfterReading(files.root(), ReaderOptions.defaults());
        assertEquals(1, warnings.size());
        assertTrue(warnings.getFirst().contains("last steps of 2 episodes carry rewards of 1.5"), warnings.toString());
        List<Episode> kept = readAll(files.root(), ReaderOptions.defaults().withLastStep());
        assertArrayEquals(new float[] {0, 0, 1}, kept.get(0).column(Column.REWARD));
        assertArrayEquals(new float[] {10, 11, 12}, kept.get(0).column(Column.ACTION));
        assertArrayEquals(new float[] {0, 0, 1}, kept.get(0).column(Column.DONE));
        assertArrayEquals(new float[] {0, 0, 0}, kept.get(1).column(Column.DONE));
        assertEquals(
                List.of(),
                warningsAfterReading(files.root(), ReaderOptions.defaults().withLastStep()));
    }

    @Test
    void anUnmarkedLastStepIsKept() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard(
                        "train",
                        episode(1, 3, false).longs("steps/is_last", 0, 0, 0).build(),
                        episode(2, 3, true).longs("steps/is_first", 0, 0, 0).build())
                .write();
        List<Episode> episodes = readAll(files.root(), ReaderOptions.defaults());
        assertEquals(List.of(3, 2), episodes.stream().map(Episode::length).toList());
        assertArrayEquals(new float[3], episodes.getFirst().column(Column.DONE));
        List<String> warnings = warningsAfterReading(files.root(), ReaderOptions.defaults());
        assertEquals(2, warnings.size());
        assertTrue(warnings.get(0).contains("1 episodes end without is_last"), warnings.toString());
        assertTrue(warnings.get(1).contains("1 episodes begin without is_first"), warnings.toString());
    }

    @Test
    void withoutIsLastNothingIsGuessed() throws IOException {
        String[] fields = {
            tensor("observation", "float32", 1), tensor("action", "float32", 1), tensor("is_first", "bool")
        };
        Record record = new Record()
                .floats("steps/observation", 1, 2)
                .floats("steps/action", 3, 4)
                .longs("steps/is_first", 1, 0);
        RldsFiles files = files().steps(fields).shard("train", record.build()).write();
        assertRefused(MalformedDatasetException.class, "no is_last", files.root());
        try (DatasetReader reader =
                DatasetFormats.open(files.root(), ReaderOptions.defaults().withLastStep())) {
            Episode episode = reader.next();
            assertArrayEquals(new float[] {3, 4}, episode.column(Column.ACTION));
            assertFalse(episode.has(Column.DONE) || reader.tasks().getFirst().hasDone());
            assertNull(reader.next());
            assertEquals(List.of(), reader.warnings());
        }
    }

    @Test
    void episodesWithoutAnActionAreLeftOut() throws IOException {
        Record nothing = new Record()
                .floats("steps/observation/state")
                .floats("steps/action")
                .floats("steps/reward")
                .floats("steps/discount")
                .longs("steps/is_first")
                .longs("steps/is_last")
                .longs("steps/is_terminal");
        RldsFiles files = files().steps(plain())
                .shard(
                        "train",
                        episode(1, 1, true).build(),
                        nothing.build(),
                        episode(2, 2, true).build())
                .write();
        try (DatasetReader reader = DatasetFormats.open(files.root())) {
            assertEquals(3, reader.episodeCount());
            List<Episode> episodes = readAll(reader);
            assertEquals(
                    List.of(2L), episodes.stream().map(Episode::sourceEpisode).toList());
            assertEquals(1, reader.episodeCount());
            assertEquals(List.of("2 episodes without an action were left out"), reader.warnings());
        }
    }

    @Test
    void contradictoryMarksAreRefused() throws IOException {
        assertEpisodeRefused(
                "holds",
                "is_first is set at step 1",
                plain(),
                episode(1, 3, true).longs("steps/is_first", 1, 1, 0));
        assertEpisodeRefused(
                "holds", "set at step 0", plain(), episode(1, 3, true).longs("steps/is_last", 1, 0, 1));
        assertEpisodeRefused(
                "holds", "set at step 1", plain(), episode(1, 3, true).longs("steps/is_terminal", 0, 1, 1));
        assertEpisodeRefused(
                "holds",
                "is_terminal without is_last",
                plain(),
                episode(1, 3, true).longs("steps/is_last", 0, 0, 0));
        assertEpisodeRefused(
                "holds", "is_last holds 2", plain(), episode(1, 3, true).longs("steps/is_last", 0, 0, 2));
    }

    // ---- images

    @Test
    void aNamedImageIsReadAndOthersAreReported() throws IOException {
        String[] fields = withMarks(
                nested(
                        "observation",
                        tensor("state", "float32", 2),
                        image("front", 2, 3, 3),
                        image("depth", 2, 3, 1),
                        image("any", -1, -1, 3)),
                tensor("action", "float32", 1),
                tensor("reward", "float32"));
        byte[] colours = png(BufferedImage.TYPE_INT_RGB, 3, 2, 0x010203);
        byte[] gray = png(BufferedImage.TYPE_BYTE_GRAY, 3, 2, 128);
        RldsFiles files = files().steps(fields)
                .shard(
                        "train",
                        episode(1, 3, true)
                                .bytes(
                                        "steps/observation/front",
                                        colours,
                                        png(BufferedImage.TYPE_INT_RGB, 3, 2, 0x405060),
                                        colours)
                                .bytes("steps/observation/depth", gray, gray, gray)
                                .bytes("steps/observation/any", gray, gray, gray)
                                .build())
                .write();
        assertEquals(
                List.of(
                        "field observation/depth is an image and was not asked for; it was left out",
                        "field observation/front is an image and was not asked for; it was left out",
                        "fields that were left out: observation/any (is an image of unknown size)"),
                warningsAfterReading(files.root(), ReaderOptions.defaults()));
        try (DatasetReader reader =
                DatasetFormats.open(files.root(), ReaderOptions.defaults().withImage("front"))) {
            assertEquals(
                    FeatureSpec.image("observation/front", 3, 2, 3),
                    reader.tasks().getFirst().image().orElseThrow());
            Episode episode = reader.next();
            assertEquals(2, episode.length());
            assertArrayEquals(
                    new byte[] {1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3},
                    Arrays.copyOf(episode.image(), 18));
            assertEquals(36, episode.image().length);
            assertEquals(0x50, episode.image()[24]);
            assertTrue(episode.has(Column.OBSERVATION));
        }
        Episode depth = readAll(files.root(), ReaderOptions.defaults().withImage("observation/depth"))
                .getFirst();
        assertEquals((byte) 128, depth.image()[0]);
        assertRefused(
                UnsupportedFormatException.class,
                "unknown size",
                files.root(),
                ReaderOptions.defaults().withImage("any"));
        assertRefused(
                UnsupportedFormatException.class,
                "observation/state",
                files.root(),
                ReaderOptions.defaults().withImage("state"));
        assertRefused(
                MalformedDatasetException.class,
                "no field rear",
                files.root(),
                ReaderOptions.defaults().withImage("rear"));
    }

    @Test
    void anObservationThatIsOneImageIsRead() throws IOException {
        byte[] frame = png(BufferedImage.TYPE_BYTE_GRAY, 2, 2, 77);
        Record record = new Record()
                .bytes("steps/observation", frame, frame)
                .longs("steps/action", 3, 0)
                .marks(2, true);
        RldsFiles files = files().steps(withMarks(image("observation", 2, 2, 1), tensor("action", "int64")))
                .shard("train", record.build())
                .write();
        try (DatasetReader reader = DatasetFormats.open(files.root())) {
            TaskInfo task = reader.tasks().getFirst();
            assertTrue(task.observation().isEmpty() && task.hasImages());
            assertArrayEquals(new byte[] {77, 77, 77, 77}, reader.next().image());
            assertEquals(List.of(), reader.warnings());
        }
        files.steps(withMarks(
                        nested("observation", image("left", 2, 2, 1), image("right", 2, 2, 1)),
                        tensor("action", "int64")))
                .write();
        assertRefused(MalformedDatasetException.class, "2 images", files.root());
    }

    @Test
    void imagesThatAreNoneOrOfAnotherSizeAreRefused() throws IOException {
        String[] gray = withMarks(image("observation", 2, 3, 1), tensor("action", "float32", 1));
        byte[] good = png(BufferedImage.TYPE_BYTE_GRAY, 3, 2, 1);
        byte[] large = png(BufferedImage.TYPE_BYTE_GRAY, 3, 3, 1);
        byte[] coloured = png(BufferedImage.TYPE_INT_RGB, 3, 2, 0x010203);
        Record rest = new Record().floats("steps/action", 1, 2).marks(2, true);
        assertEpisodeRefused("of step 0", "3x3", gray, rest.bytes("steps/observation", large, good));
        assertEpisodeRefused("of step 0", "colours", gray, rest.bytes("steps/observation", coloured, good));
        assertEpisodeRefused("of step 0", "no known kind", gray, rest.bytes("steps/observation", new byte[9], good));
        assertEpisodeRefused("of step 0", "why", gray, rest.bytes("steps/observation", Arrays.copyOf(good, 40), good));
        String[] vast = withMarks(image("observation", 8192, 8192, 1), tensor("action", "float32", 1));
        assertEpisodeRefused("holds", "encoded bytes", vast, rest.bytes("steps/observation", good, good));
    }

    // ---- damage

    @Test
    void damagedRecordsAreRefusedBeforeMemoryIsTaken() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard("train", episode(1, 3, true).build())
                .write();
        Path shard = files.file("train", 0);
        byte[] good = Files.readAllBytes(shard);
        for (long claim : new long[] {1L << 60, -1, Long.MAX_VALUE, Long.MIN_VALUE, good.length}) {
            byte[] lying = good.clone();
            System.arraycopy(RldsFiles.header(claim), 0, lying, 0, 12);
            Files.write(shard, lying);
            assertRefused(MalformedDatasetException.class, Long.toUnsignedString(claim), files.root());
        }
        byte[] length = good.clone();
        length[3] ^= 1;
        Files.write(shard, length);
        assertRefused(MalformedDatasetException.class, "damaged record header", files.root());
        byte[] payload = good.clone();
        payload[good.length / 2] ^= 1;
        Files.write(shard, payload);
        assertRefused(MalformedDatasetException.class, "damaged record", files.root());
        byte[] checksum = good.clone();
        checksum[good.length - 1] ^= 1;
        Files.write(shard, checksum);
        assertRefused(MalformedDatasetException.class, "damaged record", files.root());
        for (int cut : new int[] {5, 13, good.length - 4, good.length - 1}) {
            Files.write(shard, Arrays.copyOf(good, cut));
            assertRefused(MalformedDatasetException.class, "ends within a record", files.root());
        }
        Files.write(shard, Arrays.copyOf(good, good.length + 3));
        assertRefused(MalformedDatasetException.class, "ends within a record's header", files.root());
        Files.write(shard, new byte[0]);
        assertRefused(MalformedDatasetException.class, "only 0 records", files.root());
        ByteArrayOutputStream twice = new ByteArrayOutputStream();
        twice.writeBytes(good);
        twice.writeBytes(good);
        Files.write(shard, twice.toByteArray());
        assertRefused(MalformedDatasetException.class, "more than 1 records", files.root());
        ByteArrayOutputStream zipped = new ByteArrayOutputStream();
        try (GZIPOutputStream gzip = new GZIPOutputStream(zipped)) {
            gzip.write(good);
        }
        Files.write(shard, zipped.toByteArray());
        assertRefused(UnsupportedFormatException.class, "gzip", files.root());
    }

    @Test
    void episodesBeforeTheDamageAreDelivered() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard(
                        "train",
                        episode(1, 3, true).build(),
                        episode(2, 4, false).build())
                .write();
        byte[] bytes = Files.readAllBytes(files.file("train", 0));
        bytes[bytes.length - 20] ^= 4;
        Files.write(files.file("train", 0), bytes);
        try (DatasetReader reader = DatasetFormats.open(files.root())) {
            assertEquals(2, reader.next().length());
            MalformedDatasetException error = assertThrows(MalformedDatasetException.class, reader::next);
            assertTrue(error.getMessage().contains("record 1 at byte"), error.getMessage());
        }
    }

    @Test
    void everyChangedBitOfARecordFileIsSeen() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard(
                        "train",
                        episode(1, 3, true).build(),
                        episode(2, 4, false).build())
                .write();
        Path shard = files.file("train", 0);
        byte[] good = Files.readAllBytes(shard);
        for (int at = 0; at < good.length; at++) {
            byte[] damaged = good.clone();
            damaged[at] ^= (byte) (1 << at % 8);
            Files.write(shard, damaged);
            assertThrows(DatasetException.class, () -> readAll(files.root(), ReaderOptions.defaults()), "byte " + at);
        }
    }

    @Test
    void damagedMetadataGivesTypedErrorsOrValues() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard("train", episode(1, 3, true).build())
                .write();
        Random random = new Random(11);
        int refused = 0;
        for (String name : List.of("features.json", "dataset_info.json")) {
            Path file = files.root().resolve(name);
            byte[] good = Files.readAllBytes(file);
            for (int i = 0; i < 200; i++) {
                byte[] damaged = i % 4 == 0 ? Arrays.copyOf(good, random.nextInt(good.length)) : good.clone();
                if (damaged.length > 0) {
                    damaged[random.nextInt(damaged.length)] = (byte) ('!' + random.nextInt(90));
                }
                Files.write(file, damaged);
                try {
                    assertTrue(readAll(files.root(), ReaderOptions.defaults()).size() <= 1);
                } catch (DatasetException expected) {
                    assertTrue(expected.getMessage().contains("; fix: "));
                    refused++;
                }
            }
            Files.write(file, good);
        }
        assertTrue(refused >= 150, refused + " of 400");
    }

    @Test
    void recordsThatAreNoEpisodeAreRefused() throws IOException {
        RldsFiles files =
                files().steps(plain()).shard("train", new byte[] {1, 2, 3, 4}).write();
        assertRefused(MalformedDatasetException.class, "cannot be decoded", files.root());
        byte[] open = episode(1, 3, true).build();
        byte[] stray = Arrays.copyOf(open, open.length + 1);
        stray[open.length] = 12; // the end of a group that never began
        assertRefused(
                MalformedDatasetException.class,
                "cannot be decoded",
                new RldsFiles(folder.resolve("stray"))
                        .steps(plain())
                        .shard("train", stray)
                        .write()
                        .root());
    }

    @Test
    void fieldsThatDisagreeAreRefused() throws IOException {
        assertEpisodeRefused(
                "holds",
                "there is no steps/reward",
                plain(),
                episode(1, 3, true).without("steps/reward"));
        assertEpisodeRefused(
                "holds",
                "observation/state has 5 values",
                plain(),
                episode(1, 3, true).floats("steps/observation/state", new float[5]));
        assertEpisodeRefused(
                "is_first has 3",
                "observation/state has 4 steps",
                plain(),
                episode(1, 3, true).floats("steps/observation/state", new float[8]));
        assertEpisodeRefused(
                "is_first has 3",
                "action has 2 steps",
                plain(),
                episode(1, 3, true).floats("steps/action", 1, 2));
        assertEpisodeRefused(
                "is_first has 3",
                "discount has 1 steps",
                plain(),
                episode(1, 3, true).floats("steps/discount", 1));
        assertEpisodeRefused(
                "is_first has 2",
                "is_last has 3 steps",
                plain(),
                episode(1, 3, true).longs("steps/is_first", 1, 0));
        assertEpisodeRefused(
                "is_first has 3",
                "reward has 0 steps",
                plain(),
                episode(1, 3, true).floats("steps/reward"));
        assertEpisodeRefused(
                "FLOAT_LIST",
                "action is a INT64_LIST",
                plain(),
                episode(1, 3, true).longs("steps/action", 1, 2, 3));
        assertEpisodeRefused(
                "INT64_LIST",
                "is_last is a FLOAT_LIST",
                plain(),
                episode(1, 3, true).floats("steps/is_last", 0, 0, 1));
        String[] whole = withMarks(tensor("observation", "int64", 1), tensor("action", "float32", 1));
        Record rest = new Record().floats("steps/action", 1, 2).marks(2, true);
        assertEpisodeRefused("holds", "16777217", whole, rest.longs("steps/observation", 1 << 24 | 1, 0));
        String[] unsigned = withMarks(tensor("observation", "uint64", 1), tensor("action", "float32", 1));
        assertEpisodeRefused("holds", "18446744073709551615", unsigned, rest.longs("steps/observation", -1, 0));
    }

    private int refusedEpisodes;

    private void assertEpisodeRefused(String why, String what, String[] fields, Record record) throws IOException {
        RldsFiles files = new RldsFiles(folder.resolve("refused" + refusedEpisodes++))
                .steps(fields)
                .shard("train", record.build())
                .write();
        MalformedDatasetException error =
                assertThrows(MalformedDatasetException.class, () -> readAll(files.root(), ReaderOptions.defaults()));
        assertTrue(error.getMessage().contains(what), error.getMessage());
        assertTrue(why.equals("holds") || error.getMessage().contains(why), error.getMessage());
        assertTrue(error.getMessage().contains("episode 0"), error.getMessage());
    }

    @Test
    void missingFilesAreNamed() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard("train", episode(1, 3, true).build())
                .shard("train", episode(2, 3, true).build())
                .shard("train", episode(3, 3, true).build())
                .shard("test", episode(4, 3, true).build())
                .write();
        Files.delete(files.file("train", 1));
        assertRefused(DatasetReadException.class, "toy_arm-train.tfrecord-00001-of-00003 is missing", files.root());
        assertEquals(
                1,
                readAll(files.root(), ReaderOptions.defaults().withSplits(List.of("test")))
                        .size());
        assertRefused(UnsupportedFormatException.class, "with its folder", files.file("train", 0));
        Files.delete(files.root().resolve("dataset_info.json"));
        assertRefused(DatasetReadException.class, "dataset_info.json", files.root());
        Files.delete(files.root().resolve("features.json"));
        assertRefused(DatasetReadException.class, "features.json", files.root());
    }

    @Test
    void declarationsThatCannotBeReadAreRefused() throws IOException {
        byte[] record = episode(1, 3, true).build();
        RldsFiles files = files().steps(plain()).shard("train", record).write();
        Path json = files.root().resolve("features.json");
        String good = Files.readString(json);
        for (String[] change : new String[][] {
            {"\"dtype\": \"float32\"", "\"dtype\": \"complex64\"", "'complex64'"},
            {"\"dtype\": \"float32\"", "\"dtype\": \"\"", "''"},
            {"\"encoding\": \"none\"", "\"encoding\": \"lzma\"", "lzma"},
            {"\"steps\"", "\"frames\"", "no sequence of steps"},
            {"\"sequence\"", "\"tensor\"", "no sequence of steps"},
        }) {
            Files.writeString(json, good.replace(change[0], change[1]));
            assertRefused(UnsupportedFormatException.class, change[2], files.root());
        }
        for (String[] change : new String[][] {
            {"[\"2\"]", "[\"99999999999\"]", "99999999999"},
            {"[\"2\"]", "[\"8193\", \"8193\"]", "8193"},
            {"\"reward\": {", "\"reward\": {\"image\": {}, ", "field reward"},
            {"\"action\"", "\"deed\"", "no field action"},
            {"\"observation\"", "\"sight\"", "no numbers and 0 images"},
        }) {
            Files.writeString(json, good.replace(change[0], change[1]));
            assertRefused(MalformedDatasetException.class, change[2], files.root());
        }
        Files.writeString(json, good.replace("[\"2\"]", "[\"-1\"]"));
        assertRefused(MalformedDatasetException.class, "no numbers and 0 images", files.root());
    }

    @Test
    void bookkeepingThatCannotBeTrueIsRefused() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard("train", episode(1, 3, true).build())
                .write();
        Path json = files.root().resolve("dataset_info.json");
        String good = Files.readString(json);
        String template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}";
        for (String[] change : new String[][] {
            {"[\"1\"]", "[\"2\"]", "only 1 records"},
            {"[\"1\"]", "[\"0\"]", "more than 0 records"},
            {"[\"1\"]", "[\"-1\"]", "length \"-1\""},
            {"[\"1\"]", "[\"many\"]", "many"},
            {"[\"1\"]", "[\"999999999999999999\"]", "999999999999999999"},
            {"[\"1\"]", "[]", "no shardLengths"},
            {"\"shardLengths\"", "\"lengths\"", "no shardLengths"},
            {"\"name\": \"train\"", "\"name\": \"\"", "split has no name"},
            {"\"name\": \"toy_arm\"", "\"name\": \"\"", "no name"},
            {"\"splits\"", "\"parts\"", "splits is missing"},
            {template, "../../../../../{SPLIT}.tfrecord", "leads out of the data set"},
            {template, "/etc/passwd", "leads out of the data set"},
            {template, "{COLOUR}", "unknown fields"},
            {template, "", ""},
        }) {
            Files.writeString(json, good.replace(change[0], change[1]));
            if (change[2].isEmpty()) {
                assertEquals(1, readAll(files.root(), ReaderOptions.defaults()).size());
            } else {
                assertRefused(MalformedDatasetException.class, change[2], files.root());
            }
        }
        Files.writeString(json, good.replace("\"tfrecord\"", "\"array_record\""));
        assertRefused(UnsupportedFormatException.class, "array_record", files.root());
        Files.writeString(json, good.replaceAll("(?s)\"splits\": \\[(.*)]\\}", "\"splits\": [$1, $1]}"));
        assertRefused(MalformedDatasetException.class, "listed twice", files.root());
    }

    // ---- into a store

    @Test
    void aStoreIsBuiltFromTheFolderAlone() throws IOException {
        files().steps(plain())
                .shard(
                        "train",
                        episode(1, 3, true).build(),
                        episode(2, 4, false).build())
                .shard("train", episode(3, 2, true).build())
                .write();
        Path target = folder.resolve("store");
        ImportReport report = ImportJob.importDataset(
                folder.resolve("toy_arm"), target, ImportOptions.defaults(), ProgressListener.NONE);
        assertEquals(3, report.episodes());
        assertEquals(6, report.rows());
        try (TrajectoryStore store = TrajectoryStore.open(target)) {
            store.verify();
            assertEquals(List.of("toy_arm/v1"), store.taskIds());
            assertEquals("RLDS TFRecord", store.sources().getFirst().format());
            assertEquals(6, store.episode(1).episodeReturn());
        }
    }

    @Test
    void nothingIsPublishedWhenALaterFileIsDamaged() throws IOException {
        RldsFiles files = files().steps(plain())
                .shard("train", episode(1, 3, true).build())
                .shard("train", episode(2, 4, false).build())
                .write();
        byte[] bytes = Files.readAllBytes(files.file("train", 1));
        bytes[bytes.length - 20] ^= 4;
        Files.write(files.file("train", 1), bytes);
        Path target = folder.resolve("store");
        assertThrows(
                MalformedDatasetException.class,
                () -> ImportJob.importDataset(files.root(), target, ImportOptions.defaults(), ProgressListener.NONE));
        assertFalse(Files.exists(target));
    }

    @Test
    void whatOnlyRldsKnowsIsRefusedElsewhere() throws IOException {
        Path other = Files.createDirectories(folder.resolve("lerobot/meta")).getParent();
        Files.writeString(other.resolve("meta/info.json"), "{}");
        assertRefused(
                UnsupportedFormatException.class,
                "splits are chosen",
                other,
                ReaderOptions.defaults().withSplits(List.of("train")));
        assertRefused(
                UnsupportedFormatException.class,
                "last steps are to be kept",
                other,
                ReaderOptions.defaults().withLastStep());
    }

    private static byte[] doubles(double... values) {
        ByteBuffer buffer = ByteBuffer.allocate(8 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        for (double value : values) {
            buffer.putDouble(value);
        }
        return buffer.array();
    }

    private static byte[] floats(float... values) {
        ByteBuffer buffer = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        for (float value : values) {
            buffer.putFloat(value);
        }
        return buffer.array();
    }

    private static byte[] half(float value) {
        return ByteBuffer.allocate(2)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putShort(Float.floatToFloat16(value))
                .array();
    }

    private static byte[] zip(byte[] raw) {
        try (Deflater deflater = new Deflater()) {
            deflater.setInput(raw);
            deflater.finish();
            byte[] out = new byte[raw.length + 64];
            return Arrays.copyOf(out, deflater.deflate(out));
        }
    }

    /** A picture of one colour; gray ones get the value itself, unchanged by any colour space. */
    private static byte[] png(int type, int width, int height, int value) throws IOException {
        BufferedImage picture = new BufferedImage(width, height, type);
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                if (type == BufferedImage.TYPE_BYTE_GRAY) {
                    picture.getRaster().setSample(x, y, 0, value);
                } else {
                    picture.setRGB(x, y, value);
                }
            }
        }
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        assertTrue(ImageIO.write(picture, "png", out));
        return out.toByteArray();
    }
}
