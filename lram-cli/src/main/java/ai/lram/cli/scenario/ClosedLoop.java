package ai.lram.cli.scenario;

import ai.lram.agent.baseline.BehaviourCloning;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.bench.report.JsonReport;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.bridge.rollout.ReferenceReturns;
import ai.lram.bridge.rollout.Rollout;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import ai.lram.dataset.store.TrajectoryStore;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Locale;
import java.util.OptionalDouble;

/** Returns of a model in the environments of this process, on starts it has not seen. */
public final class ClosedLoop {
    private ClosedLoop() {}

    /**
     * @param targetReturn asked for, raw units
     * @param episodes of the model, in the order of their seeds
     * @param references random actions and expert on the same seeds
     * @param cloning behaviour cloning on the same seeds; empty where it was not asked for
     */
    public record Result(
            double targetReturn,
            List<EpisodeResult> episodes,
            ReferenceReturns references,
            List<EpisodeResult> cloning) {
        public Result {
            episodes = List.copyOf(episodes);
            cloning = List.copyOf(cloning);
        }

        /** The same with a baseline's episodes. */
        public Result withCloning(List<EpisodeResult> baseline) {
            return new Result(targetReturn, episodes, references, baseline);
        }

        public double meanReturn() {
            return EpisodeResult.meanReturn(episodes);
        }

        public double score() {
            return references.score(meanReturn());
        }

        /** The JSON of {@code --json}. */
        public ObjectNode json() {
            ObjectNode n = JsonReport.object();
            n.put("task", references.task());
            JsonReport.put(n, "targetReturn", targetReturn);
            JsonReport.put(n, "random", references.random());
            JsonReport.put(n, "expert", references.expert());
            JsonReport.put(n, "agent", meanReturn());
            JsonReport.put(n, "agentStd", EpisodeResult.stdReturn(episodes));
            JsonReport.put(n, "score", score());
            if (!cloning.isEmpty()) {
                JsonReport.put(n, "behaviourCloning", EpisodeResult.meanReturn(cloning));
            }
            ArrayNode list = n.putArray("episodes");
            for (EpisodeResult e : episodes) {
                ObjectNode one = list.addObject();
                one.put("seed", e.seed());
                JsonReport.put(one, "return", e.episodeReturn());
                one.put("length", e.length());
                one.put("terminated", e.terminated());
            }
            return n;
        }
    }

    /** The return to ask for: given, or a quantile of the training returns, or the card's. */
    public static double target(ModelCard card, TaskCard task, OptionalDouble given, OptionalDouble quantile) {
        if (given.isPresent() && !Double.isFinite(given.getAsDouble())) {
            throw new InputException(
                    "--target-return " + given.getAsDouble(), "a return is a finite number", "give one");
        }
        return given.orElseGet(() -> quantile.isPresent()
                ? Provenance.returnQuantile(card, task.id(), quantile.getAsDouble())
                : task.targetReturn());
    }

    /** Runs {@code episodes} unseen starts of one task. */
    public static Result evaluate(Policy policy, TaskCard task, int episodes, double targetReturn) {
        long first = EnvironmentRegistry.FIRST_EVALUATION_SEED;
        ReferenceReturns references = ReferenceReturns.measure(task.id(), first, episodes);
        return new Result(
                targetReturn,
                Rollout.run(policy, Rollout.jobs(task, first, episodes, targetReturn)),
                references,
                List.of());
    }

    /**
     * Clones the behaviour of the model's training episodes, all its tasks, with a small feed-forward net, and runs it on the same unseen
     * starts of one task.
     *
     * @param store the model was trained on
     * @throws InputException if it is another store
     */
    public static List<EpisodeResult> cloning(
            TrajectoryStore store,
            ModelCard card,
            TaskCard task,
            int episodes,
            String device,
            int threads,
            Progress progress) {
        int[][] training =
                TrainingRun.perTask(store, Provenance.split(card, store).training(), 1);
        BehaviourCloning.Config config = BehaviourCloning.Config.defaults();
        long[] updates = {0};
        try (Backend backend = Backends.open(device, BackendOptions.threads(threads));
                BehaviourCloning net = BehaviourCloning.train(
                        store,
                        card,
                        training,
                        config,
                        backend,
                        loss -> progress.update(
                                (double) ++updates[0] / config.updates(),
                                String.format(Locale.ROOT, "loss %.4f", loss)));
                Policy policy = net.policy(episodes, episodes)) {
            return Rollout.run(
                    policy,
                    Rollout.jobs(task, EnvironmentRegistry.FIRST_EVALUATION_SEED, episodes, task.targetReturn()));
        }
    }
}
