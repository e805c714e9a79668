package ai.lram.agent.export;

import ai.lram.agent.export.schema.GraphProto;
import ai.lram.agent.export.schema.ModelProto;
import ai.lram.agent.export.schema.OperatorSetIdProto;
import ai.lram.agent.export.schema.StringStringEntryProto;
import ai.lram.agent.export.schema.TensorProto;
import ai.lram.agent.export.schema.TensorProto.DataType;
import ai.lram.agent.export.schema.TensorShapeProto.Dimension;
import ai.lram.agent.export.schema.TypeProto;
import ai.lram.agent.export.schema.ValueInfoProto;
import com.google.protobuf.CodedOutputStream;
import com.google.protobuf.WireFormat;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * The bytes of an ONNX file. Its large constants are written one by one: a message's fields may come in any order, so the graph without
 * them and each of them are written as parts of one message.
 */
final class OnnxFile {
    /** The version of the format that came with opset 17. */
    static final int IR_VERSION = 8;

    private static final int BUFFER = 1 << 16;

    private final ModelProto head;
    private final GraphProto graph;
    private final List<GraphBuilder.Constant> constants;
    private final long graphBytes;

    OnnxFile(GraphBuilder g, Map<String, String> metadata, String name) {
        ModelProto.Builder b = ModelProto.newBuilder()
                .setIrVersion(IR_VERSION)
                .setProducerName("lram-runtime")
                .setDomain("ai.lram")
                .setDocString("Control step of the Large Recurrent Action Model " + name)
                .addOpsetImport(OperatorSetIdProto.newBuilder().setDomain("").setVersion(OnnxExport.OPSET));
        metadata.forEach((k, v) ->
                b.addMetadataProps(StringStringEntryProto.newBuilder().setKey(k).setValue(v)));
        head = b.build();
        GraphProto.Builder n = GraphProto.newBuilder().setName("lram_step").addAllNode(g.nodes());
        g.inputs().forEach(p -> n.addInput(value(p)));
        g.outputs().forEach(p -> n.addOutput(value(p)));
        graph = n.build();
        constants = g.constants();
        long all = graph.getSerializedSize();
        for (GraphBuilder.Constant c : constants) {
            all += fieldBytes(GraphProto.INITIALIZER_FIELD_NUMBER, tensorBytes(c));
        }
        graphBytes = all;
    }

    private static ValueInfoProto value(OnnxPort port) {
        TypeProto.Builder type = TypeProto.newBuilder();
        type.getTensorTypeBuilder().setElemType(elementType(port.type()));
        for (int d : port.shape()) {
            Dimension.Builder dim = Dimension.newBuilder();
            type.getTensorTypeBuilder()
                    .getShapeBuilder()
                    .addDim(d == OnnxOptions.ANY_BATCH ? dim.setDimParam(OnnxPort.BATCH) : dim.setDimValue(d));
        }
        return ValueInfoProto.newBuilder()
                .setName(port.name())
                .setType(type)
                .setDocString(port.meaning())
                .build();
    }

    private static int elementType(OnnxPort.Type type) {
        return switch (type) {
            case FLOAT -> DataType.FLOAT_VALUE;
            case INT64 -> DataType.INT64_VALUE;
            case BOOL -> DataType.BOOL_VALUE;
        };
    }

    /** Size of the file. */
    long bytes() {
        return head.getSerializedSize() + fieldBytes(ModelProto.GRAPH_FIELD_NUMBER, graphBytes);
    }

    /** Writes and syncs {@code file}. */
    void writeTo(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(
                file, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE)) {
            OutputStream stream = Channels.newOutputStream(channel);
            CodedOutputStream out = CodedOutputStream.newInstance(stream, BUFFER);
            head.writeTo(out);
            begin(out, ModelProto.GRAPH_FIELD_NUMBER, graphBytes);
            graph.writeTo(out);
            for (GraphBuilder.Constant c : constants) {
                begin(out, GraphProto.INITIALIZER_FIELD_NUMBER, tensorBytes(c));
                description(c).writeTo(out);
                byte[] data = c.data().get();
                if (data.length != c.bytes()) {
                    throw new IllegalStateException(
                            c.name() + " has " + data.length + " bytes for " + Arrays.toString(c.dims()));
                }
                begin(out, TensorProto.RAW_DATA_FIELD_NUMBER, data.length);
                out.writeRawBytes(data);
            }
            out.flush();
            channel.force(true);
        }
    }

    /** A constant without its data. */
    private static TensorProto description(GraphBuilder.Constant c) {
        TensorProto.Builder t =
                TensorProto.newBuilder().setName(c.name()).setDataType(c.type().getNumber());
        for (long d : c.dims()) {
            t.addDims(d);
        }
        return t.build();
    }

    private static long tensorBytes(GraphBuilder.Constant c) {
        return description(c).getSerializedSize() + fieldBytes(TensorProto.RAW_DATA_FIELD_NUMBER, c.bytes());
    }

    private static long fieldBytes(int field, long length) {
        return CodedOutputStream.computeTagSize(field) + CodedOutputStream.computeUInt64SizeNoTag(length) + length;
    }

    private static void begin(CodedOutputStream out, int field, long length) throws IOException {
        out.writeTag(field, WireFormat.WIRETYPE_LENGTH_DELIMITED);
        out.writeUInt64NoTag(length);
    }
}
