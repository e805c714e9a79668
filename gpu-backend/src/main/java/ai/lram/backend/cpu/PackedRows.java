package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.I;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;

import ai.lram.backend.DType;
import ai.lram.backend.ops.PackedWeight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * {@link FewRows} over packed weights in bf16 or int8, three rows of x at a time: the tokens of one control step. Allocates nothing.
 *
 * <p>Four weight rows lie interleaved, a vector of each in turn, then what is left of each: a product reads its weights as one stream from first to
 * last, which is what the processor's prefetching follows best. A vector of bf16 weights is 2 LANES of them: lane j of its ints holds element j in the
 * low half and element LANES + j in the high half, so that a shift and a mask widen both halves and x is read as it lies.
 */
final class PackedRows {
    /** Rows of x that share one reading of a weight. */
    private static final int ROWS = 3;

    private static final int TILE = PackedWeight.TILE;
    private static final int PAIRS = 2 * LANES;
    /** Bytes of a vector. */
    private static final int VECTOR = 4 * LANES;

    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    /** As many bytes as there are lanes of floats; a vector is 64 bits at least. */
    private static final VectorSpecies<Byte> BYTES =
            VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.max(64, 8 * LANES)));

    private static final IntVector HIGH_HALF = IntVector.broadcast(I, 0xffff0000);

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;

    private PackedRows() {}

    /** Where element d of row j of weights (n, k) lies, {@code width} elements of a row together. */
    static long place(int j, int d, int k, int width) {
        long tile = (long) (j / TILE) * TILE * k;
        int row = j % TILE;
        int whole = k / width * width;
        return d < whole
                ? tile + (long) (d / width) * TILE * width + row * width + d % width
                : tile + (long) whole * TILE + row * (k - whole) + d - whole;
    }

    /** The same for bf16, whose pairs are an element of each half of a group. */
    static long placeBf16(int j, int d, int k) {
        if (d >= k / PAIRS * PAIRS) {
            return place(j, d, k, PAIRS);
        }
        int in = d % PAIRS;
        return place(j, d - in, k, PAIRS) + (in < LANES ? 2 * in : 2 * (in - LANES) + 1);
    }

    /** The nearest bf16, ties to even. */
    static short bf16(float x) {
        int bits = Float.floatToRawIntBits(x);
        return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }

    /** One product: y (m, n) = x (m, k) w^T + bias; {@link #run} does blocks of {@link FewRows#BLOCK} weight rows. */
    static final class Product implements Workers.Range {
        int m;
        int n;
        int k;
        DType type;
        MemorySegment x;
        MemorySegment w;
        MemorySegment scale;
        MemorySegment bias;
        MemorySegment y;

        @Override
        public void run(int from, int to) {
            Staging staging = Staging.own();
            float[] sums = staging.tile;
            float[] triples = staging.packedA(m / ROWS * ROWS * k);
            int bytes = type.bytes();
            if (type == DType.BF16) {
                for (int row = 0; row <= m - ROWS; row += ROWS) {
                    triple(x, (long) row * k, k, triples, row * k);
                }
            }
            boolean far = w.byteSize() >= ReadAhead.FAR;
            long end = Math.min(w.byteSize(), (long) to * FewRows.BLOCK * k * bytes);
            long ahead = far ? (long) from * FewRows.BLOCK * k * bytes : Long.MAX_VALUE;
            for (int block = from; block < to; block++) {
                int column = block * FewRows.BLOCK;
                int columns = Math.min(FewRows.BLOCK, n - column);
                if ((long) column * k * bytes >= ahead) {
                    long next = Math.min(end, ahead + ReadAhead.CHUNK);
                    ReadAhead.touch(w, ahead, next);
                    ahead = next;
                }
                for (int row = 0; row < m; row += ROWS) {
                    int rows = Math.min(ROWS, m - row);
                    for (int j = 0; j < columns; j += TILE) {
                        long at = (long) (column + j) * k;
                        switch (type) {
                            case BF16 -> bf16(at, row, rows, triples, sums, j * LANES);
                            default -> int8(at, row, rows, sums, j * LANES);
                        }
                    }
                    int width = type == DType.BF16 ? PAIRS : LANES;
                    for (int i = 0; i < rows; i++) {
                        FewRows.fold(columns, sums, i * FewRows.BLOCK * LANES, y, (long) (row + i) * n + column);
                        if (k % width != 0 || bias != null || scale != null) {
                            finish(column, columns, row + i, k / width * width, width);
                        }
                    }
                }
            }
        }

        private void bf16(long at, int row, int rows, float[] triples, float[] sums, int to) {
            if (rows == ROWS) {
                bf16Tile3(w, at, triples, row * k, k, sums, to);
            } else {
                for (int i = 0; i < rows; i++) {
                    int own = to + i * FewRows.BLOCK * LANES;
                    bf16Tile1(w, at, x, (long) (row + i) * k, k, sums, own);
                    bf16Tile1(w, at + 2 * PAIRS, x, (long) (row + i) * k, k, sums, own + 2 * LANES);
                }
            }
        }

        private void int8(long at, int row, int rows, float[] sums, int to) {
            if (rows == ROWS) {
                int8Tile3(w, at, x, (long) row * k, k, sums, to);
            } else {
                for (int i = 0; i < rows; i++) {
                    int8Tile1(w, at, x, (long) (row + i) * k, k, sums, to + i * FewRows.BLOCK * LANES);
                }
            }
        }

        /** The last k - done terms, scale and bias. */
        private void finish(int column, int columns, int row, int done, int width) {
            for (int j = column; j < column + columns; j++) {
                long to = ((long) row * n + j) * 4;
                float sum = y.get(FLOAT, to);
                for (int d = done; d < k; d++) {
                    sum = Math.fma(weight(place(j, d, k, width)), x.get(FLOAT, ((long) row * k + d) * 4), sum);
                }
                if (scale != null) {
                    sum *= scale.get(FLOAT, 4L * j);
                }
                y.set(FLOAT, to, bias == null ? sum : sum + bias.get(FLOAT, 4L * j));
            }
        }

        private float weight(long at) {
            return switch (type) {
                case BF16 -> Float.intBitsToFloat(w.get(SHORT, 2 * at) << 16);
                default -> w.get(ValueLayout.JAVA_BYTE, at);
            };
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

    private static FloatVector fewBytes(MemorySegment w, long at) {
        FloatVector v = FloatVector.zero(F);
        for (int i = 0; i < LANES; i++) {
            v = v.withLane(i, w.get(ValueLayout.JAVA_BYTE, at + i));
        }
        return v;
    }

    private static FloatVector bytes(MemorySegment w, long at) {
        if (LANES < 8) {
            return fewBytes(w, at);
        }
        return (FloatVector) ByteVector.fromMemorySegment(BYTES, w, at, ByteOrder.LITTLE_ENDIAN)
                .castShape(F, 0);
    }

    /** Three rows of x as {@link #bf16Tile3} reads them: of each group of 2 LANES elements the first halves of the rows, then the second. */
    private static void triple(MemorySegment x, long xAt, int k, float[] out, int to) {
        int at = to;
        for (int d = 0; d <= k - PAIRS; d += PAIRS) {
            for (long row = xAt + d; row < xAt + d + 3L * k; row += k) {
                load(x, row).intoArray(out, at);
                load(x, row + LANES).intoArray(out, at + 3 * LANES);
                at += LANES;
            }
            at += 3 * LANES;
        }
    }

    private static void bf16Tile3(MemorySegment w, long wAt, float[] x, int xAt, int k, float[] sums, int at) {
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
        long next = 2 * wAt;
        int from = xAt;
        for (int d = 0; d <= k - PAIRS; d += PAIRS) {
            FloatVector p0 = FloatVector.fromArray(F, x, from);
            FloatVector p1 = FloatVector.fromArray(F, x, from + LANES);
            FloatVector p2 = FloatVector.fromArray(F, x, from + 2 * LANES);
            FloatVector q0 = FloatVector.fromArray(F, x, from + 3 * LANES);
            FloatVector q1 = FloatVector.fromArray(F, x, from + 4 * LANES);
            FloatVector q2 = FloatVector.fromArray(F, x, from + 5 * LANES);
            from += 3 * PAIRS;
            IntVector pair = IntVector.fromMemorySegment(I, w, next, LE);
            FloatVector v = pair.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
            s00 = v.fma(p0, s00);
            s10 = v.fma(p1, s10);
            s20 = v.fma(p2, s20);
            v = pair.and(HIGH_HALF).reinterpretAsFloats();
            s00 = v.fma(q0, s00);
            s10 = v.fma(q1, s10);
            s20 = v.fma(q2, s20);
            pair = IntVector.fromMemorySegment(I, w, next + VECTOR, LE);
            v = pair.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
            s01 = v.fma(p0, s01);
            s11 = v.fma(p1, s11);
            s21 = v.fma(p2, s21);
            v = pair.and(HIGH_HALF).reinterpretAsFloats();
            s01 = v.fma(q0, s01);
            s11 = v.fma(q1, s11);
            s21 = v.fma(q2, s21);
            pair = IntVector.fromMemorySegment(I, w, next + 2 * VECTOR, LE);
            v = pair.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
            s02 = v.fma(p0, s02);
            s12 = v.fma(p1, s12);
            s22 = v.fma(p2, s22);
            v = pair.and(HIGH_HALF).reinterpretAsFloats();
            s02 = v.fma(q0, s02);
            s12 = v.fma(q1, s12);
            s22 = v.fma(q2, s22);
            pair = IntVector.fromMemorySegment(I, w, next + 3 * VECTOR, LE);
            v = pair.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
            s03 = v.fma(p0, s03);
            s13 = v.fma(p1, s13);
            s23 = v.fma(p2, s23);
            v = pair.and(HIGH_HALF).reinterpretAsFloats();
            s03 = v.fma(q0, s03);
            s13 = v.fma(q1, s13);
            s23 = v.fma(q2, s23);
            next += 4 * VECTOR;
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

    /** Two of the four rows of a tile: more does not compile into registers. */
    private static void bf16Tile1(MemorySegment w, long wAt, MemorySegment x, long xAt, int k, float[] sums, int at) {
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = FloatVector.zero(F);
        long next = wAt;
        for (int d = 0; d <= k - PAIRS; d += PAIRS) {
            IntVector a = pairs(w, next);
            IntVector b = pairs(w, next + PAIRS);
            next += 4 * PAIRS;
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

    private static void int8Tile3(MemorySegment w, long wAt, MemorySegment x, long xAt, int k, float[] sums, int at) {
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
        long next = wAt;
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector p1 = load(x, x1 + d);
            FloatVector p2 = load(x, x2 + d);
            FloatVector v = bytes(w, next);
            s00 = v.fma(p0, s00);
            s10 = v.fma(p1, s10);
            s20 = v.fma(p2, s20);
            v = bytes(w, next + LANES);
            s01 = v.fma(p0, s01);
            s11 = v.fma(p1, s11);
            s21 = v.fma(p2, s21);
            v = bytes(w, next + 2 * LANES);
            s02 = v.fma(p0, s02);
            s12 = v.fma(p1, s12);
            s22 = v.fma(p2, s22);
            v = bytes(w, next + 3 * LANES);
            s03 = v.fma(p0, s03);
            s13 = v.fma(p1, s13);
            s23 = v.fma(p2, s23);
            next += 4 * LANES;
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

    private static void int8Tile1(MemorySegment w, long wAt, MemorySegment x, long xAt, int k, float[] sums, int at) {
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = FloatVector.zero(F);
        FloatVector s02 = FloatVector.zero(F);
        FloatVector s03 = FloatVector.zero(F);
        long next = wAt;
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector v = bytes(w, next);
            s00 = v.fma(p0, s00);
            v = bytes(w, next + LANES);
            s01 = v.fma(p0, s01);
            v = bytes(w, next + 2 * LANES);
            s02 = v.fma(p0, s02);
            v = bytes(w, next + 3 * LANES);
            s03 = v.fma(p0, s03);
            next += 4 * LANES;
        }
        s00.intoArray(sums, at);
        s01.intoArray(sums, at + LANES);
        s02.intoArray(sums, at + 2 * LANES);
        s03.intoArray(sums, at + 3 * LANES);
    }
}
