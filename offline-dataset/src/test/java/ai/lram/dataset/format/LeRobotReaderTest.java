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
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.TestEpisodes;
import ai.lram.dataset.UnsupportedFormatException;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import org.apache.parquet.bytes.BytesInput;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LeRobotReaderTest {
    private static final TaskInfo TASK = TestEpisodes.task("arm", 5, 2);

    @TempDir
    Path folder;

    private Path data() {
        return folder.resolve("d");
    }

    private List<Episode> write(int count) {
        List<Episode> episodes = new ArrayList<>();
        try (LeRobotWriter writer = LeRobotWriter.open(data(), LeRobotSchema.of(TASK))) {
            for (int i = 0; i < count; i++) {
                Episode episode = TestEpisodes.episode(TASK, 10 + 7 * i, i);
                episodes.add(episode);
                writer.append(episode);
                if (i % 3 == 2) {
                    writer.flush();
                }
            }
        }
        return episodes;
    }

    private List<Episode> readAll(ReaderOptions options) {
        List<Episode> episodes = new ArrayList<>();
        try (DatasetReader reader = DatasetFormats.open(data(), options)) {
            for (Episode next = reader.next(); next != null; next = reader.next()) {
                episodes.add(next);
            }
            assertNull(reader.next());
        }
        return episodes;
    }

    private List<Episode> readAll() {
        return readAll(ReaderOptions.defaults());
    }

    private void edit(String file, UnaryOperator<String> change) {
        Path path = data().resolve(file);
        try {
            String before = Files.readString(path, StandardCharsets.UTF_8);
            String after = change.apply(before);
            assertTrue(!before.equals(after), "the edit of " + file + " must change something");
            Files.writeString(path, after, StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void readsWhatTheWriterWrote() {
        List<Episode> written = write(7);
        List<Episode> read = readAll();
        assertEquals(7, read.size());
        for (int i = 0; i < 7; i++) {
            for (Column column : List.of(Column.OBSERVATION, Column.ACTION, Column.REWARD)) {
                assertArrayEquals(written.get(i).column(column), read.get(i).column(column));
            }
            assertEquals(i, read.get(i).sourceEpisode());
            assertEquals(0.02f, read.get(i).column(Column.TIMESTAMP)[1]);
        }
    }

    @Test
    void observationFeaturesAreConcatenatedInTheOrderAskedFor() {
        LeRobotSchema schema = LeRobotSchema.of(
                        "r", 10, FeatureSpec.vector("o", 2), FeatureSpec.vector("a", 1), false, false)
                .with(FeatureSpec.vector("observation.force", 1));
        try (LeRobotWriter writer = LeRobotWriter.open(data(), schema)) {
            writer.append(Episode.builder("t", 2)
                    .column("observation", new float[] {1, 2, 3, 4})
                    .column("action", new float[] {0, 1})
                    .column("observation.force", new float[] {8, 9})
                    .build());
        }
        Episode episode = readAll(
                        ReaderOptions.defaults().withObservations(List.of("observation.force", "observation.state")))
                .getFirst();
        assertArrayEquals(new float[] {8, 1, 2, 9, 3, 4}, episode.column(Column.OBSERVATION));
        assertThrows(
                MalformedDatasetException.class,
                () -> readAll(ReaderOptions.defaults().withObservations(List.of("nope"))));
        assertThrows(
                MalformedDatasetException.class,
                () -> readAll(ReaderOptions.defaults().withAction("nope")));
    }

    @Test
    void discreteActionsAndEndMarksKeepTheirTypes() {
        LeRobotSchema schema =
                LeRobotSchema.of("r", 10, FeatureSpec.vector("o", 1), FeatureSpec.discrete("a"), true, true);
        try (LeRobotWriter writer = LeRobotWriter.open(data(), schema)) {
            writer.append(Episode.builder("t", 3)
                    .column("observation", new float[3])
                    .column("action", new float[] {0, 17, 3})
                    .column("reward", new float[] {1, 2, 3})
                    .column("done", new float[] {0, 0, 1})
                    .build());
        }
        try (DatasetReader reader = DatasetFormats.open(data())) {
            assertTrue(reader.tasks().getFirst().isDiscrete());
            Episode episode = reader.next();
            assertArrayEquals(new float[] {0, 17, 3}, episode.column(Column.ACTION));
            assertArrayEquals(new float[] {0, 0, 1}, episode.column(Column.DONE));
        }
    }

    @Test
    void severalInstructionsBecomeSeveralTasksUnlessOneIsAskedFor() {
        try (LeRobotWriter writer = LeRobotWriter.open(data(), LeRobotSchema.of(TASK))) {
            for (String text : List.of("push", "pull", "push")) {
                writer.append(Episode.builder("arm", 2)
                        .instruction(text)
                        .column("observation", new float[10])
                        .column("action", new float[4])
                        .column("reward", new float[2])
                        .build());
            }
        }
        assertEquals(
                List.of("d/push", "d/pull", "d/push"),
                readAll().stream().map(Episode::taskId).toList());
        try (DatasetReader reader =
                DatasetFormats.open(data(), ReaderOptions.defaults().withTask("one", "dom"))) {
            assertEquals(1, reader.tasks().size());
            assertEquals("one", reader.tasks().getFirst().taskId());
            assertEquals(1, reader.warnings().size());
        }
    }

    @Test
    void readsOldPerEpisodeFilesAndToleratesMissingVideos() throws IOException {
        Files.createDirectories(data().resolve("meta"));
        Files.createDirectories(data().resolve("data/chunk-000"));
        Files.writeString(
                data().resolve("meta/info.json"),
                """
                {"codebase_version": "v2.1", "fps": 10, "robot_type": "x", "total_episodes": 2, "total_frames": 5,
                 "chunks_size": 1000, "unknown": [1],
                 "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
                 "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
                 "features": {"observation.state": {"dtype": "float64", "shape": [2], "names": {"motors": ["a", "b"]}},
                  "action": {"dtype": "float32", "shape": [1], "names": null},
                  "observation.images.cam": {"dtype": "video", "shape": [4, 4, 3], "names": null}}}
                """);
        Files.writeString(data().resolve("meta/tasks.jsonl"), "{\"task_index\": 0, \"task\": \"go\"}\n");
        Files.writeString(
                data().resolve("meta/episodes.jsonl"),
                """
                {"episode_index": 0, "tasks": ["go"], "length": 2}
                {"episode_index": 1, "tasks": ["go"], "length": 3}
                """);
        for (int episode = 0; episode < 2; episode++) {
            int rows = 2 + episode;
            double[] state = new double[rows * 2];
            Arrays.setAll(state, i -> i + 0.5);
            long[] frames = new long[rows];
            Arrays.setAll(frames, i -> i);
            long[] number = new long[rows];
            Arrays.fill(number, episode);
            try (ParquetTableWriter writer = new ParquetTableWriter(
                    data().resolve("data/chunk-000/episode_00000" + episode + ".parquet"),
                    List.of(
                            ParquetTableWriter.Field.list("observation.state", ParquetTableWriter.Kind.DOUBLE, 2),
                            ParquetTableWriter.Field.scalar("action", ParquetTableWriter.Kind.FLOAT),
                            ParquetTableWriter.Field.scalar("frame_index", ParquetTableWriter.Kind.INT64),
                            ParquetTableWriter.Field.scalar("episode_index", ParquetTableWriter.Kind.INT64)),
                    Map.of())) {
                writer.write(new ParquetTableWriter.Batch(rows, List.of(state, new float[rows], frames, number)));
            }
        }
        Path video = data().resolve("videos/chunk-000/observation.images.cam/episode_000001.mp4");
        Files.createDirectories(video.getParent());
        Files.createFile(video);
        try (DatasetReader reader = DatasetFormats.open(data())) {
            assertEquals(
                    List.of("a", "b"),
                    reader.tasks().getFirst().observation().orElseThrow().names());
            assertArrayEquals(
                    new float[] {0.5f, 1.5f, 2.5f, 3.5f}, reader.next().column(Column.OBSERVATION));
            assertEquals(3, reader.next().length());
            assertTrue(
                    reader.warnings().getFirst().contains("1 of 2 episodes"),
                    reader.warnings().toString());
        }
        Files.delete(data().resolve("data/chunk-000/episode_000001.parquet"));
        assertThrows(DatasetReadException.class, this::readAll);
    }

    @Test
    void lyingNumbersInTheMetaFolderAreRefused() {
        write(4);
        for (String[] lie : new String[][] {
            {"\"total_episodes\" : 4", "\"total_episodes\" : 5"},
            {"\"total_episodes\" : 4", "\"total_episodes\" : -1"},
            {"\"total_episodes\" : 4", "\"total_episodes\" : 1e99"},
            {"\"total_frames\" : 82", "\"total_frames\" : 83"},
            {"\"total_frames\" : 82", "\"total_frames\" : 4"},
            {"\"fps\" : 50", "\"fps\" : 0"},
            {"\"fps\" : 50", "\"fps\" : \"often\""},
            {"\"shape\" : [ 5 ]", "\"shape\" : [ 6 ]"},
            {"\"shape\" : [ 5 ]", "\"shape\" : [ -5 ]"},
            {"\"shape\" : [ 5 ]", "\"shape\" : [ 99999999, 99999999 ]"},
            {"\"dtype\" : \"float32\"", "\"nothing\" : 1"},
            {"data/chunk-{chunk_index:03d}", "../{chunk_index:03d}"},
            {"{chunk_index:03d}", "{chunk_index:xd}"},
            {"{chunk_index:03d}", "{planet}"},
            {"\"features\" : {", "\"featuring\" : {"},
            {"{", "["},
        }) {
            edit("meta/info.json", text -> text.replaceFirst(Pattern.quote(lie[0]), Matcher.quoteReplacement(lie[1])));
            MalformedDatasetException error =
                    assertThrows(MalformedDatasetException.class, this::readAll, lie[0] + " -> " + lie[1]);
            assertTrue(
                    error.getMessage().contains("; why: ") && error.getMessage().contains("; fix: "),
                    error.getMessage());
            edit("meta/info.json", text -> text.replaceFirst(Pattern.quote(lie[1]), Matcher.quoteReplacement(lie[0])));
        }
        assertEquals(4, readAll().size());
    }

    @Test
    void unknownVersionsAndTypesAreUnsupported() {
        write(1);
        edit("meta/info.json", text -> text.replace("v3.0", "v9.0"));
        UnsupportedFormatException error = assertThrows(UnsupportedFormatException.class, this::readAll);
        assertTrue(error.getMessage().contains("v9.0"), error.getMessage());
        edit("meta/info.json", text -> text.replace("v9.0", "v3.0").replaceFirst("float32", "complex64"));
        assertThrows(UnsupportedFormatException.class, this::readAll);
    }

    @Test
    void everyTruncatedParquetFileIsRefused() throws IOException {
        write(4);
        List<Path> files;
        try (Stream<Path> walk = Files.walk(data())) {
            files = walk.filter(file -> file.toString().endsWith(".parquet")).toList();
        }
        assertEquals(5, files.size());
        for (Path file : files) {
            byte[] original = Files.readAllBytes(file);
            for (int size : new int[] {0, 3, 12, original.length / 2, original.length - 9, original.length - 1}) {
                Files.write(file, Arrays.copyOf(original, size));
                assertThrows(DatasetException.class, this::readAll, file + " cut to " + size);
            }
            Files.delete(file);
            assertThrows(DatasetException.class, this::readAll, file + " missing");
            Files.write(file, original);
        }
        assertEquals(4, readAll().size());
    }

    @Test
    void flippedBytesOfDataFilesGiveTypedErrorsOrTheSameValues() throws IOException {
        List<Episode> written = write(3);
        Path file = data().resolve("data/chunk-000/file-000.parquet");
        byte[] original = Files.readAllBytes(file);
        Random random = new Random(11);
        int refused = 0;
        for (int i = 0; i < 300; i++) {
            byte[] damaged = original.clone();
            damaged[random.nextInt(damaged.length)] ^= (byte) (1 << random.nextInt(8));
            Files.write(file, damaged);
            List<Episode> read;
            try {
                read = readAll();
            } catch (DatasetException expected) {
                refused++;
                continue;
            }
            for (int e = 0; e < 3; e++) {
                assertArrayEquals(
                        written.get(e).column(Column.OBSERVATION), read.get(e).column(Column.OBSERVATION));
                assertArrayEquals(
                        written.get(e).column(Column.ACTION), read.get(e).column(Column.ACTION));
                assertArrayEquals(
                        written.get(e).column(Column.REWARD), read.get(e).column(Column.REWARD));
            }
        }
        assertTrue(refused > 100, refused + " of 300 refused");
    }

    @Test
    void allSupportedCodecsDecodeAndLyingSizesAreRefused() throws IOException {
        Codecs codecs = new Codecs();
        byte[] data = new byte[5000];
        new Random(1).nextBytes(data);
        Arrays.fill(data, 1000, 4000, (byte) 7);
        for (var codec : List.of(
                CompressionCodecName.UNCOMPRESSED,
                CompressionCodecName.SNAPPY,
                CompressionCodecName.GZIP,
                CompressionCodecName.ZSTD)) {
            byte[] packed = codecs.getCompressor(codec)
                    .compress(BytesInput.from(data))
                    .toInputStream()
                    .readAllBytes();
            assertArrayEquals(
                    data,
                    codecs.getDecompressor(codec)
                            .decompress(BytesInput.from(packed), data.length)
                            .toInputStream()
                            .readAllBytes());
            if (codec != CompressionCodecName.UNCOMPRESSED) {
                for (int size : new int[] {0, 4999, 5001, Integer.MAX_VALUE}) {
                    assertThrows(
                            IOException.class,
                            () -> codecs.getDecompressor(codec).decompress(BytesInput.from(packed), size),
                            codec + " " + size);
                }
            }
        }
        assertThrows(UnsupportedFormatException.class, () -> codecs.getDecompressor(CompressionCodecName.BROTLI));
    }

    @Test
    void imagesInsideTheFilesBecomeChannelsFirstPixels() throws IOException {
        Files.createDirectories(data().resolve("meta/episodes/chunk-000"));
        FeatureSpec spec = FeatureSpec.image("observation.image", 3, 2, 3);
        assertEquals(FeatureType.UINT8, spec.type());
        var frame = new BufferedImage(3, 2, BufferedImage.TYPE_INT_RGB);
        for (int i = 0; i < 6; i++) {
            frame.setRGB(i % 3, i / 3, i << 16 | (i + 10) << 8 | (i + 20));
        }
        var png = new ByteArrayOutputStream();
        ImageIO.write(frame, "png", png);
        ImageTable.write(data(), png.toByteArray());
        Episode episode =
                readAll(ReaderOptions.defaults().withImage("observation.image")).getFirst();
        assertArrayEquals(
                new byte[] {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25}, episode.image());
        edit("meta/info.json", text -> text.replace("[2, 3, 3]", "[4, 3, 3]"));
        assertThrows(
                MalformedDatasetException.class,
                () -> readAll(ReaderOptions.defaults().withImage("observation.image")));
        ImageTable.write(data(), new byte[] {1, 2, 3});
        assertThrows(
                MalformedDatasetException.class,
                () -> readAll(ReaderOptions.defaults().withImage("observation.image")));
    }
}
