package ai.lram.dataset.store;

/**
 * One line of a store's episode index.
 *
 * @param index number of the episode in the store, 0-based
 * @param taskId its task
 * @param length number of rows, at least 1
 * @param episodeReturn undiscounted sum of rewards, 0 without rewards
 * @param sourceEpisode number of the episode in its source, -1 if it has none
 * @param source number of its source in {@link TrajectoryStore#sources()}, -1 if none was named
 */
public record EpisodeInfo(int index, String taskId, int length, double episodeReturn, long sourceEpisode, int source) {}
