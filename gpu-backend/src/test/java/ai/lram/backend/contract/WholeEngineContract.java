package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Replay;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.contract.KernelTable.Argument;
import ai.lram.backend.contract.KernelTable.Fill;
import ai.lram.backend.contract.KernelTable.Kernel;
import ai.lram.backend.contract.KernelTable.Role;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * What holds for every kernel of an engine alike: wrong shapes are refused before anything is written, and results can
 * be repeated.
 */
public abstract class WholeEngineContract {
    private static final long SEED = Long.getLong("lram.seed", 7);

    /** @param threads of a host engine; a device engine may ignore it */
    protected abstract Backend openBackend(int threads);

    @Test
    void theEngineHasKernels() {
        try (Backend backend = openBackend(1)) {
            assertFalse(KernelTable.of(backend.ops(), false).isEmpty());
        }
    }

    @TestFactory
    List<DynamicTest> refusesWrongShapesAndLeavesOutputsUntouched() {
        return eachKernel(this::refusesWrongShapes);
    }

    @TestFactory
    List<DynamicTest> resultsAreBitIdenticalOnOneThreadAndOnTwo() {
        return eachKernel(this::resultsAreBitIdentical);
    }

    private interface KernelTest {
        void run(int index);
    }

    private List<DynamicTest> eachKernel(KernelTest test) {
        List<DynamicTest> tests = new ArrayList<>();
        try (Backend backend = openBackend(1)) {
            List<Kernel> kernels = KernelTable.of(backend.ops(), false);
            for (int i = 0; i < kernels.size(); i++) {
                int index = i;
                tests.add(DynamicTest.dynamicTest(kernels.get(i).toString(), () -> test.run(index)));
            }
        }
        return tests;
    }

    @Test
    void copiesMayBeRecordedAndNeedEqualTypesAndSizes() {
        try (Backend backend = openBackend(1);
                Fixture fx = new Fixture(backend)) {
            Tensor from = fx.of(new float[] {1, 2, 3}, 3);
            Tensor to = fx.poisoned(3);
            try (Replay replay = fx.stream.record(() -> backend.copy(fx.stream, to, from))) {
                replay.run();
            }
            assertArrayEquals(new float[] {1, 2, 3}, fx.read(to));
            assertThrows(ShapeMismatchException.class, () -> backend.copy(fx.stream, fx.zeros(4), from));
            assertThrows(ShapeMismatchException.class, () -> backend.copy(fx.stream, fx.ofInts(new int[3], 3), from));
        }
    }

    @Test
    void hostVisibleMemoryIsReadAndWrittenByBothSides() {
        try (Backend backend = openBackend(1);
                Fixture fx = new Fixture(backend);
                TensorArena arena = backend.arena("host visible")) {
            Tensor in = arena.hostVisible(DType.F32, 2, 2);
            Tensor out = arena.hostVisible(DType.F32, 4);
            assertArrayEquals(new float[4], in.toFloatArray());
            Tensor x = fx.zeros(4);
            Runnable work = () -> {
                fx.ops.elementwise().copyRows(fx.stream, 1, 4, in, 0, 4, x, 0, 4, false);
                fx.ops.elementwise().scale(fx.stream, 2, x, out);
            };
            in.copyFrom(new float[] {1, 2, 3, 4});
            work.run();
            fx.stream.synchronize();
            assertArrayEquals(new float[] {2, 4, 6, 8}, out.toFloatArray());
            try (Replay replay = fx.stream.record(work)) {
                for (int i = 0; i < 3; i++) {
                    in.slice(1, 1).copyFrom(new float[] {i, -i});
                    replay.finish();
                    assertArrayEquals(new float[] {2, 4, 2 * i, -2 * i}, out.toFloatArray());
                }
            }
        }
    }

    private void refusesWrongShapes(int index) {
        try (Backend backend = openBackend(2);
                TensorArena arena = backend.arena("test")) {
            Kernel kernel = KernelTable.of(backend.ops(), false).get(index);
            List<Argument> arguments = kernel.arguments();
            // The call itself is right: what is refused below is refused for the change made.
            kernel.call().run(backend.ops(), backend.stream(), tensors(backend, arena, kernel));
            for (int i = 0; i < arguments.size(); i++) {
                Argument a = arguments.get(i);
                if (a.role() != Role.FREE_INPUT && a.role() != Role.FREE_OUTPUT) {
                    boolean roomy =
                            a.role() == Role.SCRATCH || a.role() == Role.ROOMY_INPUT || a.role() == Role.ROOMY_OUTPUT;
                    int[] shape = a.shape().clone();
                    shape[shape.length - 1] += roomy ? -1 : 1;
                    if (shape[shape.length - 1] >= 0) {
                        assertRefused(
                                backend,
                                arena,
                                kernel,
                                i,
                                new Argument(a.name(), a.role(), a.dtype(), a.fill(), shape));
                    }
                }
                if (a.role() != Role.SCRATCH) {
                    DType other = a.dtype() == DType.F32 ? DType.I32 : DType.F32;
                    assertRefused(
                            backend, arena, kernel, i, new Argument(a.name(), a.role(), other, Fill.ZERO, a.shape()));
                }
            }
        }
    }

    private static void assertRefused(Backend backend, TensorArena arena, Kernel kernel, int index, Argument wrong) {
        Tensor[] tensors = tensors(backend, arena, kernel);
        tensors[index] = tensor(backend, arena, wrong, new Random(SEED));
        byte[][] before = outputs(backend, kernel, tensors);
        String what = kernel + " with " + wrong.name() + " as " + tensors[index];
        assertThrows(
                ShapeMismatchException.class,
                () -> kernel.call().run(backend.ops(), backend.stream(), tensors),
                () -> what);
        backend.stream().synchronize();
        byte[][] after = outputs(backend, kernel, tensors);
        for (int i = 0; i < before.length; i++) {
            assertArrayEquals(
                    before[i],
                    after[i],
                    what + " wrote " + kernel.arguments().get(i).name());
        }
    }

    private void resultsAreBitIdentical(int index) {
        byte[][] alone = run(index, 1);
        byte[][] shared = run(index, 2);
        for (int i = 0; i < alone.length; i++) {
            assertArrayEquals(alone[i], shared[i], "output of argument " + i + " differs, seed " + SEED);
        }
    }

    private byte[][] run(int index, int threads) {
        try (Backend backend = openBackend(threads);
                TensorArena arena = backend.arena("test")) {
            Kernel kernel = KernelTable.of(backend.ops(), true).get(index);
            Tensor[] tensors = tensors(backend, arena, kernel);
            kernel.call().run(backend.ops(), backend.stream(), tensors);
            backend.stream().synchronize();
            return outputs(backend, kernel, tensors);
        }
    }

    private static Tensor[] tensors(Backend backend, TensorArena arena, Kernel kernel) {
        // Scratch may be longer on more threads: every argument has numbers of its own.
        return kernel.arguments().stream()
                .map(a -> tensor(backend, arena, a, new Random(SEED + a.name().hashCode())))
                .toArray(Tensor[]::new);
    }

    private static Tensor tensor(Backend backend, TensorArena arena, Argument a, Random random) {
        Tensor t = arena.allocate(a.dtype(), a.shape());
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(Math.max(4, t.bytes()), 64).asSlice(0, t.bytes());
            for (long i = 0; i < t.size(); i++) {
                double normal = a.fill() == Fill.NORMAL || a.fill() == Fill.POSITIVE ? random.nextGaussian() : 0;
                double value =
                        switch (a.fill()) {
                            case NORMAL -> normal;
                            case POSITIVE -> Math.abs(normal);
                            case ZERO -> 0;
                            case COUNTING -> i;
                        };
                switch (a.dtype()) {
                    case F32 -> m.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) value);
                    case I32 -> m.setAtIndex(ValueLayout.JAVA_INT, i, (int) value);
                    case U8, I8 -> m.set(ValueLayout.JAVA_BYTE, i, (byte) value);
                    case BF16 ->
                        m.setAtIndex(ValueLayout.JAVA_SHORT, i, (short) (Float.floatToIntBits((float) value) >>> 16));
                }
            }
            backend.upload(backend.stream(), t, m);
            backend.stream().synchronize();
        }
        return t;
    }

    /** The bytes of all arguments that the kernel writes; null for the others. */
    private static byte[][] outputs(Backend backend, Kernel kernel, Tensor[] tensors) {
        byte[][] all = new byte[tensors.length][];
        for (int i = 0; i < tensors.length; i++) {
            if (kernel.arguments().get(i).role().written()) {
                Tensor t = tensors[i];
                try (Arena host = Arena.ofConfined()) {
                    MemorySegment m = host.allocate(Math.max(4, t.bytes()), 64).asSlice(0, t.bytes());
                    backend.download(backend.stream(), t, m);
                    backend.stream().synchronize();
                    all[i] = m.toArray(ValueLayout.JAVA_BYTE);
                }
            }
        }
        return all;
    }
}
