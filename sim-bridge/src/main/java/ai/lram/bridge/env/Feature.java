package ai.lram.bridge.env;

/**
 * One number of an observation or action vector.
 *
 * @param name unique within its vector, e.g. {@code pole.vel}
 * @param unit SI unit; a scaled one such as {@code 10 N} where the published task commands a fraction; empty for
 *     pure numbers
 * @param low smallest value, {@code -Infinity} where the plant does not bound it
 * @param high largest value, {@code +Infinity} where the plant does not bound it
 */
public record Feature(String name, String unit, double low, double high) {
    public Feature {
        if (name == null || name.isBlank() || unit == null || !(low < high)) {
            throw new IllegalArgumentException("a feature needs a name, a unit and low < high: name=" + name + " unit="
                    + unit + " low=" + low + " high=" + high);
        }
    }

    /** A feature the plant does not bound. */
    public static Feature unbounded(String name, String unit) {
        return new Feature(name, unit, Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY);
    }
}
