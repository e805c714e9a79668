package ai.lram.dataset.format;

import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.UnsupportedFormatException;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * One field of a step as {@code features.json} of TensorFlow Datasets declares it.
 *
 * @param path its place in the step, for example {@code observation/state}
 * @param type element type; of a text or an image: that of its values, if it is a known one
 * @param shape sizes of the axes of one step, all positive; empty for a single value
 * @param encoding how a record holds a step's values
 * @param choices number of classes of a class label, else 0
 * @param reason why a field of kind {@link Kind#OTHER} is not read, else empty
 */
record RldsFeature(
        String path, Kind kind, Type type, List<Integer> shape, Encoding encoding, int choices, String reason) {
    static final String FEATURES = "features.json";
    private static final long MAX_ELEMENTS = 1L << 26;

    enum Kind {
        NUMBERS,
        TEXT,
        IMAGE,
        /** Not read; {@link RldsFeature#reason()} says why. */
        OTHER
    }

    enum Encoding {
        /** As numbers: floats as 32-bit floats, whole numbers and booleans as 64-bit integers. */
        NONE,
        /** One byte string a step: the values little-endian in their own type. */
        BYTES,
        /** As BYTES, compressed with zlib. */
        ZLIB
    }

    /** Element types by their NumPy names. */
    enum Type {
        BOOL(1),
        INT8(1),
        INT16(2),
        INT32(4),
        INT64(8),
        UINT8(1),
        UINT16(2),
        UINT32(4),
        UINT64(8),
        FLOAT16(2),
        FLOAT32(4),
        FLOAT64(8),
        STRING(0);

        private final int bytes;

        Type(int bytes) {
            this.bytes = bytes;
        }

        /** Size of one value encoded as bytes. */
        int bytes() {
            return bytes;
        }

        boolean isFloat() {
            return this == FLOAT16 || this == FLOAT32 || this == FLOAT64;
        }

        /** The next whole number of {@code values}; an unsigned one of 64 bits comes back with its bits unchanged. */
        long whole(ByteBuffer values) {
            return switch (this) {
                case BOOL, UINT8 -> values.get() & 0xff;
                case INT8 -> values.get();
                case INT16 -> values.getShort();
                case UINT16 -> values.getShort() & 0xffff;
                case INT32 -> values.getInt();
                case UINT32 -> values.getInt() & 0xffffffffL;
                case INT64, UINT64 -> values.getLong();
                default -> throw new IllegalStateException(this + " is no whole number");
            };
        }

        /** The next real number of {@code values}. */
        float real(ByteBuffer values) {
            return switch (this) {
                case FLOAT16 -> Float.float16ToFloat(values.getShort());
                case FLOAT32 -> values.getFloat();
                case FLOAT64 -> (float) values.getDouble();
                default -> throw new IllegalStateException(this + " is no real number");
            };
        }
    }

    /** Values of one step. */
    int width() {
        int width = 1;
        for (int size : shape) {
            width *= size;
        }
        return width;
    }

    /** Whether one list entry of a record is one step, whatever the shape. */
    boolean isOneStringAStep() {
        return kind == Kind.IMAGE || encoding != Encoding.NONE;
    }

    /** The fields of a step in the order of their paths. */
    static Map<String, RldsFeature> steps(Path root) {
        return new Parser(root).steps(LeRobotInfo.json(root.resolve(FEATURES)));
    }

    /** What a field is, and its description; read from any of the three layouts that were written over the years. */
    private record Body(String kind, JsonNode content) {}

    private static final class Parser {
        private final Path root;
        private final Map<String, RldsFeature> found = new TreeMap<>();

        Parser(Path root) {
            this.root = root;
        }

        Map<String, RldsFeature> steps(JsonNode json) {
            Body episode = body(json);
            Body steps = episode.kind.equals("featuresDict")
                    ? body(episode.content.path("features").path("steps"))
                    : episode;
            Body step = steps.kind.equals("sequence") ? body(steps.content.path("feature")) : steps;
            if (step == steps || steps == episode || !step.kind.equals("featuresDict")) {
                throw new UnsupportedFormatException(
                        "data set " + root + " was not opened",
                        FEATURES + " declares no sequence of steps, so a record is no episode",
                        "data sets of TensorFlow Datasets that follow RLDS are read");
            }
            field("", step);
            return found;
        }

        private void field(String path, Body body) {
            JsonNode content = body.content;
            switch (body.kind) {
                case "featuresDict" ->
                    content.path("features")
                            .properties()
                            .forEach(child -> field(
                                    path.isEmpty() ? child.getKey() : path + "/" + child.getKey(),
                                    body(child.getValue())));
                case "tensor" -> tensor(path, content);
                case "classLabel" -> {
                    long choices = Math.max(
                            RldsInfo.count(content.path("numClasses")), RldsInfo.count(content.path("num_classes")));
                    add(path, Kind.NUMBERS, Type.INT64, List.of(), Encoding.NONE, Math.clamp(choices, 0, 1 << 24));
                }
                case "text" -> add(path, Kind.TEXT, Type.STRING, List.of(), Encoding.NONE, 0);
                case "image" -> {
                    Type type = type(path, content.path("dtype").asText("uint8"));
                    List<Integer> shape = shape(path, content.path("shape"));
                    if (shape == null) {
                        other(path, "is an image of unknown size");
                    } else {
                        add(path, Kind.IMAGE, type, shape, Encoding.NONE, 0);
                    }
                }
                case "sequence" -> other(path, "is a sequence within the steps");
                default -> other(path, "is of kind " + body.kind);
            }
        }

        private void tensor(String path, JsonNode content) {
            Type type = type(path, content.path("dtype").asText(""));
            List<Integer> shape = shape(path, content.path("shape"));
            String name = content.path("encoding").asText("none").toUpperCase(Locale.ROOT);
            if (Arrays.stream(Encoding.values()).noneMatch(e -> e.name().equals(name))) {
                throw new UnsupportedFormatException(
                        "data set " + root + ": field " + path + " cannot be read",
                        "its encoding is " + content.path("encoding"),
                        "none, bytes and zlib are read");
            }
            if (shape == null) {
                other(path, "is of unknown or empty shape");
            } else {
                add(path, type == Type.STRING ? Kind.TEXT : Kind.NUMBERS, type, shape, Encoding.valueOf(name), 0);
            }
        }

        private Type type(String path, String name) {
            for (Type type : Type.values()) {
                if (type.name().toLowerCase(Locale.ROOT).equals(name)) {
                    return type;
                }
            }
            throw new UnsupportedFormatException(
                    "data set " + root + ": field " + path + " cannot be read",
                    "its dtype is '" + name + "'",
                    "bool, int8 to int64, uint8 to uint64, float16 to float64 and string are read");
        }

        /** Null if a size is unknown or 0. */
        private List<Integer> shape(String path, JsonNode json) {
            JsonNode sizes = json.isObject() ? json.path("dimensions") : json;
            List<Integer> shape = new ArrayList<>();
            long elements = 1;
            for (JsonNode size : sizes) {
                long axis = RldsInfo.count(size);
                if (axis < 1) {
                    return null;
                }
                if (axis > MAX_ELEMENTS || elements * axis > MAX_ELEMENTS) {
                    throw malformed("field " + path + " has shape " + sizes, "at most 2^26 values a step are read");
                }
                elements *= axis;
                shape.add((int) axis);
            }
            return shape;
        }

        private void add(String path, Kind kind, Type type, List<Integer> shape, Encoding encoding, int choices) {
            found.put(path, new RldsFeature(path, kind, type, List.copyOf(shape), encoding, choices, ""));
        }

        private void other(String path, String reason) {
            found.put(path, new RldsFeature(path, Kind.OTHER, Type.STRING, List.of(), Encoding.NONE, 0, reason));
        }

        private Body body(JsonNode node) {
            if (node.path("type").isTextual() && node.has("content")) {
                return oldBody(node);
            }
            for (Map.Entry<String, JsonNode> entry : node.properties()) {
                if (entry.getValue().isObject()) {
                    return new Body(entry.getKey(), entry.getValue());
                }
            }
            return new Body(node.path("pythonClassName").asText("unknown"), node);
        }

        /** Up to TensorFlow Datasets 4.6: a Python class and its arguments, these perhaps as JSON within a text. */
        private Body oldBody(JsonNode node) {
            JsonNode content = node.path("content");
            if (content.isTextual()) {
                try {
                    content = LeRobotInfo.JSON.readTree(content.asText());
                } catch (JsonProcessingException e) {
                    throw malformed("a content is not valid JSON", String.valueOf(e.getOriginalMessage()));
                }
            }
            String type = node.path("type").asText();
            return switch (type.substring(type.lastIndexOf('.') + 1)) {
                case "FeaturesDict" ->
                    new Body(
                            "featuresDict",
                            node.has("proto_cls")
                                    ? content
                                    : LeRobotInfo.JSON.createObjectNode().set("features", content));
                case "Dataset", "Sequence" -> new Body("sequence", content);
                case "Tensor", "Scalar" -> new Body("tensor", content);
                case "Text" -> new Body("text", content);
                case "Image" -> new Body("image", content);
                case "ClassLabel" -> new Body("classLabel", content);
                default -> new Body(type, content);
            };
        }

        private MalformedDatasetException malformed(String what, String why) {
            return new MalformedDatasetException(
                    "data set " + root + ": " + FEATURES + ": " + what, why, "restore the file from its source");
        }
    }
}
