package ai.lram.backend;

/**
 * Kernels recorded by {@link Stream#record}: queues them again, in order, over the same tensors. On a CUDA device the whole of it is one
 * graph launch. Same thread rules as its stream.
 */
public interface Replay extends AutoCloseable {
    /** Queues the recorded kernels and returns at once. */
    void run();

    /**
     * {@link #run}, then {@link Stream#synchronize}: what a control step does. Waits by looking again and again for some milliseconds, since a
     * thread that must be woken comes late, and blocks afterwards. Allocates nothing.
     */
    void finish();

    /** The recorded tensors may be freed afterwards. Idempotent. */
    @Override
    void close();
}
