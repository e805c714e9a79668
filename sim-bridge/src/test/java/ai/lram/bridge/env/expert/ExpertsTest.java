package ai.lram.bridge.env.expert;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.env.Feature;
import ai.lram.bridge.env.SeededRandom;
import ai.lram.bridge.env.UnknownEnvironmentException;
import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.bridge.rollout.Rollout;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class ExpertsTest {
    private static final int BINS = 256;

    static List<String> ids() {
        return EnvironmentRegistry.ids();
    }

    @ParameterizedTest
    @CsvSource({
        "acrobot, -90",
        "cartpole-balance, 995",
        "cartpole-swingup, 860",
        "mountain-car-continuous, 94",
        "pendulum, -200",
        "reacher, 960"
    })
    void expertReachesThePublishedReturn(String id, double threshold) {
        Environment env = EnvironmentRegistry.create(id);
        List<EpisodeResult> episodes = Rollout.run(env, Experts.of(id), EnvironmentRegistry.FIRST_EVALUATION_SEED, 10);
        assertTrue(EpisodeResult.meanReturn(episodes) >= threshold, id + " " + episodes);
    }

    @ParameterizedTest
    @CsvSource({
        "cartpole-balance, 990",
        "cartpole-swingup, 855",
        "mountain-car-continuous, 94",
        "pendulum, -200",
        "reacher, 960"
    })
    void expertSurvivesTheModelsActionBins(String id, double threshold) {
        Environment env = EnvironmentRegistry.create(id);
        ScriptedPolicy expert = Experts.of(id);
        List<Feature> features = env.spec().action();
        ScriptedPolicy binned = (observation, action) -> {
            expert.act(observation, action);
            for (int i = 0; i < action.length; i++) {
                double width = (features.get(i).high() - features.get(i).low()) / BINS;
                double bin = Math.clamp(Math.floor((action[i] - features.get(i).low()) / width), 0, BINS - 1);
                action[i] = (float) (features.get(i).low() + (bin + 0.5) * width);
            }
        };
        List<EpisodeResult> episodes = Rollout.run(env, binned, EnvironmentRegistry.FIRST_EVALUATION_SEED, 10);
        assertTrue(EpisodeResult.meanReturn(episodes) >= threshold, id + " " + episodes);
    }

    @ParameterizedTest
    @MethodSource("ids")
    void actionsAreFiniteAndWithinBoundsAnywhere(String id) {
        EnvironmentSpec spec = EnvironmentRegistry.spec(id);
        SeededRandom random = new SeededRandom(1);
        float[] observation = new float[spec.observationSize()];
        float[] action = new float[spec.actionSize()];
        for (Quality quality : Quality.values()) {
            ScriptedPolicy policy = quality.behaviour(spec);
            policy.reset(9);
            for (int i = 0; i < 2000; i++) {
                for (int k = 0; k < observation.length; k++) {
                    Feature f = spec.observation().get(k);
                    observation[k] = (float) random.uniform(Math.max(f.low(), -30), Math.min(f.high(), 30));
                }
                policy.act(observation, action);
                for (int k = 0; k < action.length; k++) {
                    Feature f = spec.action().get(k);
                    assertTrue(action[k] >= f.low() && action[k] <= f.high(), quality + " " + f + " is " + action[k]);
                    assertTrue(!spec.discrete() || action[k] == (int) action[k]);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("ids")
    void anActionTakesFarLessThanAControlPeriod(String id) {
        EnvironmentSpec spec = EnvironmentRegistry.spec(id);
        ScriptedPolicy expert = Experts.of(id);
        float[] observation = new float[spec.observationSize()];
        float[] action = new float[spec.actionSize()];
        Arrays.fill(observation, 0.3f);
        for (int i = 0; i < 20_000; i++) {
            expert.act(observation, action);
        }
        long begin = System.nanoTime();
        for (int i = 0; i < 20_000; i++) {
            expert.act(observation, action);
        }
        double micros = (System.nanoTime() - begin) / 20_000e3;
        assertTrue(micros < 200, id + " takes " + micros + " us");
    }

    @ParameterizedTest
    @MethodSource("ids")
    void qualitiesAreOrdered(String id) {
        double random = mean(id, Quality.RANDOM);
        double medium = mean(id, Quality.MEDIUM);
        double mixed = mean(id, Quality.MIXED);
        double expert = mean(id, Quality.EXPERT);
        assertTrue(
                random < medium && medium < mixed && mixed < expert,
                id + ": random " + random + " medium " + medium + " mixed " + mixed + " expert " + expert);
    }

    @ParameterizedTest
    @MethodSource("ids")
    void disturbancesFollowTheSeed(String id) {
        assertArrayEquals(actions(id, Quality.MIXED, 11), actions(id, Quality.MIXED, 11));
        assertFalse(Arrays.equals(actions(id, Quality.RANDOM, 11), actions(id, Quality.RANDOM, 12)));
    }

    @ParameterizedTest
    @CsvSource({"cartpole-balance, 0.4, 0.9", "cartpole-swingup, 0.4, 0.9", "reacher, 0.4, 0.9"})
    void burstsLeaveTheExpertItsShare(String id, double least, double most) {
        Environment env = EnvironmentRegistry.create(id);
        ScriptedPolicy expert = Experts.of(id);
        DisturbedPolicy disturbed = new DisturbedPolicy(env.spec(), expert, Disturbance.BURSTS);
        float[] wanted = new float[env.spec().actionSize()];
        long[] counts = new long[2];
        ScriptedPolicy counted = new ScriptedPolicy() {
            @Override
            public void reset(long seed) {
                disturbed.reset(seed);
            }

            @Override
            public void act(float[] observation, float[] action) {
                expert.act(observation, wanted);
                disturbed.act(observation, action);
                assertTrue(
                        disturbed.pushed() || Arrays.equals(wanted, action), "not pushed, yet not the expert's action");
                counts[disturbed.pushed() ? 1 : 0]++;
            }
        };
        Rollout.run(env, counted, 0, 20);
        double share = counts[0] / (double) (counts[0] + counts[1]);
        assertTrue(share > least && share < most, "expert's share " + share);
    }

    @ParameterizedTest
    @CsvSource({"cartpole-balance", "cartpole-swingup", "reacher"})
    void expertRecoversAfterRandomActions(String id) {
        Environment env = EnvironmentRegistry.create(id);
        ScriptedPolicy expert = Experts.of(id);
        ScriptedPolicy random = new UniformRandomPolicy(env.spec());
        float[] observation = new float[env.spec().observationSize()];
        float[] action = new float[env.spec().actionSize()];
        for (long seed = 0; seed < 10; seed++) {
            env.reset(seed, observation);
            random.reset(seed);
            double last = 0;
            for (int t = 0; t < 1000; t++) {
                (t < 300 ? random : expert).act(observation, action);
                env.step(action, observation);
                last += t >= 900 ? env.reward() : 0;
            }
            assertTrue(last > 95, id + " seed " + seed + ": the last 100 steps earn " + last);
        }
    }

    @ParameterizedTest
    @CsvSource({"walker"})
    void thereIsNoExpertForAnUnknownTask(String id) {
        assertThrows(UnknownEnvironmentException.class, () -> Experts.of(id));
    }

    @ParameterizedTest
    @CsvSource({
        "1.0, 0, 0.1, 0, 0, 0.1",
        "0, -1, 0.1, 0, 0, 0.1",
        "0, 0, 0, 0, 0, 0.1",
        "0, 0, 0.1, 1.5, 0, 0.1",
        "0, 0, 0.1, 0, 0, NaN"
    })
    void impossibleDisturbancesAreRefused(
            double gain, double noise, double time, double share, double rate, double burst) {
        String message = assertThrows(
                        IllegalArgumentException.class, () -> new Disturbance(gain, noise, time, share, rate, burst))
                .getMessage();
        assertTrue(message.contains("gainSpread=" + gain), message);
        assertEquals(0, Disturbance.NONE.randomShare());
    }

    private static double mean(String id, Quality quality) {
        Environment env = EnvironmentRegistry.create(id);
        return EpisodeResult.meanReturn(Rollout.run(env, quality.behaviour(env.spec()), 0, 40));
    }

    private static float[] actions(String id, Quality quality, long seed) {
        Environment env = EnvironmentRegistry.create(id);
        ScriptedPolicy policy = quality.behaviour(env.spec());
        float[] observation = new float[env.spec().observationSize()];
        float[] action = new float[env.spec().actionSize()];
        float[] all = new float[60 * action.length];
        env.reset(seed, observation);
        policy.reset(seed);
        for (int t = 0; t < 60 && !env.done(); t++) {
            policy.act(observation, action);
            System.arraycopy(action, 0, all, t * action.length, action.length);
            env.step(action, observation);
        }
        return all;
    }
}
