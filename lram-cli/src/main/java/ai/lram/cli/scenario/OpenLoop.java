package ai.lram.cli.scenario;

import ai.lram.agent.baseline.ActionPredictor;
import ai.lram.agent.baseline.EpisodeRows;
import ai.lram.agent.baseline.NearestNeighbour;
import ai.lram.agent.baseline.RidgeRegression;
import ai.lram.agent.baseline.SimplePredictors;
import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.eval.OpenLoopEvaluation;
import ai.lram.agent.eval.PolicyPredictor;
import ai.lram.agent.policy.Policy;
import ai.lram.bench.report.JsonReport;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.sample.EpisodeSplit;
import ai.lram.dataset.store.TrajectoryStore;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;

/** Compares a model's actions with recorded ones, beside simple predictors fitted to the training episodes. */
public final class OpenLoop {
    /** Penalty of the ridge regression, in rows: small, for what one step changes is small too and tells most. */
    static final double RIDGE_PENALTY = 1e-3;

    private static final String HAND = "hand";

    /** Which episodes are compared. */
    public enum Split {
        HELD_OUT("held-out"),
        TRAINING("training"),
        ALL("all");

        private final String label;

        Split(String label) {
            this.label = label;
        }

        @Override
        public String toString() {
            return label;
        }
    }

    /**
     * Mean absolute errors by predictor; the first is the model.
     *
     * @param task compared
     * @param split of the episodes
     * @param episodes their numbers in the store
     * @param errors by predictor: ours, meanAction, currentPosition, nearest, ridge, lastAction
     */
    public record Result(TaskCard task, Split split, int[] episodes, Map<String, OpenLoopEvaluation.Errors> errors) {
        /** The JSON of {@code --json}. */
        public ObjectNode json() {
            ObjectNode root = JsonReport.object();
            ObjectNode mae = root.putObject("mae");
            errors.forEach((name, e) -> JsonReport.put(mae, name, e.overall()));
            root.put("task", task.id());
            root.put("split", split.toString());
            ObjectNode groups = root.putObject("byGroup");
            errors.forEach((name, e) -> e.byGroup().forEach((group, v) -> {
                ObjectNode g = groups.has(group) ? (ObjectNode) groups.get(group) : groups.putObject(group);
                JsonReport.put(g, name, v);
            }));
            ArrayNode list = root.putArray("byEpisode");
            for (int episode : episodes) {
                ObjectNode n = list.addObject();
                n.put("episode", episode);
                errors.forEach(
                        (name, e) -> JsonReport.put(n, name, e.byEpisode().get(episode)));
            }
            return root;
        }
    }

    private OpenLoop() {}

    /**
     * @param policy with at least one slot, owned by this thread
     * @throws InputException if store and model do not belong together
     */
    public static Result evaluate(TrajectoryStore store, Policy policy, TaskCard task, Split split, Progress progress) {
        ModelCard card = policy.card();
        int[] episodes = episodes(store, card, task, split);
        int[] training = intersect(divided(store, card, split).training(), store.episodesOf(task.id()));
        Map<String, ActionPredictor> predictors = new LinkedHashMap<>();
        predictors.put("ours", new PolicyPredictor(policy, task));
        if (!task.discrete()) {
            List<EpisodeRows> rows = OpenLoopEvaluation.rows(store, training);
            predictors.put("meanAction", SimplePredictors.meanAction(rows));
            predictors.put("currentPosition", SimplePredictors.currentPosition(task));
            predictors.put("nearest", new NearestNeighbour(task, rows));
            predictors.put("ridge", new RidgeRegression(rows, RIDGE_PENALTY));
            predictors.put("lastAction", SimplePredictors.lastAction());
        }
        Map<String, OpenLoopEvaluation.Errors> errors = new LinkedHashMap<>();
        for (Map.Entry<String, ActionPredictor> e : predictors.entrySet()) {
            progress.update((double) errors.size() / predictors.size(), e.getKey());
            errors.put(e.getKey(), OpenLoopEvaluation.of(e.getValue(), store, task, episodes, groups(task)));
        }
        progress.update(1, "");
        return new Result(task, split, episodes, errors);
    }

    /**
     * The episodes of a task that a split names.
     *
     * @throws InputException if store and model do not belong together, or there are none
     */
    public static int[] episodes(TrajectoryStore store, ModelCard card, TaskCard task, Split split) {
        requireSameWidths(store, task);
        EpisodeSplit divided = divided(store, card, split);
        int[] own = store.episodesOf(task.id());
        int[] episodes =
                switch (split) {
                    case HELD_OUT -> intersect(divided.heldOut(), own);
                    case TRAINING -> intersect(divided.training(), own);
                    case ALL -> own;
                };
        if (episodes.length == 0) {
            throw new InputException(
                    "there is nothing to compare",
                    "the split " + split + " of task " + task.id() + " has no episodes",
                    "train with held-out-fraction > 0, or choose --split all");
        }
        return episodes;
    }

    private static EpisodeSplit divided(TrajectoryStore store, ModelCard card, Split split) {
        return split == Split.ALL && !card.provenance().containsKey("heldOutEpisodes")
                ? EpisodeSplit.explicit(store)
                : Provenance.split(card, store);
    }

    /** Arms and hands apart where the action names hands. */
    private static Map<String, Predicate<String>> groups(TaskCard task) {
        List<String> names = task.action().stream().map(ActionFeature::name).toList();
        Predicate<String> hand = n -> n.toLowerCase(java.util.Locale.ROOT).contains(HAND);
        Map<String, Predicate<String>> groups = new LinkedHashMap<>();
        if (names.stream().anyMatch(hand) && !names.stream().allMatch(hand)) {
            groups.put("arms", hand.negate());
            groups.put("hands", hand);
        }
        return groups;
    }

    static void requireSameWidths(TrajectoryStore store, TaskCard task) {
        if (!store.taskIds().contains(task.id())) {
            throw new InputException(
                    store.folder() + " has no task " + task.id(),
                    "it holds " + store.taskIds(),
                    "name another store, or another task of the model with --task");
        }
        TaskInfo info = store.taskInfo(task.id());
        if (info.observationWidth() != task.observationSize() || info.actionWidth() != task.actionSize()) {
            throw new InputException(
                    "task " + task.id() + " of " + store.folder() + " is not the model's",
                    "it has " + info.observationWidth() + " observations and " + info.actionWidth()
                            + " actions, the model " + task.observationSize() + " and " + task.actionSize(),
                    "name the store the model was trained on");
        }
    }

    private static int[] intersect(int[] a, int[] sorted) {
        return Arrays.stream(a).filter(e -> Arrays.binarySearch(sorted, e) >= 0).toArray();
    }
}
