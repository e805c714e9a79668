package ai.lram.agent.card;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.testing.Cards;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class CardTest {
    private static final double INF = Double.POSITIVE_INFINITY;
    private static final TaskCard GOOD = Cards.continuous("move", 2, 2);

    private static void refuses(String part, Runnable make) {
        CardException e = assertThrows(CardException.class, make::run);
        assertTrue(e.getMessage().contains(part), e.getMessage());
        assertTrue(e.getMessage().contains("; why: ") && e.getMessage().contains("; fix: "), e.getMessage());
    }

    private static TaskCard task(
            String id,
            double rate,
            List<ObservationFeature> obs,
            List<Integer> image,
            List<ActionFeature> act,
            int discrete,
            double scale,
            List<Double> safe) {
        return new TaskCard(id, "d", rate, obs, image, act, discrete, scale, false, 1, 0, Fallback.HOLD, safe);
    }

    @Test
    void featuresRefuseWhatCannotBeUsed() {
        refuses("name or unit", () -> new ObservationFeature("", "", 0, 1, 0, 1));
        refuses("empty range", () -> new ObservationFeature("o", "", 1, 0, 0, 1));
        refuses("standardised", () -> new ObservationFeature("o", "", 0, 1, 0, 0));
        refuses("standardised", () -> new ObservationFeature("o", "", 0, 1, Double.NaN, 1));
        refuses("name or unit", () -> ActionFeature.bounded(" ", "", 0, 1));
        refuses("usable bounds", () -> ActionFeature.bounded("a", "", 1, 1));
        refuses("usable bounds", () -> ActionFeature.bounded("a", "", 0, INF));
        refuses("rate limit", () -> new ActionFeature("a", "", 0, 1, 0, 0, 1, null));
        refuses("bin range", () -> new ActionFeature("a", "", 0, 1, INF, 1, 1, null));
    }

    @Test
    void tasksRefuseWhatCannotBeUsed() {
        List<ObservationFeature> o = GOOD.observation();
        List<ActionFeature> a = GOOD.action();
        List<Double> safe = GOOD.safeAction();
        refuses("id or domain", () -> task("", 50, o, List.of(), a, 0, 1, safe));
        refuses("control rate", () -> task("t", 0, o, List.of(), a, 0, 1, safe));
        refuses("observes nothing", () -> task("t", 50, List.of(), List.of(), a, 0, 1, safe));
        refuses("image shape", () -> task("t", 50, o, List.of(3, 64), a, 0, 1, safe));
        refuses("usable action", () -> task("t", 50, o, List.of(), List.of(), 0, 1, List.of()));
        refuses("usable action", () -> task("t", 50, o, List.of(), a, 3, 1, safe));
        refuses("reward scale", () -> task("t", 50, o, List.of(), a, 0, 0, safe));
        refuses("safe action", () -> task("t", 50, o, List.of(), a, 0, 1, List.of(0.0)));
        refuses("outside its bounds", () -> task("t", 50, o, List.of(), a, 0, 1, List.of(0.0, 9.0)));
        refuses("twice", () -> task("t", 50, Collections.nCopies(2, o.getFirst()), List.of(), a, 0, 1, safe));
        List<ActionFeature> lost = List.of(a.get(0), new ActionFeature("a1", "", -2, 2, INF, -1, 1, "nowhere"));
        refuses("unknown observation", () -> task("t", 50, o, List.of(), lost, 0, 1, safe));
    }

    @Test
    void modelsRefuseWhatCannotBeUsed() {
        refuses("unknown version", () -> new ModelCard(99, "m", List.of(GOOD), Map.of()));
        refuses("without tasks", () -> new ModelCard(1, "m", List.of(), Map.of()));
        refuses("twice", () -> new ModelCard(1, "m", List.of(GOOD, GOOD), Map.of()));
        ModelCard card = Cards.model(GOOD);
        assertEquals(GOOD, card.task("move"));
        refuses("[move]", () -> card.task("fly"));
    }

    @Test
    void observationsAreFoundByName() {
        assertEquals(1, GOOD.observationIndex("o1"));
        assertEquals(-1, GOOD.observationIndex("x"));
        assertEquals(2f, GOOD.observation().get(0).normalize(2f));
    }
}
