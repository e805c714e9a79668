package ai.lram.bridge.env;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import java.util.ArrayList;
import java.util.List;

/**
 * What an environment observes, takes and rewards.
 *
 * @param id registry id, e.g. {@code cartpole-swingup}
 * @param domain family of tasks, e.g. {@code classic-control}
 * @param rateHz control steps per second of simulated time
 * @param observation observation features in order
 * @param action action features in order, with finite bounds; for a discrete task the one feature counts the actions
 * @param discreteActions number of discrete actions (ids 0..n-1), 0 for a continuous task
 * @param safeAction an action that adds no energy, within bounds; one value per action feature
 * @param maxEpisodeSteps steps after which an episode is truncated
 * @param reward the reward of one step in words
 */
public record EnvironmentSpec(
        String id,
        String domain,
        double rateHz,
        List<Feature> observation,
        List<Feature> action,
        int discreteActions,
        List<Double> safeAction,
        int maxEpisodeSteps,
        String reward) {
    public EnvironmentSpec {
        observation = List.copyOf(observation);
        action = List.copyOf(action);
        safeAction = List.copyOf(safeAction);
        if (observation.isEmpty() || action.isEmpty() || safeAction.size() != action.size()) {
            throw new IllegalArgumentException(
                    "environment " + id + " needs observations, actions and one safe value per action: "
                            + observation.size() + ", " + action.size() + ", " + safeAction.size());
        }
        if (!(rateHz > 0) || maxEpisodeSteps < 1 || discreteActions < 0 || discreteActions > 0 && action.size() != 1) {
            throw new IllegalArgumentException(
                    "environment " + id + " is malformed: rateHz=" + rateHz + " maxEpisodeSteps=" + maxEpisodeSteps
                            + " discreteActions=" + discreteActions + " with " + action.size() + " action features");
        }
        for (Feature f : action) {
            if (Double.isInfinite(f.low()) || Double.isInfinite(f.high())) {
                throw new IllegalArgumentException(
                        "environment " + id + ": action " + f.name() + " has no finite bounds");
            }
        }
    }

    public boolean discrete() {
        return discreteActions > 0;
    }

    public int observationSize() {
        return observation.size();
    }

    public int actionSize() {
        return action.size();
    }

    /**
     * The model's side of this task.
     *
     * @param mean mean of each observation feature over the training split
     * @param std standard deviation of each; > 0
     * @param rewardScale rewards and returns are divided by this before the model sees them; > 0
     * @param targetReturn return asked for at the start of an episode, raw units
     * @throws ai.lram.agent.card.CardException if a value cannot be used
     */
    public TaskCard toTaskCard(
            double[] mean, double[] std, double rewardScale, double targetReturn, Fallback fallback) {
        if (mean.length != observation.size() || std.length != observation.size()) {
            throw new IllegalArgumentException(
                    "task " + id + " has " + observation.size() + " observation features, got " + mean.length
                            + " means and " + std.length + " standard deviations");
        }
        List<ObservationFeature> observed = new ArrayList<>();
        for (int i = 0; i < observation.size(); i++) {
            Feature f = observation.get(i);
            observed.add(new ObservationFeature(f.name(), f.unit(), f.low(), f.high(), mean[i], std[i]));
        }
        List<ActionFeature> commanded = new ArrayList<>();
        for (Feature f : action) {
            commanded.add(ActionFeature.bounded(f.name(), f.unit(), f.low(), f.high()));
        }
        return new TaskCard(
                id,
                domain,
                rateHz,
                observed,
                List.of(),
                commanded,
                discreteActions,
                rewardScale,
                false,
                targetReturn,
                maxEpisodeSteps,
                fallback,
                safeAction);
    }

    /**
     * Refuses a task card whose vectors differ from this environment's in number, order, names or units.
     *
     * @throws InvalidBufferException naming the first difference
     */
    public void requireMatches(TaskCard task) {
        String difference = null;
        if (task.observationSize() != observationSize()
                || task.actionSize() != actionSize()
                || task.discreteActions() != discreteActions
                || task.hasImage()) {
            difference = "the card has " + task.observationSize() + " observations, " + task.actionSize() + " actions, "
                    + task.discreteActions() + " discrete ids" + (task.hasImage() ? " and an image" : "")
                    + "; the environment "
                    + observationSize() + ", " + actionSize() + ", " + discreteActions;
        } else {
            for (int i = 0; i < observation.size() && difference == null; i++) {
                difference = difference(
                        "observation",
                        i,
                        observation.get(i),
                        task.observation().get(i).name(),
                        task.observation().get(i).unit());
            }
            for (int i = 0; i < action.size() && difference == null; i++) {
                difference = difference(
                        "action",
                        i,
                        action.get(i),
                        task.action().get(i).name(),
                        task.action().get(i).unit());
            }
        }
        if (difference != null) {
            throw new InvalidBufferException(
                    "task card " + task.id() + " does not describe environment " + id,
                    difference,
                    "use a model trained on data of this environment");
        }
    }

    private static String difference(String kind, int i, Feature f, String name, String unit) {
        return f.name().equals(name) && f.unit().equals(unit)
                ? null
                : kind + " " + i + " is " + name + " [" + unit + "] on the card and " + f.name() + " [" + f.unit()
                        + "] here";
    }
}
