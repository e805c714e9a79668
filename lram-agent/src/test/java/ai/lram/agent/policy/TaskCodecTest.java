package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.testing.Allocations;
import ai.lram.agent.testing.Cards;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class TaskCodecTest {
    private static final ActionCodec BINS = new ActionCodec(18, 256);

    /** Action 0 is absolute over [-2, 6], action 1 is relative to observation o1 over [-0.5, 0.5]. */
    private static TaskCard relative() {
        TaskCard t = Cards.continuous("arm", 3, 2);
        List<ActionFeature> actions = List.of(
                new ActionFeature("a0", "rad", -2, 6, 10, -2, 6, null),
                new ActionFeature("o1", "rad", -9, 9, 10, -0.5, 0.5, "o1"));
        return new TaskCard(
                t.id(),
                t.domain(),
                t.rateHz(),
                t.observation(),
                List.of(),
                actions,
                0,
                10,
                false,
                100,
                0,
                t.fallback(),
                t.safeAction());
    }

    @Test
    void observationsAndRewardsAreScaledAsTheCardSays() {
        TaskCodec c = new TaskCodec(Cards.continuous("move", 3, 1), BINS);
        assertEquals((3.4 - 0.2) / 1.2, c.observation(2, 3.4f), 1e-6);
        assertEquals(0.7f, c.reward(7), 1e-6);
        assertEquals(3, c.observationSize());
        assertEquals(1, c.actionSize());
    }

    @Test
    void absoluteAndRelativeActionsComeBack() {
        TaskCodec c = new TaskCodec(relative(), BINS);
        float[] obs = {9, 9, 0.3f, -1.25f, 7};
        assertEquals(-1, c.normalizeAction(0, -2, obs, 2), 1e-6);
        assertEquals(1, c.normalizeAction(0, 6, obs, 2), 1e-6);
        assertEquals(0, c.normalizeAction(1, -1.25f, obs, 2), 1e-6, "standing still");
        assertEquals(1, c.normalizeAction(1, -0.75f, obs, 2), 1e-6);
        Random r = new Random(1);
        for (int k = 0; k < 1000; k++) {
            for (int i = 0; i < 2; i++) {
                float raw = (float) (i == 0 ? -2 + 8 * r.nextDouble() : -1.25 - 0.5 + r.nextDouble());
                float x = c.normalizeAction(i, raw, obs, 2);
                assertEquals(raw, c.rawAction(i, x, obs, 2), 2e-6f * 8);
                float decoded = c.rawAction(i, BINS.centre(BINS.encode(x)), obs, 2);
                double halfBin = (i == 0 ? 8 : 1) / 512.0;
                assertEquals(raw, decoded, halfBin * 1.001, "within half a bin");
            }
        }
    }

    @Test
    void decodesEachDimensionFromItsOwnLogits() {
        TaskCodec c = new TaskCodec(relative(), BINS);
        float[] logits = new float[7 + 2 * 274];
        float[] obs = {0, 0.5f, 0};
        logits[7 + BINS.encode(0.5f)] = 50;
        logits[7 + 274 + BINS.encode(-0.5f)] = 50;
        float[] action = new float[2];
        c.decode(ActionCodec.Decoding.CENTRE, logits, 7, obs, action);
        assertEquals(4, action[0], 8 / 256.0);
        assertEquals(0.5 - 0.25, action[1], 1 / 256.0);
        assertEquals(
                0, Allocations.afterWarmUp(() -> c.decode(ActionCodec.Decoding.EXPECTATION, logits, 7, obs, action)));
        assertEquals(4, action[0], 8 / 256.0);
    }

    @Test
    void discreteTasksReadOnlyTheirOwnChoices() {
        TaskCodec c = new TaskCodec(Cards.discrete("choose", 2, 3), BINS);
        float[] logits = new float[274];
        logits[1] = 2;
        logits[5] = 9;
        logits[100] = 99;
        float[] action = new float[1];
        c.decode(ActionCodec.Decoding.LOWER_EDGE, logits, 0, new float[2], action);
        assertEquals(1, action[0], "ids beyond the task's choices do not count");
    }

    @Test
    void notFiniteLogitsAreReported() {
        TaskCard task = Cards.discrete("choose", 2, 3);
        TaskCodec c = new TaskCodec(task, BINS);
        PolicyBatch batch = new PolicyBatch(Cards.model(task), 1);
        float[] logits = new float[274];
        assertEquals(PolicyBatch.OK, c.decodeChecked(ActionCodec.Decoding.CENTRE, logits, 0, batch, 0));
        java.util.Arrays.fill(logits, Float.NaN);
        assertEquals(PolicyBatch.NOT_FINITE, c.decodeChecked(ActionCodec.Decoding.CENTRE, logits, 0, batch, 0));
    }
}
