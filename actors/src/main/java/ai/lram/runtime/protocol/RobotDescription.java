package ai.lram.runtime.protocol;

import ai.lram.agent.card.TaskCard;
import java.util.List;

/**
 * How a robot describes itself when it opens a session; compared with the model's task card.
 *
 * @param rateHz how often it sends observations; > 0
 * @param observation names and units in the order it sends them
 * @param imageShape {channels, height, width} of its image, or empty
 * @param action names, units and the robot's own limits in the order it executes them
 * @param discreteActions number of discrete actions, or 0
 */
public record RobotDescription(
        double rateHz,
        List<Quantity> observation,
        List<Integer> imageShape,
        List<LimitedQuantity> action,
        int discreteActions) {
    public RobotDescription {
        observation = List.copyOf(observation);
        imageShape = List.copyOf(imageShape);
        action = List.copyOf(action);
    }

    /** The description of a robot that is exactly what {@code task} was trained for. */
    public static RobotDescription of(TaskCard task) {
        return new RobotDescription(
                task.rateHz(),
                task.observation().stream()
                        .map(f -> new Quantity(f.name(), f.unit()))
                        .toList(),
                task.imageShape(),
                task.action().stream()
                        .map(f -> new LimitedQuantity(f.name(), f.unit(), f.low(), f.high()))
                        .toList(),
                task.discreteActions());
    }

    /** A named number with its SI unit; the unit is empty for a pure number. */
    public record Quantity(String name, String unit) {}

    /** A named number, its unit and what the robot can execute; infinite limits where it does not say. */
    public record LimitedQuantity(String name, String unit, double low, double high) {}
}
