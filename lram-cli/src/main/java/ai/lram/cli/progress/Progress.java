package ai.lram.cli.progress;

/** Shows how far a job is. Single thread. Closing ends the display and leaves its last state readable. */
public interface Progress extends AutoCloseable {
    /**
     * @param fraction share that is done, 0..1; negative where it is not known
     * @param message short numbers of interest, e.g. {@code loss 1.23}
     */
    void update(double fraction, String message);

    @Override
    void close();

    /** Shows nothing. */
    static Progress none() {
        return new Progress() {
            @Override
            public void update(double fraction, String message) {
                // nobody watches
            }

            @Override
            public void close() {
                // nothing to end
            }
        };
    }

    /** A bar with ETA where standard output and input are a terminal, else a line every ten seconds, both on standard error. */
    static Progress of(String job) {
        boolean terminal = System.console() != null && System.console().isTerminal();
        return terminal ? new BarProgress(job) : new LineProgress(job, System.err, 10_000_000_000L, System::nanoTime);
    }
}
