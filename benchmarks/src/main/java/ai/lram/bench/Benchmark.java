package ai.lram.bench;

/** One measurement that a person can ask for by name. */
public interface Benchmark {
    /** Lower case, one word. */
    String name();

    /** What it measures, in one sentence. */
    String measures();

    /**
     * Refuses what this machine cannot do: looks at memory and space on disk, measures and allocates nothing. {@link #run} begins with it;
     * whoever runs several benchmarks asks them all first.
     *
     * @throws BenchException naming what is needed and what there is
     */
    default void require() {}

    /**
     * Checks answers first, then measures, and reports to {@code run}. Takes the calling thread.
     *
     * @throws BenchException if the machine or the settings do not allow it; nothing has been reported then
     * @throws WrongAnswerException if a check fails; what is timed afterwards is not reported
     */
    void run(Run run);
}
