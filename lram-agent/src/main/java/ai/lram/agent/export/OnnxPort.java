package ai.lram.agent.export;

import java.util.List;
import java.util.stream.Collectors;

/**
 * An input or output of an exported graph.
 *
 * @param name of the tensor in the file
 * @param type of its elements
 * @param shape the first dimension is the batch, {@link OnnxOptions#ANY_BATCH} where it is open
 * @param meaning what it holds, with units
 */
public record OnnxPort(String name, Type type, List<Integer> shape, String meaning) {
    /** Name of the open first dimension in the file. */
    public static final String BATCH = "batch";

    /** Element types of inputs and outputs. */
    public enum Type {
        FLOAT,
        INT64,
        BOOL
    }

    public OnnxPort {
        shape = List.copyOf(shape);
    }

    /** E.g. {@code float[batch, 4, 256]}. */
    public String signature() {
        return type.name().toLowerCase(java.util.Locale.ROOT)
                + shape.stream()
                        .map(d -> d == OnnxOptions.ANY_BATCH ? BATCH : String.valueOf(d))
                        .collect(Collectors.joining(", ", "[", "]"));
    }
}
