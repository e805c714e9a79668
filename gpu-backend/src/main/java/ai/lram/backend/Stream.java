package ai.lram.backend;

/**
 * An ordered queue of kernels of one engine. Kernels return at once; the results are there after {@link #synchronize()} or, for
 * the next kernel of the same stream, by order. The CPU engine's stream runs each kernel before it returns.
 */
public interface Stream {
    Backend backend();

    /** Waits until everything queued so far is done and reports its errors. */
    void synchronize();
}
