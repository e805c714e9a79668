package ai.lram.bridge.rollout;

import java.util.List;

/**
 * The outcome of one episode.
 *
 * @param task environment id
 * @param seed start of the episode
 * @param episodeReturn sum of its rewards, raw units
 * @param length steps
 * @param terminated true if a final state ended it, false if it was truncated
 */
public record EpisodeResult(String task, long seed, double episodeReturn, int length, boolean terminated) {
    public static double meanReturn(List<EpisodeResult> episodes) {
        return episodes.stream()
                .mapToDouble(EpisodeResult::episodeReturn)
                .average()
                .orElseThrow();
    }

    /** Standard deviation of the returns over these episodes (population). */
    public static double stdReturn(List<EpisodeResult> episodes) {
        double mean = meanReturn(episodes);
        return Math.sqrt(episodes.stream()
                .mapToDouble(e -> (e.episodeReturn() - mean) * (e.episodeReturn() - mean))
                .average()
                .orElseThrow());
    }
}
