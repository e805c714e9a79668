package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.I;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * {@link FewRows} over weights in bf16 or int8, three rows of x at a time: the tokens of one control step. Allocates nothing.
 *
 * <p>A row of bf16 weights lies in groups of 2 LANES: lane j of a group's ints holds element j in its low half and element LANES + j in its high
 * half, so that a shift and a mask widen both halves and x is read as it lies. What is left of a row follows in order. int8 lies in order.
 */
final class NarrowRows {
    /** Rows of x that share one reading of a weight. */
    private static final int ROWS = 3;

    /** Weight rows of a register tile. */
    private static final int TILE = 4;

    private static final int GROUP = 2 * LANES;
    private static final VectorSpecies<Byte> BYTES =
            VectorSpecies.of(byte.class, jdk.incubator.vector.VectorShape.forBitSize(8 * LANES));
    private static final IntVector HIGH_HALF = IntVector.broadcast(I, 0xffff0000);

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;

    private NarrowRows() {}

    /** Where element d of a bf16 row of k elements lies. */
    static int place(int d, int k) {
        int group = d / GROUP;
        if ((group + 1) * GROUP > k) {
            return d;
        }
        int in = d % GROUP;
        return group * GROUP + (in < LANES ? 2 * in : 2 * (in - LANES) + 1);
    }

    /** The nearest bf16, ties to even. */
    static short bf16(float x) {
        int bits = Float.floatToRawIntBits(x);
        return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }

    private static float widen(short x) {
        return Float.intBitsToFloat(x << 16);
    }

    /** One product: y (m, n) = x (m, k) w^T + bias; {@link #run} does blocks of {@link FewRows#BLOCK} weight rows. */
    static final class Product implements Workers.Range {
        int m;
        int n;
        int k;
        MemorySegment x;
        MemorySegment w;
        MemorySegment scale;
        MemorySegment bias;
        MemorySegment y;

        @Override
        public void run(int from, int to) {
            float[] sums = Staging.own().tile;
            for (int block = from; block < to; block++) {
                int column = block * FewRows.BLOCK;
                int columns = Math.min(FewRows.BLOCK, n - column);
                for (int row = 0; row < m; row += ROWS) {
                    int rows = Math.min(ROWS, m - row);
                    if (scale == null) {
                        bf16(column, columns, row, rows, sums);
                    } else {
                        int8(column, columns, row, rows, sums);
                    }
                }
            }
        }

        private void bf16(int column, int columns, int row, int rows, float[] sums) {
            for (int j = 0; j < columns; j += 2) {
                long at = (long) (column + j) * k;
                long second = j + 1 < columns ? at + k : at;
                if (rows == ROWS) {
                    bf16Tile3(w, at, second, x, (long) row * k, k, sums, j * LANES);
                } else {
                    for (int i = 0; i < rows; i++) {
                        bf16Tile1(w, at, second, x, (long) (row + i) * k, k, sums, (i * FewRows.BLOCK + j) * LANES);
                    }
                }
            }
            int done = k / GROUP * GROUP;
            for (int i = 0; i < rows; i++) {
                FewRows.fold(columns, sums, i * FewRows.BLOCK * LANES, y, (long) (row + i) * n + column);
                if (done < k || bias != null) {
                    bf16Rest(column, columns, row + i, done);
                }
            }
        }

        private void bf16Rest(int column, int columns, int row, int done) {
            for (int j = column; j < column + columns; j++) {
                long to = ((long) row * n + j) * 4;
                float sum = y.get(FLOAT, to);
                for (int d = done; d < k; d++) {
                    sum = Math.fma(
                            widen(w.get(SHORT, ((long) j * k + d) * 2)), x.get(FLOAT, ((long) row * k + d) * 4), sum);
                }
                y.set(FLOAT, to, bias == null ? sum : sum + bias.get(FLOAT, 4L * j));
            }
        }

        private void int8(int column, int columns, int row, int rows, float[] sums) {
            for (int j = 0; j < columns; j += TILE) {
                int last = Math.min(TILE, columns - j) - 1;
                long at = (long) (column + j) * k;
                if (rows == ROWS) {
                    int8Tile3(w, at, last, x, (long) row * k, k, sums, j * LANES);
                } else {
                    for (int i = 0; i < rows; i++) {
                        int8Tile1(w, at, last, x, (long) (row + i) * k, k, sums, (i * FewRows.BLOCK + j) * LANES);
                    }
                }
            }
            for (int i = 0; i < rows; i++) {
                FewRows.fold(columns, sums, i * FewRows.BLOCK * LANES, y, (long) (row + i) * n + column);
                int8Rest(column, columns, row + i, k / LANES * LANES);
            }
        }

        private void int8Rest(int column, int columns, int row, int done) {
            for (int j = column; j < column + columns; j++) {
                long to = ((long) row * n + j) * 4;
                float sum = y.get(FLOAT, to);
                for (int d = done; d < k; d++) {
                    sum = Math.fma(
                            w.get(ValueLayout.JAVA_BYTE, (long) j * k + d),
                            x.get(FLOAT, ((long) row * k + d) * 4),
                            sum);
                }
                sum *= scale.get(FLOAT, 4L * j);
                y.set(FLOAT, to, bias == null ? sum : sum + bias.get(FLOAT, 4L * j));
            }
        }
    }

    private static IntVector pairs(MemorySegment w, long at) {
        return IntVector.fromMemorySegment(I, w, 2 * at, ByteOrder.LITTLE_ENDIAN);
    }

    private static FloatVector low(IntVector pairs) {
        return pairs.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
    }

    private static FloatVector high(IntVector pairs) {
        return pairs.and(HIGH_HALF).reinterpretAsFloats();
    }

    private static FloatVector bytes(MemorySegment w, long at) {
        return (FloatVector) ByteVector.fromMemorySegment(BYTES, w, at, ByteOrder.LITTLE_ENDIAN)
                .castShape(F, 0);
    }

    private static void bf16Tile3(
            MemorySegment w, long wAt, long w1, MemorySegment x, long xAt, int k, float[] sums, int at) {
        long x1 = xAt + k;
        long x2 = xAt + 2L * k;
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = FloatVector.zero(F);
        FloatVector s10 = FloatVector.zero(F);
        FloatVector s11 = FloatVector.zero(F);
        FloatVector s20 = FloatVector.zero(F);
        FloatVector s21 = FloatVector.zero(F);
        for (int d = 0; d <= k - GROUP; d += GROUP) {
            IntVector a = pairs(w, wAt + d);
            IntVector b = pairs(w, w1 + d);
            FloatVector ap = low(a);
            FloatVector bp = low(b);
            FloatVector p0 = load(x, xAt + d);
            s00 = ap.fma(p0, s00);
            s01 = bp.fma(p0, s01);
            FloatVector p1 = load(x, x1 + d);
            s10 = ap.fma(p1, s10);
            s11 = bp.fma(p1, s11);
            FloatVector p2 = load(x, x2 + d);
            s20 = ap.fma(p2, s20);
            s21 = bp.fma(p2, s21);
            FloatVector aq = high(a);
            FloatVector bq = high(b);
            FloatVector q0 = load(x, xAt + d + LANES);
            s00 = aq.fma(q0, s00);
            s01 = bq.fma(q0, s01);
            FloatVector q1 = load(x, x1 + d + LANES);
            s10 = aq.fma(q1, s10);
            s11 = bq.fma(q1, s11);
            FloatVector q2 = load(x, x2 + d + LANES);
            s20 = aq.fma(q2, s20);
            s21 = bq.fma(q2, s21);
        }
        s00.intoArray(sums, at);
        s01.intoArray(sums, at + LANES);
        s10.intoArray(sums, at + 8 * LANES);
        s11.intoArray(sums, at + 9 * LANES);
        s20.intoArray(sums, at + 16 * LANES);
        s21.intoArray(sums, at + 17 * LANES);
    }

    private static void bf16Tile1(
            MemorySegment w, long wAt, long w1, MemorySegment x, long xAt, int k, float[] sums, int at) {
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = FloatVector.zero(F);
        for (int d = 0; d <= k - GROUP; d += GROUP) {
            IntVector a = pairs(w, wAt + d);
            IntVector b = pairs(w, w1 + d);
            FloatVector ap = low(a);
            FloatVector bp = low(b);
            FloatVector p0 = load(x, xAt + d);
            s00 = ap.fma(p0, s00);
            s01 = bp.fma(p0, s01);
            FloatVector aq = high(a);
            FloatVector bq = high(b);
            FloatVector q0 = load(x, xAt + d + LANES);
            s00 = aq.fma(q0, s00);
            s01 = bq.fma(q0, s01);
        }
        s00.intoArray(sums, at);
        s01.intoArray(sums, at + LANES);
    }

    private static void int8Tile3(
            MemorySegment w, long wAt, int last, MemorySegment x, long xAt, int k, float[] sums, int at) {
        long w1 = wAt + (long) Math.min(1, last) * k;
        long w2 = wAt + (long) Math.min(2, last) * k;
        long w3 = wAt + (long) Math.min(3, last) * k;
        long x1 = xAt + k;
        long x2 = xAt + 2L * k;
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = FloatVector.zero(F);
        FloatVector s02 = FloatVector.zero(F);
        FloatVector s03 = FloatVector.zero(F);
        FloatVector s10 = FloatVector.zero(F);
        FloatVector s11 = FloatVector.zero(F);
        FloatVector s12 = FloatVector.zero(F);
        FloatVector s13 = FloatVector.zero(F);
        FloatVector s20 = FloatVector.zero(F);
        FloatVector s21 = FloatVector.zero(F);
        FloatVector s22 = FloatVector.zero(F);
        FloatVector s23 = FloatVector.zero(F);
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector p1 = load(x, x1 + d);
            FloatVector p2 = load(x, x2 + d);
            FloatVector v = bytes(w, wAt + d);
            s00 = v.fma(p0, s00);
            s10 = v.fma(p1, s10);
            s20 = v.fma(p2, s20);
            v = bytes(w, w1 + d);
            s01 = v.fma(p0, s01);
            s11 = v.fma(p1, s11);
            s21 = v.fma(p2, s21);
            v = bytes(w, w2 + d);
            s02 = v.fma(p0, s02);
            s12 = v.fma(p1, s12);
            s22 = v.fma(p2, s22);
            v = bytes(w, w3 + d);
            s03 = v.fma(p0, s03);
            s13 = v.fma(p1, s13);
            s23 = v.fma(p2, s23);
        }
        s00.intoArray(sums, at);
        s01.intoArray(sums, at + LANES);
        s02.intoArray(sums, at + 2 * LANES);
        s03.intoArray(sums, at + 3 * LANES);
        s10.intoArray(sums, at + 8 * LANES);
        s11.intoArray(sums, at + 9 * LANES);
        s12.intoArray(sums, at + 10 * LANES);
        s13.intoArray(sums, at + 11 * LANES);
        s20.intoArray(sums, at + 16 * LANES);
        s21.intoArray(sums, at + 17 * LANES);
        s22.intoArray(sums, at + 18 * LANES);
        s23.intoArray(sums, at + 19 * LANES);
    }

    private static void int8Tile1(
            MemorySegment w, long wAt, int last, MemorySegment x, long xAt, int k, float[] sums, int at) {
        long w1 = wAt + (long) Math.min(1, last) * k;
        long w2 = wAt + (long) Math.min(2, last) * k;
        long w3 = wAt + (long) Math.min(3, last) * k;
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = FloatVector.zero(F);
        FloatVector s02 = FloatVector.zero(F);
        FloatVector s03 = FloatVector.zero(F);
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector v = bytes(w, wAt + d);
            s00 = v.fma(p0, s00);
            v = bytes(w, w1 + d);
            s01 = v.fma(p0, s01);
            v = bytes(w, w2 + d);
            s02 = v.fma(p0, s02);
            v = bytes(w, w3 + d);
            s03 = v.fma(p0, s03);
        }
        s00.intoArray(sums, at);
        s01.intoArray(sums, at + LANES);
        s02.intoArray(sums, at + 2 * LANES);
        s03.intoArray(sums, at + 3 * LANES);
    }
}
