package ai.lram.bench.subject;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/** Task cards that have a domain's shapes and nothing else of it. */
public final class Shapes {
    private Shapes() {}

    /**
     * A continuous task with observations of mean 0 and deviation 1 and actions in [-1, 1].
     *
     * @param rateHz control rate
     */
    public static TaskCard vector(String id, int observations, int actions, double rateHz) {
        List<ObservationFeature> observed = IntStream.range(0, observations)
                .mapToObj(i ->
                        new ObservationFeature("o" + i, "", Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY, 0, 1))
                .toList();
        List<ActionFeature> commanded = IntStream.range(0, actions)
                .mapToObj(i -> ActionFeature.bounded("a" + i, "", -1, 1))
                .toList();
        return new TaskCard(
                id,
                "shapes",
                rateHz,
                observed,
                List.of(),
                commanded,
                0,
                1,
                false,
                100,
                0,
                Fallback.HOLD,
                Collections.nCopies(actions, 0.0));
    }

    /** A task seen as 3x64x64 images, with that many discrete actions. */
    public static TaskCard image(String id, int choices, double rateHz) {
        return new TaskCard(
                id,
                "shapes",
                rateHz,
                List.of(),
                List.of(3, 64, 64),
                List.of(ActionFeature.bounded("choice", "", 0, choices - 1)),
                choices,
                1,
                false,
                100,
                0,
                Fallback.HOLD,
                List.of(0.0));
    }

    /** A model card of one task. */
    public static ModelCard card(TaskCard task) {
        return new ModelCard(ModelCard.FORMAT_VERSION, "shapes", List.of(task), Map.of());
    }
}
