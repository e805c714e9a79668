package ai.lram.cli.scenario;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.bench.report.JsonReport;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.bridge.rollout.ReferenceReturns;
import ai.lram.bridge.rollout.Rollout;
import ai.lram.cli.config.InputException;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.OptionalDouble;

/** Returns of a model in the environments of this process, on starts it has not seen. */
public final class ClosedLoop {
    private ClosedLoop() {}

    /**
     * @param targetReturn asked for, raw units
     * @param episodes of the model, in the order of their seeds
     * @param references random actions and expert on the same seeds
     */
    public record Result(double targetReturn, List<EpisodeResult> episodes, ReferenceReturns references) {
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
            throw new InputException("--target-return " + given.getAsDouble(), "a return is a finite number", "give one");
        }
        return given.orElseGet(() -> quantile.isPresent()
                ? Provenance.returnQuantile(card, task.id(), quantile.getAsDouble())
                : task.targetReturn());
    }

    /** Runs {@code episodes} unseen starts of one task. */
    public static Result evaluate(Policy policy, TaskCard task, int episodes, double targetReturn) {
        long first = EnvironmentRegistry.FIRST_EVALUATION_SEED;
        ReferenceReturns references = ReferenceReturns.measure(task.id(), first, episodes);
        return new Result(targetReturn, Rollout.run(policy, Rollout.jobs(task, first, episodes, targetReturn)), references);
    }
}
