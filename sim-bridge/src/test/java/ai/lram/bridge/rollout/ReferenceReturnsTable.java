package ai.lram.bridge.rollout;

import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.expert.Quality;
import java.util.List;
import java.util.Locale;

/** Prints the table of ENVIRONMENTS.md. */
public final class ReferenceReturnsTable {
    private static final long SPEED_RUN_NS = 300_000_000;

    private ReferenceReturnsTable() {}

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
