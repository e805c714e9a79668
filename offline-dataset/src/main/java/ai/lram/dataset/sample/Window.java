package ai.lram.dataset.sample;

/** A window drawn by {@link WindowSampler}: rows {@code [start, start + length)} of an episode. Reused between draws. */
public final class Window {
    private int episode = -1;
    private int start;
    private int length;

    /** Number of the episode in its store, -1 before the first draw. */
    public int episode() {
        return episode;
    }

    /** First row. */
    public int start() {
        return start;
    }

    /** Number of rows, at least 1 after a draw. */
    public int length() {
        return length;
    }

    void set(int newEpisode, int newStart, int newLength) {
        episode = newEpisode;
        start = newStart;
        length = newLength;
    }

    @Override
    public String toString() {
        return "Window[episode=" + episode + ", start=" + start + ", length=" + length + "]";
    }
}
