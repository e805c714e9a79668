package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.DType;
import ai.lram.backend.NonFiniteException;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Ops;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/** The CPU engine. Its stream is synchronous: a kernel is done when the call returns. */
public final class CpuBackend implements Backend {
    private final Workers workers;
    private final CpuOps ops;
    private final CpuStream stream = new CpuStream(this);

    public CpuBackend(BackendOptions options) {
        int threads = options.threads() == 0 ? Runtime.getRuntime().availableProcessors() : options.threads();
        workers = new Workers(threads);
        ops = new CpuOps(workers);
    }

    @Override
    public String name() {
        return "cpu";
    }

    @Override
    public String describe() {
        return workers.threads() + " threads, " + FloatVector.SPECIES_PREFERRED.vectorBitSize() + "-bit vectors";
    }

    @Override
    public Ops ops() {
        return ops;
    }

    @Override
    public Stream stream() {
        return stream;
    }

    @Override
    public TensorArena arena(String name) {
        return new CpuArena(name, null);
    }

    @Override
    public void upload(Stream s, Tensor dst, MemorySegment src) {
        requireSize(dst, src);
        dst.segment().copyFrom(src);
    }

    @Override
    public void download(Stream s, Tensor src, MemorySegment dst) {
        requireSize(src, dst);
        dst.copyFrom(src.segment());
    }

    @Override
    public void copy(Stream s, Tensor dst, Tensor src) {
        if (dst.dtype() != src.dtype()) {
            throw new ShapeMismatchException("copy of " + src + " into " + dst, "the types differ", "match both");
        }
        requireSize(dst, src.segment());
        dst.segment().copyFrom(src.segment());
    }

    private static void requireSize(Tensor t, MemorySegment m) {
        if (m.byteSize() != t.bytes()) {
            throw new ShapeMismatchException(
                    "copy between " + t + " and host memory",
                    m.byteSize() + " bytes on the host side",
                    "pass exactly " + t.bytes() + " bytes");
        }
    }

    @Override
    public void requireFinite(Stream s, String what, Tensor x) {
        if (x.dtype() != DType.F32) {
            throw new ShapeMismatchException("finite check of " + what, "dtype is " + x.dtype(), "check F32 tensors");
        }
        long n = x.size();
        for (long i = 0; i < n; i++) {
            float v = x.get(i);
            if (!Float.isFinite(v)) {
                throw new NonFiniteException(
                        what + " is not finite",
                        "element " + i + " of " + x + " is " + v,
                        "check the inputs; lower the learning rate in training");
            }
        }
    }

    @Override
    public void close() {
        workers.close();
    }

    private record CpuStream(Backend backend) implements Stream {
        @Override
        public void synchronize() {
            // Kernels of this engine are done when their call returns.
        }
    }
}
