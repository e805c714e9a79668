package ai.lram.bridge.grpc;

import ai.lram.agent.card.Fallback;
import ai.lram.bridge.v1.Task;
import ai.lram.runtime.protocol.RobotDescription;
import java.util.List;

/**
 * A task as a server describes it.
 *
 * @param rateHz observations per second the model was trained at
 * @param robot names, units and bounds of observations and actions, in order
 * @param observationMin smallest value accepted per observation
 * @param observationMax largest value accepted per observation
 * @param maxRate largest change per second per action
 * @param rewardScale rewards are divided by this before the model sees them
 * @param imitation true if rewards and returns are ignored
 * @param targetReturn return asked for unless a session names another one, raw units
 * @param maxEpisodeSteps steps per episode, 0 for no limit
 * @param fallback what is sent in place of a late or unusable action
 * @param safeAction a safe action, raw units
 */
public record TaskDescription(
        String id,
        String domain,
        double rateHz,
        RobotDescription robot,
        List<Double> observationMin,
        List<Double> observationMax,
        List<Double> maxRate,
        double rewardScale,
        boolean imitation,
        double targetReturn,
        int maxEpisodeSteps,
        Fallback fallback,
        List<Double> safeAction) {
    public TaskDescription {
        observationMin = List.copyOf(observationMin);
        observationMax = List.copyOf(observationMax);
        maxRate = List.copyOf(maxRate);
        safeAction = List.copyOf(safeAction);
    }

    /** Values per observation. */
    public int observationSize() {
        return robot.observation().size();
    }

    /** Values per action. */
    public int actionSize() {
        return robot.action().size();
    }

    static TaskDescription of(Task task) {
        return new TaskDescription(
                task.getId(),
                task.getDomain(),
                task.getRateHz(),
                new RobotDescription(
                        task.getRateHz(),
                        task.getObservationList().stream()
                                .map(f -> new RobotDescription.Quantity(f.getName(), f.getUnit()))
                                .toList(),
                        task.getImageShapeList(),
                        task.getActionList().stream()
                                .map(f -> new RobotDescription.LimitedQuantity(
                                        f.getName(), f.getUnit(), f.getLow(), f.getHigh()))
                                .toList(),
                        task.getDiscreteActions()),
                task.getObservationList().stream().map(f -> f.getMin()).toList(),
                task.getObservationList().stream().map(f -> f.getMax()).toList(),
                task.getActionList().stream().map(f -> f.getMaxRate()).toList(),
                task.getRewardScale(),
                task.getImitation(),
                task.getTargetReturn(),
                task.getMaxEpisodeSteps(),
                task.getFallback() == ai.lram.bridge.v1.Fallback.FALLBACK_SAFE ? Fallback.SAFE : Fallback.HOLD,
                task.getSafeActionList());
    }
}
