package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.NonFiniteException;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Ops;
import ai.lram.backend.ops.StepForm;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The CUDA engine on one device. Kernels and copies are queued on one stream by one platform thread at a time and return at once; everything
 * else may be called from any thread.
 */
final class CudaBackend implements Backend {
    private static final Logger LOG = LoggerFactory.getLogger(CudaBackend.class);

    private final Engine engine;
    private final CudaOps ops;
    private final CudaStream stream;
    private final Kernel firstNonFinite;
    private final List<CudaArena> roots = new ArrayList<>();

    /** @param stepForm the only one of mLSTM blocks in a control step, if there is to be but one */
    CudaBackend(
            Driver driver,
            Nvrtc nvrtc,
            CublasLt cublas,
            Device device,
            Path toolkitHeaders,
            CubinCache cache,
            Optional<StepForm> stepForm) {
        StepForms forms = StepForms.of(device, stepForm);
        engine = new Engine(driver, nvrtc, cublas, device, toolkitHeaders, cache);
        try {
            stream = new CudaStream(this, engine);
            KernelModule elementwise = new KernelModule(engine, "elementwise");
            firstNonFinite = elementwise.kernel("first_non_finite");
            ops = new CudaOps(engine, elementwise, forms);
            LOG.debug("kernels of {}: {}", name(), engine.compiler().summary());
        } catch (RuntimeException | Error e) {
            engine.close();
            throw e;
        }
    }

    @Override
    public String name() {
        return "cuda:" + engine.device().ordinal();
    }

    @Override
    public String describe() {
        return engine.device() + ", products in " + ops.precision() + ", of many sessions in "
                + ops.productsOfMany() + ", kernels "
                + engine.compiler().summary();
    }

    Device device() {
        return engine.device();
    }

    Engine engine() {
        return engine;
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
        CudaArena arena = new CudaArena(engine, name, null);
        synchronized (roots) {
            roots.removeIf(CudaArena::isClosed);
            roots.add(arena);
        }
        return arena;
    }

    @Override
    public void upload(Stream s, Tensor dst, MemorySegment src) {
        requireCopy(dst, src);
        engine.enter("upload");
        try {
            engine.requireNotRecording("upload");
            engine.staging().upload(dst.address(), src);
        } finally {
            engine.leave();
        }
    }

    @Override
    public void download(Stream s, Tensor src, MemorySegment dst) {
        requireCopy(src, dst);
        engine.enter("download");
        try {
            engine.requireNotRecording("download");
            engine.staging().download(dst, src.address());
        } finally {
            engine.leave();
        }
    }

    @Override
    public void copy(Stream s, Tensor dst, Tensor src) {
        Check.size("copy", "dst", dst, src.dtype(), src.size());
        Check.size("copy", "src", src, src.dtype(), src.size());
        engine.enter("copy");
        try {
            engine.check(
                    engine.driver().copyOnDevice(dst.address(), src.address(), src.bytes(), engine.stream()),
                    "copying on the device");
        } finally {
            engine.leave();
        }
    }

    private static void requireCopy(Tensor t, MemorySegment m) {
        if (m.byteSize() != t.bytes() || !m.isNative() || t.isHost()) {
            throw new ShapeMismatchException(
                    "copy between " + t + (t.isHost() ? " in host memory" : "") + " and host memory",
                    m.byteSize() + " bytes " + (m.isNative() ? "" : "on the heap ") + "on the host side",
                    "pass exactly " + t.bytes() + " bytes of native memory and a tensor of this engine");
        }
        t.requireAlive();
    }

    @Override
    public void requireFinite(Stream s, String what, Tensor x) {
        if (!(x.dtype() == DType.F32)) {
            throw Check.mismatch("finite check of " + what, "dtype is " + x.dtype(), "check F32 tensors");
        }
        Check.f32("finite check of " + what, "x", x);
        long where = engine.partials();
        engine.enter("finite check");
        try {
            engine.requireNotRecording("finite check");
            engine.check(
                    engine.driver().fillBytes(where, (byte) 0xff, Long.BYTES, engine.stream()),
                    "clearing the position of the first NaN");
        } finally {
            engine.leave();
        }
        engine.launch(firstNonFinite).put(x).put(x.size()).put(where).run(engine.blocks(x.size()));
        Tensor position = Tensor.device(DType.I32, where, () -> true, 2);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment at = host.allocate(ValueLayout.JAVA_LONG);
            download(s, position, at);
            s.synchronize();
            long first = at.get(ValueLayout.JAVA_LONG, 0);
            if (first < 0) {
                return;
            }
            MemorySegment value = host.allocate(ValueLayout.JAVA_FLOAT);
            download(s, x.view(first, 1), value);
            s.synchronize();
            throw new NonFiniteException(
                    what + " is not finite",
                    "element " + first + " of " + x + " is " + value.get(ValueLayout.JAVA_FLOAT, 0),
                    "check the inputs; lower the learning rate in training");
        }
    }

    @Override
    public OptionalLong freeBytes() {
        return OptionalLong.of(engine.freeBytes());
    }

    @Override
    public void close() {
        List<CudaArena> left;
        synchronized (roots) {
            roots.removeIf(CudaArena::isClosed);
            left = List.copyOf(roots);
            roots.clear();
        }
        for (CudaArena arena : left) {
            LOG.warn("{} is closed before its arena, which ends with it:\n{}", name(), arena.dump());
            arena.close();
        }
        engine.close();
    }
}
