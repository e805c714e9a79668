package ai.lram.dataset.format;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.conf.ParquetConfiguration;
import org.apache.parquet.conf.PlainParquetConfiguration;
import org.apache.parquet.hadoop.ParquetFileWriter;
import org.apache.parquet.hadoop.ParquetWriter;
import org.apache.parquet.hadoop.api.WriteSupport;
import org.apache.parquet.io.LocalOutputFile;
import org.apache.parquet.io.api.Binary;
import org.apache.parquet.io.api.RecordConsumer;
import org.apache.parquet.schema.GroupType;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.MessageTypeParser;
import org.apache.parquet.schema.Type;

/** A LeRobot v3.0 data set of one row with an image column, laid out as Arrow writes it: struct of bytes and path. */
final class ImageTable {
    private static final MessageType SCHEMA = MessageTypeParser.parseMessageType(
            """
            message schema {
              optional group observation_image { optional binary bytes; optional binary path (UTF8); }
              optional float action;
              optional int64 frame_index;
              optional int64 episode_index;
            }""");

    private ImageTable() {}

    static void write(Path root, byte[] encoded) throws IOException {
        Files.createDirectories(root.resolve("data/chunk-000"));
        Files.createDirectories(root.resolve("meta/episodes/chunk-000"));
        Files.writeString(
                root.resolve("meta/info.json"),
                """
                {"codebase_version": "v3.0", "fps": 10, "total_episodes": 1, "total_frames": 1,
                 "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "video_path": null,
                 "features": {"observation.image": {"dtype": "image", "shape": [2, 3, 3], "names": null},
                  "action": {"dtype": "float32", "shape": [1], "names": null}}}
                """);
        try (ParquetTableWriter tasks = new ParquetTableWriter(
                root.resolve("meta/tasks.parquet"),
                List.of(
                        ParquetTableWriter.Field.scalar("task_index", ParquetTableWriter.Kind.INT64),
                        ParquetTableWriter.Field.scalar("__index_level_0__", ParquetTableWriter.Kind.STRING)),
                Map.of())) {
            tasks.write(new ParquetTableWriter.Batch(1, List.of(new long[] {0}, new String[] {"look"})));
        }
        List<String> names = List.of(
                "episode_index",
                "length",
                "data/chunk_index",
                "data/file_index",
                "dataset_from_index",
                "dataset_to_index");
        try (ParquetTableWriter episodes = new ParquetTableWriter(
                root.resolve("meta/episodes/chunk-000/file-000.parquet"),
                names.stream()
                        .map(name -> ParquetTableWriter.Field.scalar(name, ParquetTableWriter.Kind.INT64))
                        .toList(),
                Map.of())) {
            episodes.write(new ParquetTableWriter.Batch(
                    1,
                    List.of(new long[] {0}, new long[] {1}, new long[] {0}, new long[] {0}, new long[] {0}, new long[] {
                        1
                    })));
        }
        try (ParquetWriter<byte[]> writer = new Builder(root.resolve("data/chunk-000/file-000.parquet")).build()) {
            writer.write(encoded);
        }
    }

    private static final class Builder extends ParquetWriter.Builder<byte[], Builder> {
        Builder(Path file) {
            super(new LocalOutputFile(file));
            withConf(new PlainParquetConfiguration());
            withCodecFactory(new Codecs());
            withWriteMode(ParquetFileWriter.Mode.OVERWRITE);
        }

        @Override
        protected Builder self() {
            return this;
        }

        @Override
        @SuppressWarnings("deprecation")
        protected WriteSupport<byte[]> getWriteSupport(Configuration configuration) {
            return new Support();
        }

        @Override
        protected WriteSupport<byte[]> getWriteSupport(ParquetConfiguration configuration) {
            return new Support();
        }
    }

    private static final class Support extends WriteSupport<byte[]> {
        private RecordConsumer out;

        @Override
        @SuppressWarnings("deprecation")
        public WriteContext init(Configuration configuration) {
            return context();
        }

        @Override
        public WriteContext init(ParquetConfiguration configuration) {
            return context();
        }

        private static WriteContext context() {
            List<Type> fields = SCHEMA.getFields();
            GroupType image = fields.getFirst().asGroupType();
            GroupType renamed = new GroupType(image.getRepetition(), "observation.image", image.getFields());
            return new WriteContext(
                    new MessageType("schema", List.of(renamed, fields.get(1), fields.get(2), fields.get(3))), Map.of());
        }

        @Override
        public void prepareForWrite(RecordConsumer consumer) {
            out = consumer;
        }

        @Override
        public void write(byte[] encoded) {
            out.startMessage();
            out.startField("observation.image", 0);
            out.startGroup();
            out.startField("bytes", 0);
            out.addBinary(Binary.fromConstantByteArray(encoded));
            out.endField("bytes", 0);
            out.startField("path", 1);
            out.addBinary(Binary.fromString("frame-000000.png"));
            out.endField("path", 1);
            out.endGroup();
            out.endField("observation.image", 0);
            out.startField("action", 1);
            out.addFloat(0.5f);
            out.endField("action", 1);
            for (int i = 2; i < 4; i++) {
                String name = i == 2 ? "frame_index" : "episode_index";
                out.startField(name, i);
                out.addLong(0);
                out.endField(name, i);
            }
            out.endMessage();
        }
    }
}
