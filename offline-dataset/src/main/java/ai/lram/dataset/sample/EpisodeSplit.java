package ai.lram.dataset.sample;

import ai.lram.dataset.store.TrajectoryStore;
import java.util.Arrays;
import java.util.BitSet;
import java.util.stream.IntStream;

/**
 * A store's episodes divided into those trained on and those held out. Whole episodes only: neighbouring rows are nearly
 * copies of each other, so a split by rows would leak.
 *
 * @param training store numbers of the training episodes, ascending; not to be written to
 * @param heldOut store numbers of the held-out episodes, ascending; not to be written to
 */
public record EpisodeSplit(int[] training, int[] heldOut) {

    /**
     * Holds out a random share of each task's episodes: the nearest whole number, but at least one where the task has two
     * and the fraction is positive, and never all.
     *
     * @param heldOutFraction share in [0, 1)
     * @param seed the same seed gives the same split of the same store
     */
    public static EpisodeSplit random(TrajectoryStore store, double heldOutFraction, long seed) {
        if (!(heldOutFraction >= 0 && heldOutFraction < 1)) {
            throw new IllegalArgumentException("heldOutFraction must lie in [0, 1), got " + heldOutFraction);
        }
        BitSet held = new BitSet();
        Xoshiro random = new Xoshiro(seed);
        for (String task : store.taskIds()) {
            int[] episodes = store.episodesOf(task);
            int count = (int) Math.round(episodes.length * heldOutFraction);
            if (heldOutFraction > 0 && count == 0) {
                count = 1;
            }
            count = Math.min(count, episodes.length - 1);
            for (int i = 0; i < count; i++) {
                int pick = i + (int) random.nextLong(episodes.length - i);
                int chosen = episodes[pick];
                episodes[pick] = episodes[i];
                episodes[i] = chosen;
                held.set(chosen);
            }
        }
        return of(store, held);
    }

    /**
     * Holds out exactly these episodes, by their number in the store.
     *
     * @throws IllegalArgumentException if a number is out of range or named twice, or nothing is left to train on
     */
    public static EpisodeSplit explicit(TrajectoryStore store, int... heldOut) {
        BitSet held = new BitSet();
        for (int episode : heldOut) {
            if (episode < 0 || episode >= store.episodeCount() || held.get(episode)) {
                throw new IllegalArgumentException("held-out episode " + episode
                        + " is named twice or not among the store's " + store.episodeCount());
            }
            held.set(episode);
        }
        if (held.cardinality() == store.episodeCount()) {
            throw new IllegalArgumentException("all " + store.episodeCount() + " episodes are held out");
        }
        return of(store, held);
    }

    private static EpisodeSplit of(TrajectoryStore store, BitSet held) {
        return new EpisodeSplit(
                IntStream.range(0, store.episodeCount())
                        .filter(episode -> !held.get(episode))
                        .toArray(),
                held.stream().toArray());
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof EpisodeSplit split
                && Arrays.equals(training, split.training)
                && Arrays.equals(heldOut, split.heldOut);
    }

    @Override
    public int hashCode() {
        return 31 * Arrays.hashCode(training) + Arrays.hashCode(heldOut);
    }

    @Override
    public String toString() {
        return "EpisodeSplit[training=" + training.length + ", heldOut=" + Arrays.toString(heldOut) + "]";
    }
}
