package ai.lram.agent.card;

/**
 * One number of a task's observation vector.
 *
 * @param name unique within the task, e.g. {@code left_shoulder_pitch.pos}
 * @param unit SI unit, e.g. {@code rad}; empty where the quantity has none
 * @param min smallest value accepted at run time, in {@code unit}; {@code -Infinity} for none
 * @param max largest value accepted at run time, in {@code unit}; {@code +Infinity} for none
 * @param mean subtracted before the model sees the value (from the training split)
 * @param std the value is divided by this afterwards; > 0
 */
public record ObservationFeature(String name, String unit, double min, double max, double mean, double std) {
    public ObservationFeature {
        if (name == null || name.isBlank() || unit == null) {
            throw new CardException(
                    "observation feature without a name or unit",
                    "name=" + name + " unit=" + unit,
                    "name every feature; give \"\" as the unit of a pure number");
        }
        if (!(min <= max)) {
            throw new CardException(
                    "observation feature " + name + " has an empty range",
                    "min=" + min + " max=" + max,
                    "give min <= max; leave either infinite when unknown");
        }
        if (!Double.isFinite(mean) || !(std > 0) || !Double.isFinite(std)) {
            throw new CardException(
                    "observation feature " + name + " cannot be standardised",
                    "mean=" + mean + " std=" + std,
                    "use a finite mean and a std > 0 (1 for a constant feature)");
        }
    }

    /** Raw value to what the model sees. */
    public float normalize(float raw) {
        return (float) ((raw - mean) / std);
    }
}
