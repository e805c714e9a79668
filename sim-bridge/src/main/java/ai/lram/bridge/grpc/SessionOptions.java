package ai.lram.bridge.grpc;

import ai.lram.runtime.protocol.RobotDescription;
import java.util.OptionalDouble;

/**
 * What to ask for when opening a session.
 *
 * @param robot name for the server's log and statistics
 * @param task id of a task of the model
 * @param description how the robot describes itself
 * @param targetReturn return to ask for in every episode, raw units; the task's own if empty
 * @param record true to record every episode on the server
 */
public record SessionOptions(
        String robot, String task, RobotDescription description, OptionalDouble targetReturn, boolean record) {
    /** A session without recording that asks for the task's own return. */
    public static SessionOptions of(String robot, String task, RobotDescription description) {
        return new SessionOptions(robot, task, description, OptionalDouble.empty(), false);
    }

    /** A session of a robot that is exactly what the task was trained for: a simulator that reads the description. */
    public static SessionOptions of(String robot, TaskDescription task) {
        return of(robot, task.id(), task.robot());
    }

    /** The same with another return to ask for. */
    public SessionOptions withTargetReturn(double wanted) {
        return new SessionOptions(robot, task, description, OptionalDouble.of(wanted), record);
    }

    /** The same, recorded on the server. */
    public SessionOptions recorded() {
        return new SessionOptions(robot, task, description, targetReturn, true);
    }
}
