package ai.lram.bridge.rollout;

import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.expert.Quality;
import java.util.List;

/**
 * Returns of uniform random actions and of the expert: the 0 and 1 of normalised scores.
 *
 * @param task environment id
 * @param episodes number of episodes behind each mean
 * @param random mean return of uniform random actions
 * @param randomStd its standard deviation over episodes
 * @param expert mean return of the expert
 * @param expertStd its standard deviation over episodes
 */
public record ReferenceReturns(
        String task, int episodes, double random, double randomStd, double expert, double expertStd) {
    /**
     * Measures both over the seeds {@code firstSeed}, {@code firstSeed + 1}, ...: well under a second for 100
     * episodes.
     */
    public static ReferenceReturns measure(String task, long firstSeed, int episodes) {
        Environment environment = EnvironmentRegistry.create(task);
        List<EpisodeResult> random =
                Rollout.run(environment, Quality.RANDOM.behaviour(environment.spec()), firstSeed, episodes);
        List<EpisodeResult> expert =
                Rollout.run(environment, Quality.EXPERT.behaviour(environment.spec()), firstSeed, episodes);
        return new ReferenceReturns(
                task,
                episodes,
                EpisodeResult.meanReturn(random),
                EpisodeResult.stdReturn(random),
                EpisodeResult.meanReturn(expert),
                EpisodeResult.stdReturn(expert));
    }

    /** Score of a mean return between these two, see {@link NormalizedScore#of}. */
    public double score(double agent) {
        return NormalizedScore.of(agent, random, expert);
    }
}
