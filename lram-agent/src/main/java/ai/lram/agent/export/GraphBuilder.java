package ai.lram.agent.export;

import ai.lram.agent.export.schema.AttributeProto;
import ai.lram.agent.export.schema.AttributeProto.AttributeType;
import ai.lram.agent.export.schema.NodeProto;
import ai.lram.agent.export.schema.TensorProto.DataType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/**
 * Collects the nodes and constants of an ONNX graph. A method that names an operator adds a node of it and returns the name of its result.
 * Values are named by where they are made: {@code block.0/MatMul.3}. Data of large constants is asked for only when it is written.
 */
final class GraphBuilder {
    private static final int LAST = -1;

    /** A constant; {@code data} gives its bytes, little-endian. */
    record Constant(String name, DataType type, long[] dims, Supplier<byte[]> data) {
        long bytes() {
            return Arrays.stream(dims).reduce(1, Math::multiplyExact) * bytesOf(type);
        }
    }

    private final List<NodeProto> nodes = new ArrayList<>();
    private final Map<String, Constant> constants = new LinkedHashMap<>();
    private final Map<String, String> byContent = new HashMap<>();
    private final Map<String, Integer> taken = new HashMap<>();
    private final Map<String, String> renamed = new HashMap<>();
    private final List<OnnxPort> inputs = new ArrayList<>();
    private final List<OnnxPort> outputs = new ArrayList<>();
    private String scope = "";

    /** In an order in which every input is known before it is used. */
    List<NodeProto> nodes() {
        return nodes.stream().map(this::underFinalNames).toList();
    }

    private NodeProto underFinalNames(NodeProto n) {
        NodeProto.Builder b = n.toBuilder().clearInput().clearOutput();
        n.getInputList().forEach(v -> b.addInput(renamed.getOrDefault(v, v)));
        n.getOutputList().forEach(v -> b.addOutput(renamed.getOrDefault(v, v)));
        return b.build();
    }

    List<Constant> constants() {
        return List.copyOf(constants.values());
    }

    List<OnnxPort> inputs() {
        return inputs;
    }

    List<OnnxPort> outputs() {
        return outputs;
    }

    /** Values made from here on are named below {@code name}. */
    void scope(String name) {
        scope = name + "/";
    }

    // ------------------------------------------------------------------------------------------------- inputs, outputs

    String input(OnnxPort port) {
        inputs.add(port);
        return port.name();
    }

    /** Gives {@code value}, which a node of this graph computes, the port's name and makes it an output. */
    void output(String value, OnnxPort port) {
        outputs.add(port);
        if (renamed.put(value, port.name()) != null) {
            throw new IllegalStateException(value + " is an output already");
        }
    }

    // ---------------------------------------------------------------------------------------------------------
    // constants

    /** A constant that may be large. */
    String weight(String name, Supplier<float[]> values, long... dims) {
        return add(new Constant(name, DataType.FLOAT, dims, () -> bytes(values.get())));
    }

    /** A constant of signed bytes. */
    String weightBytes(String name, Supplier<byte[]> values, long... dims) {
        return add(new Constant(name, DataType.INT8, dims, values));
    }

    private String add(Constant c) {
        if (constants.putIfAbsent(c.name(), c) != null) {
            throw new IllegalStateException("two constants are called " + c.name());
        }
        return c.name();
    }

    /** A small constant; equal ones are one. */
    String floats(float[] values, long... dims) {
        return small(DataType.FLOAT, bytes(values), dims);
    }

    /** A number without dimensions. */
    String scalar(double value) {
        return floats(new float[] {(float) value});
    }

    String longs(long[] values, long... dims) {
        ByteBuffer b = ByteBuffer.allocate(8 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        b.asLongBuffer().put(values);
        return small(DataType.INT64, b.array(), dims);
    }

    String vector(long... values) {
        return longs(values, values.length);
    }

    private String small(DataType type, byte[] data, long... dims) {
        String key = type + Arrays.toString(dims) + Arrays.toString(data);
        return byContent.computeIfAbsent(
                key, k -> add(new Constant("constant." + byContent.size(), type, dims, () -> data)));
    }

    private static byte[] bytes(float[] values) {
        ByteBuffer b = ByteBuffer.allocate(Math.multiplyExact(4, values.length)).order(ByteOrder.LITTLE_ENDIAN);
        b.asFloatBuffer().put(values);
        return b.array();
    }

    private static int bytesOf(DataType type) {
        return switch (type) {
            case INT64 -> 8;
            case FLOAT, INT32 -> 4;
            case INT8, UINT8, BOOL -> 1;
            case UNDEFINED -> throw new IllegalArgumentException("a constant needs a type");
        };
    }

    // -------------------------------------------------------------------------------------------------------------
    // nodes

    private static AttributeProto integer(String name, long value) {
        return AttributeProto.newBuilder()
                .setName(name)
                .setType(AttributeType.INT)
                .setI(value)
                .build();
    }

    private static AttributeProto integers(String name, long... values) {
        AttributeProto.Builder b = AttributeProto.newBuilder().setName(name).setType(AttributeType.INTS);
        for (long v : values) {
            b.addInts(v);
        }
        return b.build();
    }

    private static AttributeProto number(String name, float value) {
        return AttributeProto.newBuilder()
                .setName(name)
                .setType(AttributeType.FLOAT)
                .setF(value)
                .build();
    }

    private String fresh(String op) {
        String base = scope + op;
        return base + "." + taken.merge(base, 1, Integer::sum);
    }

    private List<String> nodes(int results, String op, List<String> in, AttributeProto... attributes) {
        String name = fresh(op);
        List<String> out = new ArrayList<>();
        for (int i = 0; i < results; i++) {
            out.add(results == 1 ? name : name + ":" + i);
        }
        nodes.add(NodeProto.newBuilder()
                .setOpType(op)
                .setName(name)
                .addAllInput(in)
                .addAllOutput(out)
                .addAllAttribute(List.of(attributes))
                .build());
        return out;
    }

    private String node(String op, List<String> in, AttributeProto... attributes) {
        return nodes(1, op, in, attributes).getFirst();
    }

    /** An operator without attributes. */
    String op(String type, String... in) {
        return node(type, List.of(in));
    }

    String add(String a, String b) {
        return op("Add", a, b);
    }

    String sub(String a, String b) {
        return op("Sub", a, b);
    }

    String mul(String a, String b) {
        return op("Mul", a, b);
    }

    String div(String a, String b) {
        return op("Div", a, b);
    }

    String max(String a, String b) {
        return op("Max", a, b);
    }

    String min(String a, String b) {
        return op("Min", a, b);
    }

    String exp(String a) {
        return op("Exp", a);
    }

    String matMul(String a, String b) {
        return op("MatMul", a, b);
    }

    String where(String condition, String yes, String no) {
        return op("Where", condition, yes, no);
    }

    /** logsigmoid(a) = -softplus(-a). */
    String logSigmoid(String a) {
        return op("Neg", op("Softplus", op("Neg", a)));
    }

    String silu(String a) {
        return mul(a, op("Sigmoid", a));
    }

    /** Exact (erf) GELU. */
    String gelu(String a) {
        String erf = op("Erf", div(a, scalar(Math.sqrt(2))));
        return mul(mul(a, add(erf, scalar(1))), scalar(0.5));
    }

    /** A dimension of 0 stays as it is, one of -1 takes what is left. */
    String reshape(String a, long... dims) {
        return op("Reshape", a, vector(dims));
    }

    String unsqueeze(String a, long... axes) {
        return op("Unsqueeze", a, vector(axes));
    }

    String transpose(String a, long... order) {
        return node("Transpose", List.of(a), integers("perm", order));
    }

    String concat(long axis, String... parts) {
        return node("Concat", List.of(parts), integer("axis", axis));
    }

    String concat(long axis, List<String> parts) {
        return parts.size() == 1 ? parts.getFirst() : concat(axis, parts.toArray(String[]::new));
    }

    List<String> split(String a, long axis, long... sizes) {
        return nodes(sizes.length, "Split", List.of(a, vector(sizes)), integer("axis", axis));
    }

    /** a[from..to) along an axis. */
    String slice(String a, long axis, long from, long to) {
        return op("Slice", a, vector(from), vector(to), vector(axis));
    }

    String gather(String a, String indices, long axis) {
        return node("Gather", List.of(a, indices), integer("axis", axis));
    }

    /** Entry {@code index} along an axis, which goes away. */
    String pick(String a, long axis, long index) {
        return gather(a, longs(new long[] {index}), axis);
    }

    String gatherElements(String a, String indices, long axis) {
        return node("GatherElements", List.of(a, indices), integer("axis", axis));
    }

    String sum(String a, long axis, boolean keep) {
        return node("ReduceSum", List.of(a, vector(axis)), integer("keepdims", keep ? 1 : 0));
    }

    /** Largest along the last axis, which stays with size 1. */
    String maxLast(String a) {
        return node("ReduceMax", List.of(a), integers("axes", LAST), integer("keepdims", 1));
    }

    String softmax(String a) {
        return node("Softmax", List.of(a), integer("axis", LAST));
    }

    /** Index of the first largest along the last axis, which goes away. */
    String argMax(String a) {
        return node("ArgMax", List.of(a), integer("axis", LAST), integer("keepdims", 0));
    }

    String toFloat(String a) {
        return node("Cast", List.of(a), integer("to", DataType.FLOAT_VALUE));
    }

    /** Normalises the last axis; {@code bias} may be null. */
    String layerNorm(String a, String scale, String bias, float eps) {
        List<String> in = bias == null ? List.of(a, scale) : List.of(a, scale, bias);
        return node("LayerNormalization", in, integer("axis", LAST), number("epsilon", eps));
    }

    /** {8-bit a, scale, zero point}. */
    List<String> quantize(String a) {
        return nodes(3, "DynamicQuantizeLinear", List.of(a));
    }
}
