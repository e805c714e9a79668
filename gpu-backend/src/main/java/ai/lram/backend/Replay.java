package ai.lram.backend;

/**
 * Kernels recorded by {@link Stream#record}: queues them again, in order, over the same tensors. On a CUDA device the whole of it is one
 * graph launch. Same thread rules as its stream.
 */
public interface Replay extends AutoCloseable {
    /** Queues the recorded kernels and returns at once. */
    void run();

    /**
     * {@link #run}, then waits as {@link Stream#synchronize} does, for results and errors: what a control step does. Looks again and again for
     * some milliseconds, since a thread that must be woken comes late, and blocks afterwards. A device may still be putting away the last kernel
     * when this returns: one that decides a step tells the host when all it writes is there. Allocates nothing.
     */
    void finish();

    /** The recorded tensors may be freed afterwards. Idempotent. */
    @Override
    void close();
}
