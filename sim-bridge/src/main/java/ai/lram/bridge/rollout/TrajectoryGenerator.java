package ai.lram.bridge.rollout;

import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.env.expert.Quality;
import ai.lram.bridge.env.expert.ScriptedPolicy;
import java.util.ArrayList;
import java.util.List;

/**
 * Generates training episodes of one task. Steps in which the behaviour was {@linkplain ScriptedPolicy#pushed pushed} are left out. Deterministic
 * in task, quality and seeds. Single thread.
 */
public final class TrajectoryGenerator {
    private final Environment environment;
    private final ScriptedPolicy behaviour;
    private final float[] observations;
    private final float[] actions;
    private final float[] rewards;

    /** @throws ai.lram.bridge.env.UnknownEnvironmentException if there is no such task */
    public TrajectoryGenerator(String taskId, Quality quality) {
        environment = EnvironmentRegistry.create(taskId);
        EnvironmentSpec spec = environment.spec();
        behaviour = quality.behaviour(spec);
        observations = new float[spec.maxEpisodeSteps() * spec.observationSize()];
        actions = new float[spec.maxEpisodeSteps() * spec.actionSize()];
        rewards = new float[spec.maxEpisodeSteps()];
    }

    public EnvironmentSpec spec() {
        return environment.spec();
    }

    /**
     * Generates the episodes of seeds {@code firstSeed} .. {@code firstSeed + episodes - 1}.
     *
     * @return their outcomes, in order
     * @throws RolloutException if a seed lies outside [0, {@link EnvironmentRegistry#FIRST_EVALUATION_SEED})
     */
    public List<EpisodeResult> generate(long firstSeed, int episodes, EpisodeSink sink) {
        if (firstSeed < 0 || episodes < 0 || firstSeed > EnvironmentRegistry.FIRST_EVALUATION_SEED - episodes) {
            throw new RolloutException(
                    "cannot generate " + episodes + " episodes from seed " + firstSeed,
                    "training seeds are 0.." + (EnvironmentRegistry.FIRST_EVALUATION_SEED - 1)
                            + "; those above are kept unseen for evaluation",
                    "choose seeds and a number of episodes within that range");
        }
        List<EpisodeResult> results = new ArrayList<>(episodes);
        for (long seed = firstSeed; seed < firstSeed + episodes; seed++) {
            results.add(episode(seed, sink));
        }
        return results;
    }

    private EpisodeResult episode(long seed, EpisodeSink sink) {
        EnvironmentSpec spec = environment.spec();
        float[] observation = new float[spec.observationSize()];
        float[] action = new float[spec.actionSize()];
        environment.reset(seed, observation);
        behaviour.reset(seed);
        double total = 0;
        int t = 0;
        do {
            behaviour.act(observation, action);
            System.arraycopy(observation, 0, observations, t * observation.length, observation.length);
            System.arraycopy(action, 0, actions, t * action.length, action.length);
            environment.step(action, observation);
            // The last step is kept whoever took it: its reward may be what the episode is about.
            if (!behaviour.pushed() || environment.done()) {
                rewards[t] = environment.reward();
                total += rewards[t];
                t++;
            }
        } while (!environment.done());
        sink.episode(spec.id(), t, observations, actions, rewards, environment.terminated());
        return new EpisodeResult(spec.id(), seed, total, t, environment.terminated());
    }
}
