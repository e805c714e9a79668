package ai.lram.dataset.format;

import java.io.IOException;
import java.lang.reflect.Array;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.conf.ParquetConfiguration;
import org.apache.parquet.conf.PlainParquetConfiguration;
import org.apache.parquet.hadoop.ParquetFileWriter;
import org.apache.parquet.hadoop.ParquetWriter;
import org.apache.parquet.hadoop.api.WriteSupport;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.apache.parquet.io.LocalOutputFile;
import org.apache.parquet.io.api.Binary;
import org.apache.parquet.io.api.RecordConsumer;
import org.apache.parquet.schema.LogicalTypeAnnotation;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName;
import org.apache.parquet.schema.Type;
import org.apache.parquet.schema.Types;

/** Writes tables of scalars and lists from column arrays, Snappy-compressed, with page checksums. */
final class ParquetTableWriter implements AutoCloseable {
    /** Element types of a column. */
    enum Kind {
        FLOAT(PrimitiveTypeName.FLOAT),
        DOUBLE(PrimitiveTypeName.DOUBLE),
        INT64(PrimitiveTypeName.INT64),
        BOOLEAN(PrimitiveTypeName.BOOLEAN),
        STRING(PrimitiveTypeName.BINARY);

        private final PrimitiveTypeName type;

        Kind(PrimitiveTypeName type) {
            this.type = type;
        }
    }

    /** One column; a list column holds {@code width} values a row, or any number where {@code width} is 0. */
    record Field(String name, Kind kind, boolean list, int width) {
        static Field scalar(String name, Kind kind) {
            return new Field(name, kind, false, 1);
        }

        static Field list(String name, Kind kind, int width) {
            return new Field(name, kind, true, width);
        }

        private Type type() {
            if (!list) {
                return element(name);
            }
            return Types.optionalGroup()
                    .as(LogicalTypeAnnotation.listType())
                    .repeatedGroup()
                    .addField(element("element"))
                    .named("list")
                    .named(name);
        }

        private Type element(String elementName) {
            return kind == Kind.STRING
                    ? Types.optional(kind.type)
                            .as(LogicalTypeAnnotation.stringType())
                            .named(elementName)
                    : Types.optional(kind.type).named(elementName);
        }
    }

    /**
     * Values of many rows, one array per field: float[], double[], long[] or String[] of rows x width values; for lists
     * of any length double[][], long[][] or String[][]. A float[] may feed INT64 and BOOLEAN fields.
     */
    record Batch(int rows, List<Object> columns) {}

    private record Row(Batch batch, int index) {}

    private final ParquetWriter<Row> writer;

    ParquetTableWriter(Path file, List<Field> fields, Map<String, String> metadata) throws IOException {
        writer = new Builder(file, fields, metadata).build();
    }

    void write(Batch batch) throws IOException {
        for (int row = 0; row < batch.rows; row++) {
            writer.write(new Row(batch, row));
        }
    }

    /** Bytes written and buffered so far, roughly the size the file will have before compression of its last part. */
    long dataSize() {
        return writer.getDataSize();
    }

    @Override
    public void close() throws IOException {
        writer.close();
    }

    private static final class Builder extends ParquetWriter.Builder<Row, Builder> {
        private final Support support;

        Builder(Path file, List<Field> fields, Map<String, String> metadata) {
            super(new LocalOutputFile(file));
            support = new Support(fields, metadata);
            withConf(new PlainParquetConfiguration());
            withCodecFactory(new Codecs());
            withCompressionCodec(CompressionCodecName.SNAPPY);
            withWriteMode(ParquetFileWriter.Mode.OVERWRITE);
            withPageWriteChecksumEnabled(true);
            withRowGroupSize(32L << 20);
        }

        @Override
        protected Builder self() {
            return this;
        }

        @Override
        @SuppressWarnings("deprecation")
        protected WriteSupport<Row> getWriteSupport(Configuration configuration) {
            return support;
        }

        @Override
        protected WriteSupport<Row> getWriteSupport(ParquetConfiguration configuration) {
            return support;
        }
    }

    private static final class Support extends WriteSupport<Row> {
        private final List<Field> fields;
        private final Map<String, String> metadata;
        private RecordConsumer out;

        Support(List<Field> fields, Map<String, String> metadata) {
            this.fields = List.copyOf(fields);
            this.metadata = Map.copyOf(metadata);
        }

        @Override
        @SuppressWarnings("deprecation")
        public WriteContext init(Configuration configuration) {
            return context();
        }

        @Override
        public WriteContext init(ParquetConfiguration configuration) {
            return context();
        }

        private WriteContext context() {
            List<Type> types = new ArrayList<>();
            for (Field field : fields) {
                types.add(field.type());
            }
            return new WriteContext(new MessageType("schema", types), metadata);
        }

        @Override
        public void prepareForWrite(RecordConsumer consumer) {
            out = consumer;
        }

        @Override
        public void write(Row row) {
            out.startMessage();
            for (int i = 0; i < fields.size(); i++) {
                Field field = fields.get(i);
                Object values = row.batch.columns.get(i);
                out.startField(field.name, i);
                if (!field.list) {
                    value(field.kind, values, row.index);
                } else {
                    list(field, values, row.index);
                }
                out.endField(field.name, i);
            }
            out.endMessage();
        }

        private void list(Field field, Object values, int row) {
            Object elements = values;
            int from = row * field.width;
            int count = field.width;
            if (field.width == 0) {
                elements = ((Object[]) values)[row];
                from = 0;
                count = Array.getLength(elements);
            }
            out.startGroup();
            if (count > 0) {
                out.startField("list", 0);
                for (int i = 0; i < count; i++) {
                    out.startGroup();
                    out.startField("element", 0);
                    value(field.kind, elements, from + i);
                    out.endField("element", 0);
                    out.endGroup();
                }
                out.endField("list", 0);
            }
            out.endGroup();
        }

        private void value(Kind kind, Object values, int index) {
            switch (kind) {
                case FLOAT -> out.addFloat(((float[]) values)[index]);
                case DOUBLE -> out.addDouble(((double[]) values)[index]);
                case INT64 ->
                    out.addLong(values instanceof float[] floats ? (long) floats[index] : ((long[]) values)[index]);
                case BOOLEAN -> out.addBoolean(((float[]) values)[index] != 0);
                case STRING -> out.addBinary(Binary.fromString(((String[]) values)[index]));
            }
        }
    }
}
