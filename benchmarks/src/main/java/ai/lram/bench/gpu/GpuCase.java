package ai.lram.bench.gpu;

/** One kind of work on a GPU: checks its answer, then reports its times. */
public interface GpuCase {
    /** As result lines name it, without what is measured of it. */
    String name();

    /**
     * Takes device memory of its own and gives it back.
     *
     * @throws ai.lram.bench.WrongAnswerException if an answer is wrong; nothing of this case has been reported then
     */
    void measure(GpuRun run);
}
