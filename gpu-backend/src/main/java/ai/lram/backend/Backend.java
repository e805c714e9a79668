package ai.lram.backend;

import ai.lram.backend.ops.Ops;
import java.lang.foreign.MemorySegment;
import java.util.OptionalLong;

/** An engine: memory, a stream and the kernels of {@link Ops}. One thread at a time queues work on a stream. */
public interface Backend extends AutoCloseable {
    /** {@code cpu} or {@code cuda:0}. */
    String name();

    /** What this engine runs on, for people: device, threads, libraries. */
    String describe();

    Ops ops();

    Stream stream();

    /** A new root arena. */
    TensorArena arena(String name);

    /** Copies host memory (native, {@code dst.bytes()} long) into a tensor, in stream order; {@code src} may be reused after {@link Stream#synchronize()}. */
    void upload(Stream stream, Tensor dst, MemorySegment src);

    /** Copies a tensor into host memory, in stream order; readable after {@link Stream#synchronize()}. */
    void download(Stream stream, Tensor src, MemorySegment dst);

    /** Copies a tensor into another of its type and size, in stream order; may be recorded. */
    void copy(Stream stream, Tensor dst, Tensor src);

    /** Waits for the stream and throws {@link NonFiniteException} naming {@code what} if the F32 tensor holds NaN or infinity. */
    void requireFinite(Stream stream, String what, Tensor x);

    /** Free memory of the device as its driver counts it, other processes' included; empty for an engine in the host's memory. */
    default OptionalLong freeBytes() {
        return OptionalLong.empty();
    }

    @Override
    void close();
}
