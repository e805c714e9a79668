package ai.lram.runtime.session;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.Fallback;
import ai.lram.runtime.testing.Cards;
import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SafetyStageTest {
    private static final float[] OBSERVATION = {0.25f, 1f};

    @Test
    void passesAnActionWithinBoundsUnchanged() {
        SafetyStage stage = new SafetyStage(Cards.reacher());
        float[] action = {1f, -2f};
        assertEquals(SafetyStage.PASSED, stage.apply(action));
        assertArrayEquals(new float[] {1f, -2f}, action);
    }

    @Test
    void clampsWhatIsOutOfBounds() {
        SafetyStage stage = new SafetyStage(Cards.reacher());
        float[] action = {1.5f, -7f};
        assertEquals(SafetyStage.OUT_OF_BOUNDS, stage.apply(action));
        assertArrayEquals(new float[] {1f, -2f}, action);
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
    void refusesAnActionThatIsNotFiniteAndLeavesItAlone(float bad) {
        SafetyStage stage = new SafetyStage(Cards.reacher());
        float[] action = {9f, bad};
        assertEquals(SafetyStage.NOT_FINITE, stage.apply(action));
        assertArrayEquals(new float[] {9f, bad}, action);
    }

    @Test
    void holdsAJumpToTheRateLimitOfTheActionSentBefore() {
        SafetyStage stage = new SafetyStage(Cards.limited(Fallback.HOLD, null));
        stage.beginEpisode(OBSERVATION);
        float[] action = {0f, 0f};
        assertEquals(SafetyStage.PASSED, stage.apply(action));
        stage.sent(action);
        action = new float[] {0.5f, -0.05f};
        assertEquals(SafetyStage.TOO_FAST, stage.apply(action));
        assertArrayEquals(new float[] {0.1f, -0.05f}, action, 1e-7f);
    }

    @Test
    void countsBothWhenAnActionIsOutOfBoundsAndTooFast() {
        SafetyStage stage = new SafetyStage(Cards.limited(Fallback.HOLD, null));
        stage.sent(new float[] {0f, 0f});
        float[] action = {4f, 0f};
        assertEquals(SafetyStage.OUT_OF_BOUNDS | SafetyStage.TOO_FAST, stage.apply(action));
        assertEquals(0.1f, action[0], 1e-7f);
    }

    @Test
    void measuresTheFirstActionFromTheObservedValueItIsRelativeTo() {
        SafetyStage stage = new SafetyStage(Cards.limited(Fallback.HOLD, "shoulder.pos"));
        stage.beginEpisode(OBSERVATION);
        float[] action = {-1f, -2f};
        assertEquals(SafetyStage.TOO_FAST, stage.apply(action));
        assertArrayEquals(new float[] {0.15f, -2f}, action, 1e-6f);
    }

    @Test
    void forgetsTheActionSentBeforeWhenAnEpisodeBegins() {
        SafetyStage stage = new SafetyStage(Cards.limited(Fallback.HOLD, null));
        stage.sent(new float[] {0f, 0f});
        stage.beginEpisode(OBSERVATION);
        float[] action = {1f, 2f};
        assertEquals(SafetyStage.PASSED, stage.apply(action));
    }

    @Test
    void holdFallbackIsTheActionSentLastAndBeforeTheFirstTheSafeOne() {
        SafetyStage stage = new SafetyStage(Cards.reacher());
        float[] action = new float[2];
        assertEquals(SafetyStage.PASSED, stage.fallback(action));
        assertArrayEquals(new float[] {0f, 0.5f}, action);
        stage.sent(new float[] {0.75f, -1f});
        stage.fallback(action);
        assertArrayEquals(new float[] {0.75f, -1f}, action);
    }

    @Test
    void safeFallbackIsApproachedAtTheRateLimit() {
        SafetyStage stage = new SafetyStage(Cards.limited(Fallback.SAFE, null));
        stage.sent(new float[] {1f, 0.5f});
        float[] action = new float[2];
        assertEquals(SafetyStage.TOO_FAST, stage.fallback(action));
        assertArrayEquals(new float[] {0.9f, 0.5f}, action, 1e-6f);
    }

    @ParameterizedTest
    @ValueSource(floats = {-1f, 4f, 1.5f})
    void refusesADiscreteIdThatDoesNotExist(float id) {
        SafetyStage stage = new SafetyStage(Cards.discrete(4));
        assertEquals(SafetyStage.BAD_ID, stage.apply(new float[] {id}));
    }

    @Test
    void passesEveryDiscreteId() {
        SafetyStage stage = new SafetyStage(Cards.discrete(4));
        for (int id = 0; id < 4; id++) {
            assertEquals(SafetyStage.PASSED, stage.apply(new float[] {id}));
        }
    }

    @Test
    void everythingThatLeavesIsFiniteWithinBoundsAndWithinTheRateLimit() {
        long seed = Long.getLong("lram.seed", System.nanoTime());
        Random random = new Random(seed);
        SafetyStage stage = new SafetyStage(Cards.limited(Fallback.SAFE, null));
        float[] last = {0f, 0f};
        stage.sent(last.clone());
        for (int step = 0; step < 10_000; step++) {
            float[] action = {wild(random), wild(random)};
            if (stage.apply(action) < 0) {
                stage.fallback(action);
            }
            for (int i = 0; i < 2; i++) {
                float bound = i + 1;
                assertTrue(Math.abs(action[i]) <= bound, "bounds; rerun with -Dlram.seed=" + seed);
                assertTrue(Math.abs(action[i] - last[i]) <= 0.1f + 1e-6f, "rate; rerun with -Dlram.seed=" + seed);
            }
            stage.sent(action);
            last = action.clone();
        }
    }

    private static float wild(Random random) {
        return switch (random.nextInt(8)) {
            case 0 -> Float.NaN;
            case 1 -> Float.NEGATIVE_INFINITY;
            case 2 -> Float.MAX_VALUE;
            default -> (float) random.nextGaussian();
        };
    }

    @Test
    void allocatesNothing() {
        SafetyStage stage = new SafetyStage(Cards.limited(Fallback.HOLD, "shoulder.pos"));
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        float[] action = new float[2];
        run(stage, action, 20_000);
        long before = threads.getCurrentThreadAllocatedBytes();
        long nothing = threads.getCurrentThreadAllocatedBytes() - before;
        before = threads.getCurrentThreadAllocatedBytes();
        run(stage, action, 20_000);
        assertEquals(nothing, threads.getCurrentThreadAllocatedBytes() - before);
    }

    private static void run(SafetyStage stage, float[] action, int steps) {
        for (int i = 0; i < steps; i++) {
            action[0] = i % 5 == 0 ? Float.NaN : i % 7 - 3;
            action[1] = i % 3;
            if (i % 100 == 0) {
                stage.beginEpisode(OBSERVATION);
            }
            if (stage.apply(action) < 0) {
                stage.fallback(action);
            }
            stage.sent(action);
        }
    }
}
