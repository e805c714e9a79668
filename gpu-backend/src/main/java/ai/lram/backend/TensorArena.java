package ai.lram.backend;

/**
 * Owner of tensor memory, in a tree: process > model > session > step. Closing frees children first, is idempotent and never throws.
 * Addresses are stable for the arena's life, so that a recorded plan or CUDA graph can be replayed.
 *
 * <p>Threads: allocate and close from one thread at a time; tensors may be used from any. No kernel may be running on them when their
 * arena closes: a kernel looks once, when it begins.
 */
public interface TensorArena extends AutoCloseable {
    String name();

    /** Zero-filled, 64-byte aligned (256 on a device). @throws DeviceOutOfMemoryException nothing is allocated then */
    Tensor allocate(DType dtype, int... shape);

    /**
     * Zero-filled memory that the host reads and writes through {@link Tensor#segment} and kernels address as any other: on a device,
     * page-locked host memory that is mapped, each kernel's access to it crossing the bus; on a host engine, plain memory. For the small
     * inputs and outputs of a step. What the host has written is seen by kernels queued afterwards; what kernels have written is seen
     * after {@link Stream#synchronize} or {@link Replay#finish}.
     *
     * @throws DeviceOutOfMemoryException nothing is allocated then
     */
    Tensor hostVisible(DType dtype, int... shape);

    default Tensor f32(int... shape) {
        return allocate(DType.F32, shape);
    }

    default Tensor i32(int... shape) {
        return allocate(DType.I32, shape);
    }

    TensorArena child(String name);

    /** Bytes allocated here and in all children. */
    long liveBytes();

    /** One line per live arena, children indented, with bytes. */
    String dump();

    @Override
    void close();
}
