package ai.lram.bridge.rollout;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.UnknownEnvironmentException;
import ai.lram.bridge.env.expert.Quality;
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
    void recordedActionsReplayTheRecordedEpisode(String id) {
        TrajectoryGenerator generator = new TrajectoryGenerator(id, Quality.MIXED);
        Environment env = EnvironmentRegistry.create(id);
        int size = env.spec().observationSize();
        int actionSize = env.spec().actionSize();
        long[] seed = {20};
        List<EpisodeResult> results =
                generator.generate(20, 5, (task, length, observations, actions, rewards, terminated) -> {
                    assertEquals(id, task);
                    float[] observation = new float[size];
                    env.reset(seed[0]++, observation);
                    for (int t = 0; t < length; t++) {
                        assertArrayEquals(
                                Arrays.copyOfRange(observations, t * size, (t + 1) * size),
                                observation,
                                "observation " + t);
                        env.step(Arrays.copyOfRange(actions, t * actionSize, (t + 1) * actionSize), observation);
                        assertEquals(env.reward(), rewards[t], "reward " + t);
                    }
                    assertTrue(env.done());
                    assertEquals(env.terminated(), terminated);
                });
        assertEquals(5, results.size());
        assertEquals(25, seed[0]);
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
