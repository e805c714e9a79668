package ai.lram.backend;

/**
 * An ordered queue of kernels of one engine. Kernels return at once; the results are there after {@link #synchronize()} or, for
 * the next kernel of the same stream, by order. The CPU engine's stream runs each kernel before it returns.
 */
public interface Stream {
    Backend backend();

    /**
     * Waits until everything queued so far is done and reports its errors, also those of indices that only the device has seen (an id
     * outside its table, a slot outside its pool): a {@link ShapeMismatchException}, and what was queued after the offending kernel is
     * void.
     */
    void synchronize();

    /**
     * Records the kernels that {@code work} queues on this stream, without running them. {@code work} must not upload, download, allocate
     * or synchronise, and its tensors must outlive the recording.
     *
     * <p>An engine without graphs keeps {@code work} and runs it at each replay: let it not depend on anything but tensors. Every kernel of
     * {@code work} should have been queued once before with tensors of these shapes: libraries choose their algorithms then.
     */
    default Replay record(Runnable work) {
        return new Replay() {
            @Override
            public void run() {
                work.run();
            }

            @Override
            public void finish() {
                run();
                synchronize();
            }

            @Override
            public void close() {
                // The recording owns nothing.
            }
        };
    }

    /** Whether a recording is one launch, so that it pays to make one; else {@link #record} only keeps the work. */
    default boolean records() {
        return false;
    }
}
