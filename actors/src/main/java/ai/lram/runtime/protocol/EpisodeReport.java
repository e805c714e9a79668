package ai.lram.runtime.protocol;

/**
 * What became of an episode.
 *
 * @param episode number within the session, from 0
 * @param steps observations that advanced the state
 * @param rewardSum sum of the rewards received, raw units
 * @param recording whether it was recorded
 * @param detail why it was not stored; empty otherwise
 */
public record EpisodeReport(long episode, long steps, double rewardSum, Recording recording, String detail) {
    /** The same episode, left out of the recording for the reason given. */
    public EpisodeReport dropped(String reason) {
        return new EpisodeReport(episode, steps, rewardSum, Recording.DROPPED, reason);
    }

    /** Outcome of recording an episode. */
    public enum Recording {
        /** Nobody asked for it. */
        OFF,
        /** On disk; survives the process. */
        STORED,
        /** Left out as a whole; {@link EpisodeReport#detail} says why. */
        DROPPED
    }
}
