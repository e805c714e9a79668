package ai.lram.backend;

/**
 * Kernels recorded by {@link Stream#record}: queues them again, in order, over the same tensors. On a CUDA device the whole of it is one
 * graph launch. Same thread rules as its stream.
 */
public interface Replay extends AutoCloseable {
    /** Queues the recorded kernels and returns at once. */
    void run();

    /** The recorded tensors may be freed afterwards. Idempotent. */
    @Override
    void close();
}
