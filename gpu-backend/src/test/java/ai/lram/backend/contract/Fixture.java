package ai.lram.backend.contract;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Ops;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.Assumptions;

/**
 * An engine under test with a memory arena of its own: makes tensors from plain arrays, reads them back, compares with fp64 references.
 * Works for host and device engines alike. Inputs are drawn from a fixed seed, so that a build is repeatable; {@code -Dlram.seed=N} draws
 * others and {@code -Dlram.seed=clock} new ones every time. Every failure names the seed.
 */
public final class Fixture implements AutoCloseable {
    private static final Set<String> PRINTED = ConcurrentHashMap.newKeySet();

    public final Backend backend;
    public final Ops ops;
    public final Stream stream;
    public final long seed;
    public final Random random;
    public final TensorArena arena;

    public Fixture(Backend backend) {
        this.backend = backend;
        this.ops = backend.ops();
        this.stream = backend.stream();
        String wanted = System.getProperty("lram.seed", "20261124");
        this.seed = wanted.equals("clock") ? System.nanoTime() : Long.parseLong(wanted);
        this.random = new Random(seed);
        this.arena = backend.arena("test");
    }

    public Tensor of(float[] values, int... shape) {
        Tensor t = arena.allocate(DType.F32, shape);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(Math.max(4, 4L * values.length), 64).asSlice(0, 4L * values.length);
            MemorySegment.copy(values, 0, m, ValueLayout.JAVA_FLOAT, 0, values.length);
            backend.upload(stream, t, m);
            stream.synchronize();
        }
        return t;
    }

    /** Of F32 or BF16; bf16 is rounded to the nearest, ties to even. */
    public Tensor of(DType type, float[] values, int... shape) {
        if (type == DType.F32) {
            return of(values, shape);
        }
        Tensor t = arena.allocate(DType.BF16, shape);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(Math.max(4, t.bytes()), 64).asSlice(0, t.bytes());
            for (int i = 0; i < values.length; i++) {
                m.setAtIndex(ValueLayout.JAVA_SHORT, i, bf16(values[i]));
            }
            backend.upload(stream, t, m);
            stream.synchronize();
        }
        return t;
    }

    private static short bf16(float x) {
        int bits = Float.floatToRawIntBits(x);
        return Float.isNaN(x) ? 0x7fc0 : (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }

    /** The nearest bf16 numbers, ties to even. */
    static float[] rounded(float[] values) {
        float[] a = new float[values.length];
        for (int i = 0; i < a.length; i++) {
            a[i] = Float.intBitsToFloat(bf16(values[i]) << 16);
        }
        return a;
    }

    public Tensor ofInts(int[] values, int... shape) {
        Tensor t = arena.allocate(DType.I32, shape);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(Math.max(4, 4L * values.length), 64).asSlice(0, 4L * values.length);
            MemorySegment.copy(values, 0, m, ValueLayout.JAVA_INT, 0, values.length);
            backend.upload(stream, t, m);
            stream.synchronize();
        }
        return t;
    }

    public Tensor zeros(int... shape) {
        return arena.allocate(DType.F32, shape);
    }

    /** Filled with NaN: an element that a kernel forgets to write shows. */
    public Tensor poisoned(int... shape) {
        return poisoned(DType.F32, shape);
    }

    /** The same of F32 or BF16. */
    public Tensor poisoned(DType type, int... shape) {
        float[] a = new float[Math.toIntExact(Tensor.sizeOf(shape))];
        Arrays.fill(a, Float.NaN);
        return of(type, a, shape);
    }

    /** N(0,1) scaled. */
    public float[] normal(int n, double scale) {
        float[] a = new float[n];
        for (int i = 0; i < n; i++) {
            a[i] = (float) (random.nextGaussian() * scale);
        }
        return a;
    }

    /** Of F32, BF16 or F16. */
    public float[] read(Tensor t) {
        float[] a = new float[Math.toIntExact(t.size())];
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(Math.max(4, t.bytes()), 64).asSlice(0, t.bytes());
            backend.download(stream, t, m);
            stream.synchronize();
            if (t.dtype() == DType.BF16 || t.dtype() == DType.F16) {
                for (int i = 0; i < a.length; i++) {
                    short bits = m.getAtIndex(ValueLayout.JAVA_SHORT, i);
                    a[i] = t.dtype() == DType.F16 ? Float.float16ToFloat(bits) : Float.intBitsToFloat(bits << 16);
                }
            } else {
                MemorySegment.copy(m, ValueLayout.JAVA_FLOAT, 0, a, 0, a.length);
            }
        }
        return a;
    }

    public int[] readInts(Tensor t) {
        int[] a = new int[Math.toIntExact(t.size())];
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(Math.max(4, t.bytes()), 64).asSlice(0, t.bytes());
            backend.download(stream, t, m);
            stream.synchronize();
            MemorySegment.copy(m, ValueLayout.JAVA_INT, 0, a, 0, a.length);
        }
        return a;
    }

    /** Skips the running test unless {@code possible}, and prints why, the first time for each reason. */
    public static void skipUnless(boolean possible, String reason) {
        if (!possible && PRINTED.add(reason)) {
            System.out.println("skipped: " + reason);
        }
        Assumptions.assumeTrue(possible, reason);
    }

    /** max|got - want| / max|want|, infinite if anything got is not finite; 0/0 counts as 0. */
    public static double error(float[] got, double[] want) {
        double diff = 0;
        double scale = 0;
        if (got.length != want.length) {
            throw new AssertionError("sizes differ: got " + got.length + ", want " + want.length);
        }
        for (int i = 0; i < got.length; i++) {
            if (!Float.isFinite(got[i])) {
                return Double.POSITIVE_INFINITY;
            }
            diff = Math.max(diff, Math.abs(got[i] - want[i]));
            scale = Math.max(scale, Math.abs(want[i]));
        }
        return diff == 0 ? 0 : diff / scale;
    }

    /** Fails with the name, the error seen, the tolerance and the seed. */
    public void assertClose(String name, double[] want, Tensor got, double tolerance) {
        double e = error(read(got), want);
        if (!(e <= tolerance)) {
            throw new AssertionError(name + ": max|difference|/max|reference| = " + e + " > " + tolerance
                    + "; rerun with -Dlram.seed=" + seed);
        }
    }

    /**
     * Like {@link #assertClose(String, double[], Tensor, double)} where the reference may cancel to (almost) nothing, as the gradient of a
     * query does in a sequence of one token: differences are measured against at least {@code scale}, the size of what cancels.
     */
    public void assertClose(String name, double[] want, Tensor got, double tolerance, double scale) {
        float[] a = read(got);
        double unit = Math.max(largest(want), scale);
        double e = 0;
        for (int i = 0; i < want.length && !Double.isNaN(e); i++) {
            double d = Math.abs(a[i] - want[i]) / unit;
            e = d <= e ? e : d;
        }
        if (!(e <= tolerance)) {
            throw new AssertionError(
                    name + ": max|difference|/scale = " + e + " > " + tolerance + "; rerun with -Dlram.seed=" + seed);
        }
    }

    /** Largest magnitude. */
    public static double largest(double[] a) {
        double m = 0;
        for (double v : a) {
            m = Math.max(m, Math.abs(v));
        }
        return m;
    }

    public static double[] doubles(float[] a) {
        double[] d = new double[a.length];
        for (int i = 0; i < a.length; i++) {
            d[i] = a[i];
        }
        return d;
    }

    @Override
    public void close() {
        arena.close();
        if (arena.liveBytes() != 0) {
            throw new AssertionError("the arena still holds memory: " + arena.dump());
        }
    }
}
