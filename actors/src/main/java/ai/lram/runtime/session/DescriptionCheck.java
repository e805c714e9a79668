package ai.lram.runtime.session;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.runtime.protocol.RobotDescription;
import ai.lram.runtime.protocol.RobotDescription.LimitedQuantity;
import ai.lram.runtime.protocol.RobotDescription.Quantity;
import java.util.Optional;

/** Compares what a robot says of itself with the task it wants to be controlled at. */
public final class DescriptionCheck {
    private static final double RATE_TOLERANCE = 0.01;

    private DescriptionCheck() {}

    /** The first difference, in words that name it, or empty if robot and task agree. */
    public static Optional<String> difference(TaskCard task, RobotDescription robot) {
        if (!(Math.abs(robot.rateHz() - task.rateHz()) <= RATE_TOLERANCE * task.rateHz())) {
            return Optional.of("the robot runs at " + robot.rateHz() + " Hz, the model at " + task.rateHz() + " Hz");
        }
        if (robot.observation().size() != task.observationSize()) {
            return Optional.of("the robot observes " + robot.observation().size() + " values, the model "
                    + task.observationSize() + " ("
                    + task.observation().stream().map(ObservationFeature::name).toList()
                    + ")");
        }
        for (int i = 0; i < task.observationSize(); i++) {
            ObservationFeature expected = task.observation().get(i);
            Quantity given = robot.observation().get(i);
            if (!expected.name().equals(given.name())) {
                return Optional.of("observation " + i + " is " + given.name() + " on the robot, " + expected.name()
                        + " in the model");
            }
            if (!expected.unit().equals(given.unit())) {
                return Optional.of("observation " + expected.name() + " is in " + unit(given.unit())
                        + " on the robot, in " + unit(expected.unit()) + " in the model");
            }
        }
        if (!robot.imageShape().equals(task.imageShape())) {
            return Optional.of("the robot's image is " + robot.imageShape() + ", the model's " + task.imageShape());
        }
        if (robot.discreteActions() != task.discreteActions()) {
            return Optional.of("the robot has " + robot.discreteActions() + " discrete actions, the model "
                    + task.discreteActions());
        }
        if (robot.action().size() != task.actionSize()) {
            return Optional.of("the robot executes " + robot.action().size() + " action values, the model gives "
                    + task.actionSize() + " ("
                    + task.action().stream().map(ActionFeature::name).toList() + ")");
        }
        for (int i = 0; i < task.actionSize(); i++) {
            Optional<String> difference =
                    actionDifference(i, task.action().get(i), robot.action().get(i));
            if (difference.isPresent()) {
                return difference;
            }
        }
        return Optional.empty();
    }

    private static Optional<String> actionDifference(int i, ActionFeature expected, LimitedQuantity given) {
        if (!expected.name().equals(given.name())) {
            return Optional.of(
                    "action " + i + " is " + given.name() + " on the robot, " + expected.name() + " in the model");
        }
        if (!expected.unit().equals(given.unit())) {
            return Optional.of("action " + expected.name() + " is in " + unit(given.unit()) + " on the robot, in "
                    + unit(expected.unit()) + " in the model");
        }
        if (!(given.low() <= expected.low() && given.high() >= expected.high())) {
            return Optional.of("action " + expected.name() + " may be [" + given.low() + ", " + given.high()
                    + "] on the robot, the model commands [" + expected.low() + ", " + expected.high() + "]");
        }
        return Optional.empty();
    }

    private static String unit(String unit) {
        return unit.isEmpty() ? "no unit" : unit;
    }
}
