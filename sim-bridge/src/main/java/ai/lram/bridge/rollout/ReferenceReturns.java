package ai.lram.bridge.rollout;

import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.expert.Quality;
import java.util.List;
import java.util.Locale;

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
    private static final long SPEED_RUN_NS = 300_000_000;

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

    /**
     * Prints returns, lengths and speed of every environment as a Markdown table. Argument: number of seeds, default
     * 100.
     */
    public static void main(String[] args) {
        int episodes = args.length > 0 ? Integer.parseInt(args[0]) : 100;
        System.out.println("| task | random | expert | expert steps | medium | mixed | steps/s |");
        System.out.println("| --- | --- | --- | --- | --- | --- | --- |");
        for (String id : EnvironmentRegistry.ids()) {
            System.out.printf(
                    Locale.ROOT,
                    "| %s | %s | %s | %.0f | %s | %s | %.1f M |%n",
                    id,
                    cell(id, Quality.RANDOM, episodes),
                    cell(id, Quality.EXPERT, episodes),
                    run(id, Quality.EXPERT, episodes).stream()
                            .mapToInt(EpisodeResult::length)
                            .average()
                            .orElseThrow(),
                    cell(id, Quality.MEDIUM, episodes),
                    cell(id, Quality.MIXED, episodes),
                    stepsPerSecond(id) / 1e6);
        }
    }

    private static List<EpisodeResult> run(String id, Quality quality, int episodes) {
        Environment environment = EnvironmentRegistry.create(id);
        return Rollout.run(
                environment,
                quality.behaviour(environment.spec()),
                EnvironmentRegistry.FIRST_EVALUATION_SEED,
                episodes);
    }

    private static String cell(String id, Quality quality, int episodes) {
        List<EpisodeResult> results = run(id, quality, episodes);
        return String.format(
                Locale.ROOT, "%.1f ± %.1f", EpisodeResult.meanReturn(results), EpisodeResult.stdReturn(results));
    }

    private static double stepsPerSecond(String id) {
        speed(id);
        return speed(id);
    }

    /** Steps per second under the safe action, resets included. */
    private static double speed(String id) {
        Environment environment = EnvironmentRegistry.create(id);
        float[] observation = new float[environment.spec().observationSize()];
        float[] action = new float[environment.spec().actionSize()];
        for (int i = 0; i < action.length; i++) {
            action[i] = environment.spec().safeAction().get(i).floatValue();
        }
        long seed = 0;
        long steps = 0;
        long begin = System.nanoTime();
        long elapsed;
        do {
            environment.reset(seed++, observation);
            while (!environment.done()) {
                environment.step(action, observation);
                steps++;
            }
            elapsed = System.nanoTime() - begin;
        } while (elapsed < SPEED_RUN_NS);
        return steps * 1e9 / elapsed;
    }
}
