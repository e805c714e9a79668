package ai.lram.runtime.testing;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import java.util.List;
import java.util.Map;

/** Task cards for tests. */
public final class Cards {
    private Cards() {}

    /** Two joints at 100 Hz with bounds but no rate limit; holds. */
    public static TaskCard reacher() {
        return task("reacher", Double.POSITIVE_INFINITY, Fallback.HOLD, null, 0);
    }

    /** The same arm with a rate limit of 10 rad/s, so 0.1 rad a step. */
    public static TaskCard limited(Fallback fallback, String relativeTo) {
        return task("limited", 10, fallback, relativeTo, 0);
    }

    public static TaskCard discrete(int actions) {
        return task("discrete", Double.POSITIVE_INFINITY, Fallback.SAFE, null, actions);
    }

    private static TaskCard task(String id, double maxRate, Fallback fallback, String relativeTo, int discrete) {
        List<ObservationFeature> observation = List.of(
                new ObservationFeature("shoulder.pos", "rad", -3, 3, 0, 1),
                new ObservationFeature("elbow.pos", "rad", -3, 3, 0.1, 2));
        List<ActionFeature> action = discrete > 0
                ? List.of(ActionFeature.bounded("choice", "", 0, discrete - 1))
                : List.of(
                        new ActionFeature("shoulder.cmd", "rad", -1, 1, maxRate, -1, 1, relativeTo),
                        new ActionFeature("elbow.cmd", "rad", -2, 2, maxRate, -2, 2, null));
        return new TaskCard(
                id,
                "test",
                100,
                observation,
                List.of(),
                action,
                discrete,
                1,
                false,
                50,
                1000,
                fallback,
                discrete > 0 ? List.of(1.0) : List.of(0.0, 0.5));
    }

    /** A camera task of 1 x 2 x 3 pixels without a state vector. */
    public static TaskCard camera() {
        return new TaskCard(
                "camera",
                "test",
                50,
                List.of(),
                List.of(1, 2, 3),
                List.of(ActionFeature.bounded("u", "N", -1, 1)),
                0,
                1,
                true,
                0,
                0,
                Fallback.SAFE,
                List.of(0.0));
    }

    public static ModelCard model(TaskCard... tasks) {
        return new ModelCard(ModelCard.FORMAT_VERSION, "test model", List.of(tasks), Map.of());
    }
}
