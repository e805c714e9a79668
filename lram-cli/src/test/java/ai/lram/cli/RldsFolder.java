package ai.lram.cli;

import ai.lram.dataset.tfexample.Example;
import ai.lram.dataset.tfexample.Feature;
import ai.lram.dataset.tfexample.Features;
import ai.lram.dataset.tfexample.FloatList;
import ai.lram.dataset.tfexample.Int64List;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.CRC32C;

/** A small RLDS data set: splits train and test of one episode each, three steps, the reward on the last one. */
final class RldsFolder {
    private static final String TENSOR = "{\"tensor\": {\"shape\": {}, \"dtype\": \"%s\", \"encoding\": \"none\"}}";

    private RldsFolder() {}

    static Path write(Path root) throws IOException {
        Files.createDirectories(root);
        String real = TENSOR.formatted("float32");
        String mark = TENSOR.formatted("bool");
        Files.writeString(
                root.resolve("features.json"),
                """
                {"featuresDict": {"features": {"steps": {"sequence": {"feature": {"featuresDict": {"features": {
                 "observation": {"featuresDict": {"features": {"a": %s, "b": %s}}},
                 "action": %s, "reward": %s, "is_first": %s, "is_last": %s, "is_terminal": %s}}}}}}}}
                """
                        .formatted(real, real, real, real, mark, mark, mark));
        Files.writeString(
                root.resolve("dataset_info.json"),
                """
                {"name": "toy", "version": "1.0.0", "fileFormat": "tfrecord",
                 "splits": [{"name": "train", "shardLengths": ["1"]}, {"name": "test", "shardLengths": ["1"]}]}
                """);
        byte[] episode = Example.newBuilder()
                .setFeatures(Features.newBuilder()
                        .putFeature("steps/observation/a", floats(1, 2, 3))
                        .putFeature("steps/observation/b", floats(4, 5, 6))
                        .putFeature("steps/action", floats(7, 8, 9))
                        .putFeature("steps/reward", floats(0, 0, 1))
                        .putFeature("steps/is_first", marks(1, 0, 0))
                        .putFeature("steps/is_last", marks(0, 0, 1))
                        .putFeature("steps/is_terminal", marks(0, 0, 1)))
                .build()
                .toByteArray();
        for (String split : List.of("train", "test")) {
            Files.write(root.resolve("toy-" + split + ".tfrecord-00000-of-00001"), frame(episode));
        }
        return root;
    }

    private static Feature floats(float... values) {
        FloatList.Builder list = FloatList.newBuilder();
        for (float value : values) {
            list.addValue(value);
        }
        return Feature.newBuilder().setFloatList(list).build();
    }

    private static Feature marks(long... values) {
        Int64List.Builder list = Int64List.newBuilder();
        for (long value : values) {
            list.addValue(value);
        }
        return Feature.newBuilder().setInt64List(list).build();
    }

    private static byte[] frame(byte[] record) {
        ByteBuffer out = ByteBuffer.allocate(16 + record.length).order(ByteOrder.LITTLE_ENDIAN);
        out.putLong(record.length);
        out.putInt(masked(out.array(), 0, 8)).put(record);
        return out.putInt(masked(record, 0, record.length)).array();
    }

    private static int masked(byte[] bytes, int from, int count) {
        CRC32C crc = new CRC32C();
        crc.update(bytes, from, count);
        return Integer.rotateRight((int) crc.getValue(), 15) + 0xa282ead8;
    }
}
