package ai.lram.runtime.protocol;

import java.util.OptionalDouble;

/**
 * What a robot asks for when it opens a session.
 *
 * @param robot name for logs and recordings
 * @param task id of a task of the model
 * @param description how the robot describes itself
 * @param targetReturn return to ask for in every episode, raw units; the task's default if empty
 * @param record true to record every episode
 */
public record SessionSpec(
        String robot, String task, RobotDescription description, OptionalDouble targetReturn, boolean record) {}
