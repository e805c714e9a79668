package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;

/** Loops over rows of any length for the mLSTM's chunks. Offsets are in elements. */
final class ChunkRows {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfDouble DOUBLE = ValueLayout.JAVA_DOUBLE_UNALIGNED;

    /** Products summed in fp32 before the sum goes on in fp64. */
    private static final int SPAN = 256;

    private ChunkRows() {}

    /** y = factor x. */
    static void scale(MemorySegment x, long xAt, float factor, MemorySegment y, long yAt, int n) {
        FloatVector by = FloatVector.broadcast(F, factor);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            store(load(x, xAt + i).mul(by), y, yAt + i);
        }
        for (; i < n; i++) {
            y.set(FLOAT, (yAt + i) * 4, factor * x.get(FLOAT, (xAt + i) * 4));
        }
    }

    /** y += factor x. */
    static void addScaled(MemorySegment x, long xAt, float factor, MemorySegment y, long yAt, int n) {
        FloatVector by = FloatVector.broadcast(F, factor);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            store(load(x, xAt + i).fma(by, load(y, yAt + i)), y, yAt + i);
        }
        for (; i < n; i++) {
            y.set(FLOAT, (yAt + i) * 4, Math.fma(x.get(FLOAT, (xAt + i) * 4), factor, y.get(FLOAT, (yAt + i) * 4)));
        }
    }

    static float dot(MemorySegment x, long xAt, MemorySegment y, long yAt, int n) {
        FloatVector sum = FloatVector.zero(F);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            sum = load(x, xAt + i).fma(load(y, yAt + i), sum);
        }
        float rest = 0;
        for (; i < n; i++) {
            rest = Math.fma(x.get(FLOAT, (xAt + i) * 4), y.get(FLOAT, (yAt + i) * 4), rest);
        }
        return VectorMath.sum(sum) + rest;
    }

    /** The same over many elements. */
    static double longDot(MemorySegment x, long xAt, MemorySegment y, long yAt, int n) {
        double total = 0;
        for (int i = 0; i < n; i += SPAN) {
            total += dot(x, xAt + i, y, yAt + i, Math.min(SPAN, n - i));
        }
        return total;
    }

    /** n = keep n + write k for the fp64 vector n. @return q . n */
    static double advance(
            MemorySegment n,
            long at,
            double keep,
            double write,
            MemorySegment k,
            long kAt,
            MemorySegment q,
            long qAt,
            int size) {
        DoubleVector g = DoubleVector.broadcast(DoubleMath.D, keep);
        DoubleVector in = DoubleVector.broadcast(DoubleMath.D, write);
        DoubleVector sum = DoubleVector.zero(DoubleMath.D);
        int d = 0;
        for (; d <= size - DoubleMath.LANES; d += DoubleMath.LANES) {
            DoubleVector old = DoubleMath.load(n, (at + d) * 8).mul(g);
            DoubleVector x = DoubleMath.widen(k, (kAt + d) * 4).fma(in, old);
            DoubleMath.store(x, n, (at + d) * 8);
            sum = DoubleMath.widen(q, (qAt + d) * 4).fma(x, sum);
        }
        double rest = 0;
        for (; d < size; d++) {
            double x = Math.fma(k.get(FLOAT, (kAt + d) * 4), write, n.get(DOUBLE, (at + d) * 8) * keep);
            n.set(DOUBLE, (at + d) * 8, x);
            rest = Math.fma(q.get(FLOAT, (qAt + d) * 4), x, rest);
        }
        return DoubleMath.sum(sum) + rest;
    }
}
