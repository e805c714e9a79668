package ai.lram.dataset;

import java.util.List;
import java.util.Objects;

/**
 * One feature of a step: its name, element type, shape, and what its elements mean.
 *
 * @param name the feature's name in its source, for example {@code observation.state}
 * @param type element type
 * @param shape sizes of the axes of one step, all positive; at most 2^26 elements together
 * @param names one name per element, or empty
 * @param units one unit per element ("rad", "m/s"), or empty
 * @param lower one inclusive lower bound per element, or empty when unknown
 * @param upper one inclusive upper bound per element, or empty when unknown
 */
public record FeatureSpec(
        String name,
        FeatureType type,
        List<Integer> shape,
        List<String> names,
        List<String> units,
        List<Double> lower,
        List<Double> upper) {
    private static final long MAX_ELEMENTS = 1L << 26;

    public FeatureSpec {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(type, "type");
        if (name.isBlank()) {
            throw new IllegalArgumentException("a feature needs a name");
        }
        shape = List.copyOf(shape);
        names = List.copyOf(names);
        units = List.copyOf(units);
        lower = List.copyOf(lower);
        upper = List.copyOf(upper);
        long elements = 1;
        for (int size : shape) {
            if (size < 1 || elements * size > MAX_ELEMENTS) {
                throw new IllegalArgumentException("feature " + name + ": shape " + shape
                        + " must be positive and hold at most " + MAX_ELEMENTS + " elements");
            }
            elements *= size;
        }
        checkCount(name, "names", names.size(), elements);
        checkCount(name, "units", units.size(), elements);
        checkCount(name, "lower bounds", lower.size(), elements);
        checkCount(name, "upper bounds", upper.size(), elements);
    }

    /** A feature without units and bounds. */
    public FeatureSpec(String name, FeatureType type, List<Integer> shape, List<String> names) {
        this(name, type, shape, names, List.of(), List.of(), List.of());
    }

    /** A vector of {@code width} 32-bit floats without element names. */
    public static FeatureSpec vector(String name, int width) {
        return new FeatureSpec(name, FeatureType.FLOAT32, List.of(width), List.of());
    }

    /** A discrete choice: one value holding the id. */
    public static FeatureSpec discrete(String name) {
        return new FeatureSpec(name, FeatureType.INT64, List.of(1), List.of());
    }

    /** An image of {@code channels} x {@code height} x {@code width} bytes. */
    public static FeatureSpec image(String name, int channels, int height, int width) {
        return new FeatureSpec(name, FeatureType.UINT8, List.of(channels, height, width), List.of());
    }

    /** Number of elements of one step, at least 1. */
    public int width() {
        int elements = 1;
        for (int size : shape) {
            elements *= size;
        }
        return elements;
    }

    private static void checkCount(String name, String what, int count, long elements) {
        if (count != 0 && count != elements) {
            throw new IllegalArgumentException(
                    "feature " + name + ": " + count + " " + what + " for " + elements + " elements");
        }
    }
}
