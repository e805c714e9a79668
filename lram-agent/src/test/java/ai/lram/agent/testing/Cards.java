package ai.lram.agent.testing;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.vision.ImpalaCnn;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** Made-up task and model cards. */
public final class Cards {
    private Cards() {}

    /** A continuous task with rewards; observation i has mean 0.1 i and deviation 1 + 0.1 i. */
    public static TaskCard continuous(String id, int observations, int actions) {
        List<ObservationFeature> obs = new ArrayList<>();
        for (int i = 0; i < observations; i++) {
            obs.add(new ObservationFeature(
                    "o" + i, "", Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY, 0.1 * i, 1 + 0.1 * i));
        }
        List<ActionFeature> acts = new ArrayList<>();
        for (int i = 0; i < actions; i++) {
            acts.add(ActionFeature.bounded("a" + i, "", -1 - i, 1 + i));
        }
        return new TaskCard(
                id,
                "made-up",
                50,
                obs,
                List.of(),
                acts,
                0,
                10,
                false,
                100,
                0,
                Fallback.HOLD,
                Collections.nCopies(actions, 0.0));
    }

    /** A task of {@code choices} discrete actions. */
    public static TaskCard discrete(String id, int observations, int choices) {
        TaskCard t = continuous(id, observations, 1);
        return new TaskCard(
                id,
                t.domain(),
                t.rateHz(),
                t.observation(),
                List.of(),
                List.of(ActionFeature.bounded("choice", "", 0, choices - 1)),
                choices,
                2,
                false,
                1,
                0,
                Fallback.SAFE,
                List.of(0.0));
    }

    /** A task seen by camera, as the encoder reads it. */
    public static TaskCard image(String id, int choices) {
        return image(id, choices, ImpalaCnn.SHAPE);
    }

    /** @param shape channels, height, width */
    public static TaskCard image(String id, int choices, List<Integer> shape) {
        return new TaskCard(
                id,
                "pixels",
                15,
                List.of(),
                shape,
                List.of(ActionFeature.bounded("choice", "", 0, choices - 1)),
                choices,
                1,
                false,
                1,
                0,
                Fallback.HOLD,
                List.of(0.0));
    }

    public static ModelCard model(TaskCard... tasks) {
        return new ModelCard(ModelCard.FORMAT_VERSION, "test", List.of(tasks), Map.of());
    }
}
