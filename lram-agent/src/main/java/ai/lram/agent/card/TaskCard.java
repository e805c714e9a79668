package ai.lram.agent.card;

import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Everything a session must agree on to be controlled by a model at one task.
 *
 * @param id unique within the model, e.g. {@code cartpole-swingup}
 * @param domain the family the task belongs to, e.g. {@code classic-control} or {@code unitree-g1}
 * @param rateHz control rate the model was trained at; > 0
 * @param observation the vector observation, in order; empty for a task observed by images only
 * @param imageShape {channels, height, width} of the uint8 image, or empty where the task has none
 * @param action continuous action features in order; for a discrete task exactly one feature that counts the actions
 * @param discreteActions number of discrete actions (ids 0..n-1), or 0 for a continuous task
 * @param rewardScale rewards and returns are divided by this before the model sees them; > 0
 * @param imitation true for data without rewards: reward and return-to-go tokens are fixed at zero
 * @param targetReturn default return asked for at the start of an episode, raw units
 * @param maxEpisodeSteps length of an episode in steps, 0 for none
 * @param fallback what is sent in place of a late or unsafe action
 * @param safeAction a physically safe action in raw units, within bounds
 * @param returnRange {lowest, highest} return-to-go of the training data, raw units: a session never asks for more or less, since a
 *     model knows nothing beyond it; empty for no limit
 */
public record TaskCard(
        String id,
        String domain,
        double rateHz,
        List<ObservationFeature> observation,
        List<Integer> imageShape,
        List<ActionFeature> action,
        int discreteActions,
        double rewardScale,
        boolean imitation,
        double targetReturn,
        int maxEpisodeSteps,
        Fallback fallback,
        List<Double> safeAction,
        List<Double> returnRange) {
    /** A task without limits on its return-to-go. */
    public TaskCard(
            String id,
            String domain,
            double rateHz,
            List<ObservationFeature> observation,
            List<Integer> imageShape,
            List<ActionFeature> action,
            int discreteActions,
            double rewardScale,
            boolean imitation,
            double targetReturn,
            int maxEpisodeSteps,
            Fallback fallback,
            List<Double> safeAction) {
        this(
                id,
                domain,
                rateHz,
                observation,
                imageShape,
                action,
                discreteActions,
                rewardScale,
                imitation,
                targetReturn,
                maxEpisodeSteps,
                fallback,
                safeAction,
                List.of());
    }

    public TaskCard {
        if (id == null || id.isBlank() || domain == null || domain.isBlank()) {
            throw new CardException("task without id or domain", "id=" + id + " domain=" + domain, "name both");
        }
        observation = List.copyOf(observation);
        imageShape = List.copyOf(imageShape);
        action = List.copyOf(action);
        safeAction = List.copyOf(safeAction);
        returnRange = List.copyOf(returnRange);
        if (!returnRange.isEmpty() && (returnRange.size() != 2 || !(returnRange.get(0) <= returnRange.get(1)))) {
            throw new CardException(
                    "task " + id + " has a malformed return range",
                    returnRange.toString(),
                    "give [lowest, highest], or [] for none");
        }
        if (!(rateHz > 0) || !Double.isFinite(rateHz)) {
            throw new CardException(
                    "task " + id + " has no control rate", "rateHz=" + rateHz, "give the rate of the data, e.g. 30");
        }
        if (observation.isEmpty() && imageShape.isEmpty()) {
            throw new CardException(
                    "task " + id + " observes nothing", "no observation features and no image", "name at least one");
        }
        if (!imageShape.isEmpty() && imageShape.size() != 3) {
            throw new CardException(
                    "task " + id + " has a malformed image shape",
                    imageShape.toString(),
                    "give [channels, height, width]");
        }
        if (action.isEmpty() || discreteActions < 0 || discreteActions > 0 && action.size() != 1) {
            throw new CardException(
                    "task " + id + " has no usable action",
                    action.size() + " features, " + discreteActions + " discrete actions",
                    "a continuous task names every dimension; a discrete one has exactly one feature");
        }
        if (!(rewardScale > 0) || !Double.isFinite(rewardScale) || !Double.isFinite(targetReturn)) {
            throw new CardException(
                    "task " + id + " has no usable reward scale or target return",
                    "rewardScale=" + rewardScale + " targetReturn=" + targetReturn,
                    "use a scale > 0 and a finite target");
        }
        if (safeAction.size() != action.size()) {
            throw new CardException(
                    "task " + id + " has no safe action",
                    safeAction.size() + " values for " + action.size() + " action features",
                    "give one value per action feature");
        }
        Set<String> names = new HashSet<>();
        for (ObservationFeature f : observation) {
            if (!names.add(f.name())) {
                throw new CardException("task " + id + " names an observation twice", f.name(), "use unique names");
            }
        }
        for (int i = 0; i < action.size(); i++) {
            ActionFeature f = action.get(i);
            if (f.relativeTo() != null && !names.contains(f.relativeTo())) {
                throw new CardException(
                        "task " + id + ": action " + f.name() + " is relative to an unknown observation",
                        f.relativeTo(),
                        "name one of the task's observation features");
            }
            double safe = safeAction.get(i);
            if (!(safe >= f.low() && safe <= f.high())) {
                throw new CardException(
                        "task " + id + ": the safe action is outside its bounds",
                        f.name() + "=" + safe + " not in [" + f.low() + ", " + f.high() + "]",
                        "choose a value within the bounds");
            }
        }
    }

    public boolean discrete() {
        return discreteActions > 0;
    }

    public boolean hasImage() {
        return !imageShape.isEmpty();
    }

    /** Bytes of an image; 0 without one. */
    public int imageBytes() {
        return hasImage() ? imageShape.stream().reduce(1, Math::multiplyExact) : 0;
    }

    public int observationSize() {
        return observation.size();
    }

    public int actionSize() {
        return action.size();
    }

    /** Position of an observation feature, or -1. */
    public int observationIndex(String name) {
        for (int i = 0; i < observation.size(); i++) {
            if (observation.get(i).name().equals(name)) {
                return i;
            }
        }
        return -1;
    }
}
