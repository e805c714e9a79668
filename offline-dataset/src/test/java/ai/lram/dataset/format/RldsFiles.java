package ai.lram.dataset.format;

import ai.lram.dataset.tfexample.BytesList;
import ai.lram.dataset.tfexample.Example;
import ai.lram.dataset.tfexample.Feature;
import ai.lram.dataset.tfexample.Features;
import ai.lram.dataset.tfexample.FloatList;
import ai.lram.dataset.tfexample.Int64List;
import com.google.protobuf.ByteString;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32C;

/** Writes RLDS data sets for tests, laid out as TensorFlow Datasets prepares them. */
final class RldsFiles {
    private final Path root;
    private final Map<String, List<List<byte[]>>> splits = new LinkedHashMap<>();
    private String features = "";

    RldsFiles(Path root) {
        this.root = root;
    }

    Path root() {
        return root;
    }

    /** Declares the fields of a step, as written by {@link #tensor} and its like. */
    RldsFiles steps(String... fields) {
        features =
                """
                {"pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
                 "featuresDict": {"features": {
                  "episode_metadata": %s,
                  "steps": {"pythonClassName": "tensorflow_datasets.core.features.dataset_feature.Dataset",
                   "sequence": {"length": "-1", "feature": %s}}}}}
                """
                        .formatted(dictOf(text("file_path")), dictOf(fields));
        return this;
    }

    RldsFiles features(String json) {
        features = json;
        return this;
    }

    /** Adds one file of a split; each record is an episode. */
    RldsFiles shard(String split, byte[]... records) {
        splits.computeIfAbsent(split, key -> new ArrayList<>()).add(List.of(records));
        return this;
    }

    RldsFiles write() throws IOException {
        Files.createDirectories(root);
        Files.writeString(root.resolve("features.json"), features);
        StringBuilder entries = new StringBuilder();
        for (Map.Entry<String, List<List<byte[]>>> split : splits.entrySet()) {
            List<String> lengths = new ArrayList<>();
            for (int i = 0; i < split.getValue().size(); i++) {
                List<byte[]> records = split.getValue().get(i);
                lengths.add("\"" + records.size() + "\"");
                Files.write(file(split.getKey(), i), frame(records));
            }
            entries.append(entries.isEmpty() ? "" : ",\n")
                    .append(
                            """
                            {"filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}", "name": "%s",
                             "numBytes": "1", "shardLengths": %s}"""
                                    .formatted(split.getKey(), lengths));
        }
        Files.writeString(
                root.resolve("dataset_info.json"),
                """
                {"name": "toy_arm", "configName": "v1", "version": "1.0.0", "fileFormat": "tfrecord",
                 "description": "made by a test", "splits": [%s]}
                """
                        .formatted(entries));
        return this;
    }

    Path file(String split, int shard) {
        return root.resolve("toy_arm-%s.tfrecord-%05d-of-%05d"
                .formatted(split, shard, splits.get(split).size()));
    }

    /** Frames records as a TFRecord file does. */
    static byte[] frame(List<byte[]> records) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (byte[] record : records) {
            out.writeBytes(header(record.length));
            out.writeBytes(record);
            out.writeBytes(little(4).putInt(masked(record)).array());
        }
        return out.toByteArray();
    }

    /** A record's header with a good checksum, whatever it claims. */
    static byte[] header(long length) {
        byte[] bytes = little(8).putLong(length).array();
        return little(12).put(bytes).putInt(masked(bytes)).array();
    }

    private static int masked(byte[] bytes) {
        CRC32C crc = new CRC32C();
        crc.update(bytes);
        long value = crc.getValue();
        return (int) ((value >>> 15 | value << 17) + 0xa282ead8L);
    }

    private static ByteBuffer little(int size) {
        return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    }

    static String tensor(String name, String dtype, int... shape) {
        return encoded(name, dtype, "none", shape);
    }

    static String encoded(String name, String dtype, String encoding, int... shape) {
        return named(
                name,
                """
                {"pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor",
                 "tensor": {"shape": %s, "dtype": "%s", "encoding": "%s"}}"""
                        .formatted(shape(shape), dtype, encoding));
    }

    static String text(String name) {
        return named(
                name,
                """
                {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {},
                 "description": "words"}""");
    }

    static String image(String name, int... shape) {
        return named(
                name,
                """
                {"image": {"dtype": "uint8", "encodingFormat": "png", "shape": %s},
                 "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image"}"""
                        .formatted(shape(shape)));
    }

    static String classLabel(String name, int classes) {
        return named(
                name,
                """
                {"pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
                 "classLabel": {"numClasses": "%d"}}"""
                        .formatted(classes));
    }

    /** A nested dictionary as a field. */
    static String nested(String name, String... fields) {
        return named(name, dictOf(fields));
    }

    private static String dictOf(String... fields) {
        return """
               {"pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
                "featuresDict": {"features": {%s}}}"""
                .formatted(String.join(",\n", fields));
    }

    static String named(String name, String json) {
        return "\"" + name + "\": " + json;
    }

    private static String shape(int... sizes) {
        if (sizes.length == 0) {
            return "{}";
        }
        List<String> texts = new ArrayList<>();
        for (int size : sizes) {
            texts.add("\"" + size + "\"");
        }
        return "{\"dimensions\": " + texts + "}";
    }

    /** Collects the lists of one record. */
    static final class Record {
        private final Map<String, Feature> lists = new LinkedHashMap<>();

        Record() {
            bytes("episode_metadata/file_path", "somewhere".getBytes(StandardCharsets.UTF_8));
        }

        /** Boolean marks as they stand in an episode of {@code steps} steps, its last one marked. */
        Record marks(int steps, boolean terminal) {
            long[] first = new long[steps];
            long[] last = new long[steps];
            long[] end = new long[steps];
            first[0] = 1;
            last[steps - 1] = 1;
            end[steps - 1] = terminal ? 1 : 0;
            return longs("steps/is_first", first).longs("steps/is_last", last).longs("steps/is_terminal", end);
        }

        Record floats(String key, float... values) {
            FloatList.Builder list = FloatList.newBuilder();
            for (float value : values) {
                list.addValue(value);
            }
            lists.put(key, Feature.newBuilder().setFloatList(list).build());
            return this;
        }

        Record longs(String key, long... values) {
            Int64List.Builder list = Int64List.newBuilder();
            for (long value : values) {
                list.addValue(value);
            }
            lists.put(key, Feature.newBuilder().setInt64List(list).build());
            return this;
        }

        Record bytes(String key, byte[]... values) {
            BytesList.Builder list = BytesList.newBuilder();
            for (byte[] value : values) {
                list.addValue(ByteString.copyFrom(value));
            }
            lists.put(key, Feature.newBuilder().setBytesList(list).build());
            return this;
        }

        Record without(String key) {
            lists.remove(key);
            return this;
        }

        byte[] build() {
            return Example.newBuilder()
                    .setFeatures(Features.newBuilder().putAllFeature(lists))
                    .build()
                    .toByteArray();
        }
    }
}
