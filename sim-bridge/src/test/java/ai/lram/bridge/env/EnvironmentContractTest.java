package ai.lram.bridge.env;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.TaskCard;
import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What every environment promises. */
class EnvironmentContractTest {
    static List<String> ids() {
        return EnvironmentRegistry.ids();
    }

    @Test
    void registryHoldsTheSixClassicTasks() {
        assertEquals(
                List.of(
                        "acrobot",
                        "cartpole-balance",
                        "cartpole-swingup",
                        "mountain-car-continuous",
                        "pendulum",
                        "reacher"),
                EnvironmentRegistry.ids());
    }

    @Test
    void unknownIdIsRefusedWithTheListOfIds() {
        String message = assertThrows(UnknownEnvironmentException.class, () -> EnvironmentRegistry.create("cheetah"))
                .getMessage();
        assertTrue(
                message.contains("cheetah") && message.contains("cartpole-swingup") && message.contains("fix:"),
                message);
        assertThrows(UnknownEnvironmentException.class, () -> EnvironmentRegistry.create(null));
    }

    @ParameterizedTest
    @MethodSource("ids")
    void sameSeedAndActionsGiveTheSameEpisode(String id) {
        assertArrayEquals(trace(id, 42), trace(id, 42));
        assertFalse(Arrays.equals(trace(id, 42), trace(id, 43)));
    }

    @ParameterizedTest
    @MethodSource("ids")
    void seedFixesTheStartWhateverHappenedBefore(String id) {
        Environment env = EnvironmentRegistry.create(id);
        float[] first = new float[env.spec().observationSize()];
        float[] again = new float[env.spec().observationSize()];
        env.reset(7, first);
        for (int i = 0; i < 10; i++) {
            env.step(safe(env), again);
        }
        env.reset(7, again);
        assertArrayEquals(first, again);
        assertEquals(0, env.reward());
        assertFalse(env.done());
    }

    @ParameterizedTest
    @MethodSource("ids")
    void episodeUnderSafeActionIsTruncatedAtItsLength(String id) {
        Environment env = EnvironmentRegistry.create(id);
        float[] observation = new float[env.spec().observationSize()];
        env.reset(3, observation);
        int steps = 0;
        while (!env.done()) {
            env.step(safe(env), observation);
            steps++;
            for (int i = 0; i < observation.length; i++) {
                Feature f = env.spec().observation().get(i);
                assertTrue(observation[i] >= f.low() && observation[i] <= f.high(), f + " is " + observation[i]);
            }
        }
        assertEquals(env.spec().maxEpisodeSteps(), steps);
        assertTrue(env.truncated());
        assertFalse(env.terminated());
        String message = assertThrows(EnvironmentStateException.class, () -> env.step(safe(env), observation))
                .getMessage();
        assertTrue(message.contains(steps + " steps"), message);
    }

    @ParameterizedTest
    @MethodSource("ids")
    void stepBeforeResetIsRefused(String id) {
        Environment env = EnvironmentRegistry.create(id);
        assertThrows(
                EnvironmentStateException.class,
                () -> env.step(safe(env), new float[env.spec().observationSize()]));
    }

    @ParameterizedTest
    @MethodSource("ids")
    void badActionsAreRefusedAndChangeNothing(String id) {
        Environment env = EnvironmentRegistry.create(id);
        float[] observation = new float[env.spec().observationSize()];
        env.reset(5, observation);
        int size = env.spec().actionSize();
        float[] nan = safe(env);
        nan[size - 1] = Float.NaN;
        float[] infinite = safe(env);
        infinite[0] = Float.POSITIVE_INFINITY;
        for (float[] bad : new float[][] {new float[size + 1], new float[size - 1], nan, infinite}) {
            assertThrows(InvalidActionException.class, () -> env.step(bad, observation));
        }
        assertThrows(InvalidBufferException.class, () -> env.step(safe(env), new float[observation.length + 1]));
        assertThrows(InvalidBufferException.class, () -> env.reset(5, new float[observation.length - 1]));

        Environment fresh = EnvironmentRegistry.create(id);
        float[] expected = new float[observation.length];
        fresh.reset(5, expected);
        fresh.step(safe(fresh), expected);
        env.step(safe(env), observation);
        assertArrayEquals(expected, observation);
    }

    @ParameterizedTest
    @MethodSource("ids")
    void actionsBeyondTheirBoundsActLikeTheBounds(String id) {
        Environment env = EnvironmentRegistry.create(id);
        Environment other = EnvironmentRegistry.create(id);
        float[] a = new float[env.spec().observationSize()];
        float[] b = new float[a.length];
        float[] beyond = safe(env);
        float[] bound = safe(env);
        for (int i = 0; i < bound.length; i++) {
            bound[i] = (float) env.spec().action().get(i).high();
            beyond[i] = bound[i] + 5;
        }
        env.reset(1, a);
        other.reset(1, b);
        if (env.spec().discrete()) {
            assertThrows(InvalidActionException.class, () -> env.step(beyond, a));
            assertThrows(InvalidActionException.class, () -> env.step(new float[] {0.5f}, a));
            assertThrows(InvalidActionException.class, () -> env.step(new float[] {-1}, a));
            return;
        }
        env.step(beyond, a);
        other.step(bound, b);
        assertArrayEquals(b, a);
        assertEquals(other.reward(), env.reward());
    }

    @ParameterizedTest
    @MethodSource("ids")
    void stepAllocatesNothing(String id) {
        Environment env = EnvironmentRegistry.create(id);
        float[] observation = new float[env.spec().observationSize()];
        float[] action = safe(env);
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        steps(env, action, observation, 50_000);
        // The best of a few rounds: the JVM itself may allocate a little in this thread while it compiles.
        long least = Long.MAX_VALUE;
        for (int round = 0; round < 5; round++) {
            long before = threads.getCurrentThreadAllocatedBytes();
            steps(env, action, observation, 20_000);
            least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
        }
        assertEquals(0, least, "bytes over 20,000 steps");
    }

    @ParameterizedTest
    @MethodSource("ids")
    void specBecomesATaskCardThatMatches(String id) {
        EnvironmentSpec spec = EnvironmentRegistry.spec(id);
        double[] std = new double[spec.observationSize()];
        Arrays.fill(std, 2);
        TaskCard card = spec.toTaskCard(new double[std.length], std, 10, 5, Fallback.HOLD);
        spec.requireMatches(card);
        assertEquals(id, card.id());
        assertEquals(spec.rateHz(), card.rateHz());
        assertEquals(spec.discreteActions(), card.discreteActions());
        assertEquals(5, card.targetReturn());
        assertFalse(card.imitation());
        assertThrows(IllegalArgumentException.class, () -> spec.toTaskCard(new double[1], std, 10, 5, Fallback.HOLD));
    }

    @Test
    void aCardOfAnotherTaskIsRefusedWithTheDifference() {
        EnvironmentSpec balance = EnvironmentRegistry.spec("cartpole-balance");
        EnvironmentSpec pendulum = EnvironmentRegistry.spec("pendulum");
        TaskCard card = pendulum.toTaskCard(new double[3], new double[] {1, 1, 1}, 1, 0, Fallback.SAFE);
        String message = assertThrows(InvalidBufferException.class, () -> balance.requireMatches(card))
                .getMessage();
        assertTrue(message.contains("pendulum") && message.contains("3 observations"), message);
        EnvironmentSpec renamed = new EnvironmentSpec(
                "pendulum",
                "x",
                20,
                List.of(
                        pendulum.observation().get(1),
                        pendulum.observation().get(0),
                        pendulum.observation().get(2)),
                pendulum.action(),
                0,
                List.of(0.0),
                200,
                "");
        assertTrue(assertThrows(InvalidBufferException.class, () -> renamed.requireMatches(card))
                .getMessage()
                .contains("pendulum.cos"));
    }

    private static void steps(Environment env, float[] action, float[] observation, int count) {
        env.reset(0, observation);
        for (int i = 0; i < count; i++) {
            if (env.done()) {
                env.reset(i, observation);
            }
            env.step(action, observation);
        }
    }

    private static float[] safe(Environment env) {
        float[] action = new float[env.spec().actionSize()];
        for (int i = 0; i < action.length; i++) {
            action[i] = env.spec().safeAction().get(i).floatValue();
        }
        return action;
    }

    private static float[] trace(String id, long seed) {
        Environment env = EnvironmentRegistry.create(id);
        SeededRandom random = new SeededRandom(seed);
        float[] observation = new float[env.spec().observationSize()];
        float[] action = new float[env.spec().actionSize()];
        float[] trace = new float[100 * (observation.length + 1)];
        env.reset(seed, observation);
        for (int t = 0; t < 100 && !env.done(); t++) {
            for (int i = 0; i < action.length; i++) {
                Feature f = env.spec().action().get(i);
                action[i] = env.spec().discrete()
                        ? random.nextInt(env.spec().discreteActions())
                        : (float) random.uniform(f.low(), f.high());
            }
            env.step(action, observation);
            System.arraycopy(observation, 0, trace, t * (observation.length + 1), observation.length);
            trace[t * (observation.length + 1) + observation.length] = env.reward();
        }
        return trace;
    }
}
