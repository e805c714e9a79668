package ai.lram.bridge.rollout;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.UnknownEnvironmentException;
import ai.lram.bridge.env.expert.Quality;
import ai.lram.bridge.env.expert.ScriptedPolicy;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TrajectoryGeneratorTest {
    static List<String> ids() {
        return EnvironmentRegistry.ids();
    }

    @ParameterizedTest
    @MethodSource("ids")
    void episodesAreTheBehavioursStepsWithoutItsPushes(String id) {
        TrajectoryGenerator generator = new TrajectoryGenerator(id, Quality.MIXED);
        Environment env = EnvironmentRegistry.create(id);
        ScriptedPolicy behaviour = Quality.MIXED.behaviour(env.spec());
        int size = env.spec().observationSize();
        int actionSize = env.spec().actionSize();
        float[] observation = new float[size];
        float[] action = new float[actionSize];
        long[] seed = {20};
        int[] pushes = {0};
        List<EpisodeResult> results =
                generator.generate(20, 8, (task, length, observations, actions, rewards, terminated) -> {
                    assertEquals(id, task);
                    env.reset(seed[0], observation);
                    behaviour.reset(seed[0]++);
                    int t = 0;
                    do {
                        float[] before = observation.clone();
                        behaviour.act(observation, action);
                        env.step(action, observation);
                        if (behaviour.pushed() && !env.done()) {
                            pushes[0]++;
                            continue;
                        }
                        assertArrayEquals(
                                Arrays.copyOfRange(observations, t * size, (t + 1) * size), before, "observation " + t);
                        assertArrayEquals(
                                Arrays.copyOfRange(actions, t * actionSize, (t + 1) * actionSize),
                                action,
                                "action " + t);
                        assertEquals(env.reward(), rewards[t], "reward " + t);
                        t++;
                    } while (!env.done());
                    assertEquals(t, length);
                    assertEquals(env.terminated(), terminated);
                });
        assertEquals(8, results.size());
        assertEquals(28, seed[0]);
        assertTrue(pushes[0] > 0, "none of 8 mixed episodes was pushed");
    }

    @Test
    void sameSeedsGiveTheSameEpisodesInAnyOrder() {
        List<EpisodeResult> all =
                new TrajectoryGenerator("pendulum", Quality.MIXED).generate(0, 10, TrajectoryGeneratorTest::ignore);
        List<EpisodeResult> tail =
                new TrajectoryGenerator("pendulum", Quality.MIXED).generate(6, 4, TrajectoryGeneratorTest::ignore);
        assertEquals(all.subList(6, 10), tail);
    }

    @Test
    void evaluationSeedsAreNotForTraining() {
        TrajectoryGenerator generator = new TrajectoryGenerator("pendulum", Quality.RANDOM);
        long last = EnvironmentRegistry.FIRST_EVALUATION_SEED - 1;
        assertEquals(
                last,
                generator
                        .generate(last, 1, TrajectoryGeneratorTest::ignore)
                        .getFirst()
                        .seed());
        String message = assertThrows(
                        RolloutException.class, () -> generator.generate(last, 2, TrajectoryGeneratorTest::ignore))
                .getMessage();
        assertTrue(message.contains("0.." + last), message);
        assertThrows(RolloutException.class, () -> generator.generate(-1, 1, TrajectoryGeneratorTest::ignore));
        assertThrows(RolloutException.class, () -> generator.generate(0, -1, TrajectoryGeneratorTest::ignore));
    }

    @Test
    void unknownTaskIsRefused() {
        assertThrows(UnknownEnvironmentException.class, () -> new TrajectoryGenerator("walker", Quality.EXPERT));
    }

    private static void ignore(
            String task, int length, float[] observations, float[] actions, float[] rewards, boolean terminated) {
        assertTrue(length > 0 && rewards.length >= length);
    }
}
