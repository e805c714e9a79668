package ai.lram.agent.card;

/**
 * One number of a task's continuous action, or the single feature of a discrete action.
 *
 * <p>A continuous feature is predicted as one of the model's action bins over [{@code encodeLow}, {@code encodeHigh}];
 * where {@code relativeTo} names an observation feature, the bins describe the difference from its current value.
 *
 * @param name unique within the task, e.g. {@code left_elbow.pos}
 * @param unit SI unit; empty where the quantity has none
 * @param low smallest value that may ever reach the robot, in {@code unit}
 * @param high largest value that may ever reach the robot, in {@code unit}
 * @param maxRate largest change allowed between two consecutive actions, in {@code unit} per second; {@code +Infinity} for no limit
 * @param encodeLow lower end of the first bin, in {@code unit} (a difference where {@code relativeTo} is set)
 * @param encodeHigh upper end of the last bin
 * @param relativeTo name of an observation feature of the same task, or {@code null} for absolute actions
 */
public record ActionFeature(
        String name,
        String unit,
        double low,
        double high,
        double maxRate,
        double encodeLow,
        double encodeHigh,
        String relativeTo) {
    public ActionFeature {
        if (name == null || name.isBlank() || unit == null) {
            throw new CardException(
                    "action feature without a name or unit",
                    "name=" + name + " unit=" + unit,
                    "name every feature; give \"\" as the unit of a pure number");
        }
        if (!(low < high) || !Double.isFinite(low) || !Double.isFinite(high)) {
            throw new CardException(
                    "action feature " + name + " has no usable bounds",
                    "low=" + low + " high=" + high,
                    "give finite bounds with low < high: the safety stage enforces them");
        }
        if (!(maxRate > 0)) {
            throw new CardException(
                    "action feature " + name + " has no usable rate limit",
                    "maxRate=" + maxRate,
                    "give a rate > 0 in unit/s, or Infinity for none");
        }
        if (!(encodeLow < encodeHigh) || !Double.isFinite(encodeLow) || !Double.isFinite(encodeHigh)) {
            throw new CardException(
                    "action feature " + name + " has an empty bin range",
                    "encodeLow=" + encodeLow + " encodeHigh=" + encodeHigh,
                    "give finite values with encodeLow < encodeHigh");
        }
    }

    /** A plain feature whose bins span exactly its bounds and that has no rate limit. */
    public static ActionFeature bounded(String name, String unit, double low, double high) {
        return new ActionFeature(name, unit, low, high, Double.POSITIVE_INFINITY, low, high, null);
    }
}
