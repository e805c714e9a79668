package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.I;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.DType;
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
 * {@link FewRows} over packed weights, three rows of x at a time: the tokens of one control step. Allocates nothing.
 *
 * <p>A lane is a weight row: {@link #TILE} rows lie together, column after column, so that a product reads its weights as one stream, every element of x
 * meets a whole vector, and no sum goes across lanes. In bf16 two columns share a vector of ints, the even one in the low halves.
 */
final class PackedRows {
    /** Rows of x that share one reading of a weight. */
    private static final int ROWS = 3;

    /** Weight rows of a tile: four vectors of sums for each row of x. */
    static final int TILE = 4 * LANES;

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

    /** Where column d of row j of weights with k columns lies, in elements. */
    static long place(int j, int d, int k) {
        return (long) (j / TILE) * TILE * k + (long) d * TILE + j % TILE;
    }

    /** The same for bf16, where columns come in pairs; the last of an odd number comes alone. */
    static long placeBf16(int j, int d, int k) {
        if (d == k - 1 && k % 2 == 1) {
            return place(j, d, k);
        }
        int row = j % TILE;
        return place(j - row, d - d % 2, k) + row / LANES * 2 * LANES + row % LANES * 2 + d % 2;
    }

    /** The nearest bf16, ties to even. */
    static short bf16(float x) {
        int bits = Float.floatToRawIntBits(x);
        return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }

    /** One product: y (m, n) = x (m, k) w^T + bias; {@link #run} does tiles of {@link #TILE} weight rows. */
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

        int tiles() {
            return (n + TILE - 1) / TILE;
        }

        @Override
        public void run(int from, int to) {
            multiply(x, from, to);
        }

        /** Tiles {@code from} to {@code to} for rows x that lie as {@link #x} does. */
        void multiply(MemorySegment x, int from, int to) {
            Staging staging = Staging.own();
            float[] sums = staging.tile;
            float[] rows = staging.packedA(m * k);
            MemorySegment.copy(x, FLOAT, 0, rows, 0, m * k);
            long bytes = (long) TILE * k * type.bytes();
            long read = ReadAhead.begin(w.byteSize(), from * bytes, to * bytes);
            for (int tile = from; tile < to; tile++) {
                long at = tile * bytes;
                read = ReadAhead.next(w, at, read, to * bytes, bytes);
                int row = 0;
                for (; row <= m - ROWS; row += ROWS) {
                    three(at, rows, row * k, sums);
                    for (int i = 0; i < ROWS; i++) {
                        finish(tile, row + i, rows, sums, i * TILE);
                    }
                }
                for (; row < m; row++) {
                    one(at, rows, row * k, sums);
                    finish(tile, row, rows, sums, 0);
                }
            }
        }

        private void three(long at, float[] rows, int row, float[] sums) {
            switch (type) {
                case BF16 -> bf16Three(w, at, rows, row, k, sums);
                case I8 -> int8Three(w, at, rows, row, k, sums);
                default -> fp32Three(w, at, rows, row, k, sums);
            }
        }

        private void one(long at, float[] rows, int row, float[] sums) {
            switch (type) {
                case BF16 -> bf16One(w, at, rows, row, k, sums);
                case I8 -> int8One(w, at, rows, row, k, sums);
                default -> fp32One(w, at, rows, row, k, sums);
            }
        }

        /** The last column of an odd number in bf16, scale, bias; and out. */
        private void finish(int tile, int row, float[] rows, float[] sums, int at) {
            if (type == DType.BF16 && k % 2 == 1) {
                long last = 2 * place(tile * TILE, k - 1, k);
                float x = rows[row * k + k - 1];
                for (int j = 0; j < TILE; j++) {
                    float v = Float.intBitsToFloat(w.get(SHORT, last + 2L * j) << 16);
                    sums[at + j] = Math.fma(v, x, sums[at + j]);
                }
            }
            int first = tile * TILE;
            for (int j = 0; j < TILE && first + j < n; j += LANES) {
                if (first + j + LANES <= n) {
                    whole(row, first + j, sums, at + j);
                } else {
                    part(row, first + j, sums, at + j);
                }
            }
        }

        private void whole(int row, int column, float[] sums, int at) {
            FloatVector v = FloatVector.fromArray(F, sums, at);
            if (scale != null) {
                v = v.mul(FloatVector.fromMemorySegment(F, scale, 4L * column, LE));
            }
            if (bias != null) {
                v = v.add(FloatVector.fromMemorySegment(F, bias, 4L * column, LE));
            }
            v.intoMemorySegment(y, 4 * ((long) row * n + column), LE);
        }

        /** Without vectors: a step comes here once, and the compiler would box them for the thousands of steps until it counts as hot. */
        private void part(int row, int column, float[] sums, int at) {
            for (int j = column; j < n; j++) {
                float v = sums[at + j - column];
                if (scale != null) {
                    v *= scale.get(FLOAT, 4L * j);
                }
                if (bias != null) {
                    v += bias.get(FLOAT, 4L * j);
                }
                y.set(FLOAT, 4 * ((long) row * n + j), v);
            }
        }
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
        return (FloatVector) ByteVector.fromMemorySegment(BYTES, w, at, LE).castShape(F, 0);
    }

    // Vector calls are spelled out: with helpers the compiler stops inlining half-way and boxes every vector.

    private static void bf16Three(MemorySegment w, long at, float[] x, int xAt, int k, float[] sums) {
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
        long next = at;
        for (int d = xAt; d < xAt + k - 1; d += 2) {
            FloatVector p0 = FloatVector.broadcast(F, x[d]);
            FloatVector p1 = FloatVector.broadcast(F, x[d + k]);
            FloatVector p2 = FloatVector.broadcast(F, x[d + 2 * k]);
            FloatVector q0 = FloatVector.broadcast(F, x[d + 1]);
            FloatVector q1 = FloatVector.broadcast(F, x[d + k + 1]);
            FloatVector q2 = FloatVector.broadcast(F, x[d + 2 * k + 1]);
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
        s00.intoArray(sums, 0);
        s01.intoArray(sums, LANES);
        s02.intoArray(sums, 2 * LANES);
        s03.intoArray(sums, 3 * LANES);
        s10.intoArray(sums, 4 * LANES);
        s11.intoArray(sums, 5 * LANES);
        s12.intoArray(sums, 6 * LANES);
        s13.intoArray(sums, 7 * LANES);
        s20.intoArray(sums, 8 * LANES);
        s21.intoArray(sums, 9 * LANES);
        s22.intoArray(sums, 10 * LANES);
        s23.intoArray(sums, 11 * LANES);
    }

    private static void bf16One(MemorySegment w, long at, float[] x, int xAt, int k, float[] sums) {
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector s2 = FloatVector.zero(F);
        FloatVector s3 = FloatVector.zero(F);
        long next = at;
        for (int d = xAt; d < xAt + k - 1; d += 2) {
            FloatVector p = FloatVector.broadcast(F, x[d]);
            FloatVector q = FloatVector.broadcast(F, x[d + 1]);
            IntVector pair = IntVector.fromMemorySegment(I, w, next, LE);
            s0 = pair.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats().fma(p, s0);
            s0 = pair.and(HIGH_HALF).reinterpretAsFloats().fma(q, s0);
            pair = IntVector.fromMemorySegment(I, w, next + VECTOR, LE);
            s1 = pair.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats().fma(p, s1);
            s1 = pair.and(HIGH_HALF).reinterpretAsFloats().fma(q, s1);
            pair = IntVector.fromMemorySegment(I, w, next + 2 * VECTOR, LE);
            s2 = pair.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats().fma(p, s2);
            s2 = pair.and(HIGH_HALF).reinterpretAsFloats().fma(q, s2);
            pair = IntVector.fromMemorySegment(I, w, next + 3 * VECTOR, LE);
            s3 = pair.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats().fma(p, s3);
            s3 = pair.and(HIGH_HALF).reinterpretAsFloats().fma(q, s3);
            next += 4 * VECTOR;
        }
        s0.intoArray(sums, 0);
        s1.intoArray(sums, LANES);
        s2.intoArray(sums, 2 * LANES);
        s3.intoArray(sums, 3 * LANES);
    }

    private static void fp32Three(MemorySegment w, long at, float[] x, int xAt, int k, float[] sums) {
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
        long next = at;
        for (int d = xAt; d < xAt + k; d++) {
            FloatVector p0 = FloatVector.broadcast(F, x[d]);
            FloatVector p1 = FloatVector.broadcast(F, x[d + k]);
            FloatVector p2 = FloatVector.broadcast(F, x[d + 2 * k]);
            FloatVector v = FloatVector.fromMemorySegment(F, w, next, LE);
            s00 = v.fma(p0, s00);
            s10 = v.fma(p1, s10);
            s20 = v.fma(p2, s20);
            v = FloatVector.fromMemorySegment(F, w, next + VECTOR, LE);
            s01 = v.fma(p0, s01);
            s11 = v.fma(p1, s11);
            s21 = v.fma(p2, s21);
            v = FloatVector.fromMemorySegment(F, w, next + 2 * VECTOR, LE);
            s02 = v.fma(p0, s02);
            s12 = v.fma(p1, s12);
            s22 = v.fma(p2, s22);
            v = FloatVector.fromMemorySegment(F, w, next + 3 * VECTOR, LE);
            s03 = v.fma(p0, s03);
            s13 = v.fma(p1, s13);
            s23 = v.fma(p2, s23);
            next += 4 * VECTOR;
        }
        s00.intoArray(sums, 0);
        s01.intoArray(sums, LANES);
        s02.intoArray(sums, 2 * LANES);
        s03.intoArray(sums, 3 * LANES);
        s10.intoArray(sums, 4 * LANES);
        s11.intoArray(sums, 5 * LANES);
        s12.intoArray(sums, 6 * LANES);
        s13.intoArray(sums, 7 * LANES);
        s20.intoArray(sums, 8 * LANES);
        s21.intoArray(sums, 9 * LANES);
        s22.intoArray(sums, 10 * LANES);
        s23.intoArray(sums, 11 * LANES);
    }

    private static void fp32One(MemorySegment w, long at, float[] x, int xAt, int k, float[] sums) {
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector s2 = FloatVector.zero(F);
        FloatVector s3 = FloatVector.zero(F);
        long next = at;
        for (int d = xAt; d < xAt + k; d++) {
            FloatVector p = FloatVector.broadcast(F, x[d]);
            s0 = FloatVector.fromMemorySegment(F, w, next, LE).fma(p, s0);
            s1 = FloatVector.fromMemorySegment(F, w, next + VECTOR, LE).fma(p, s1);
            s2 = FloatVector.fromMemorySegment(F, w, next + 2 * VECTOR, LE).fma(p, s2);
            s3 = FloatVector.fromMemorySegment(F, w, next + 3 * VECTOR, LE).fma(p, s3);
            next += 4 * VECTOR;
        }
        s0.intoArray(sums, 0);
        s1.intoArray(sums, LANES);
        s2.intoArray(sums, 2 * LANES);
        s3.intoArray(sums, 3 * LANES);
    }

    private static void int8Three(MemorySegment w, long at, float[] x, int xAt, int k, float[] sums) {
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
        long next = at;
        for (int d = xAt; d < xAt + k; d++) {
            FloatVector p0 = FloatVector.broadcast(F, x[d]);
            FloatVector p1 = FloatVector.broadcast(F, x[d + k]);
            FloatVector p2 = FloatVector.broadcast(F, x[d + 2 * k]);
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
            next += TILE;
        }
        s00.intoArray(sums, 0);
        s01.intoArray(sums, LANES);
        s02.intoArray(sums, 2 * LANES);
        s03.intoArray(sums, 3 * LANES);
        s10.intoArray(sums, 4 * LANES);
        s11.intoArray(sums, 5 * LANES);
        s12.intoArray(sums, 6 * LANES);
        s13.intoArray(sums, 7 * LANES);
        s20.intoArray(sums, 8 * LANES);
        s21.intoArray(sums, 9 * LANES);
        s22.intoArray(sums, 10 * LANES);
        s23.intoArray(sums, 11 * LANES);
    }

    private static void int8One(MemorySegment w, long at, float[] x, int xAt, int k, float[] sums) {
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector s2 = FloatVector.zero(F);
        FloatVector s3 = FloatVector.zero(F);
        long next = at;
        for (int d = xAt; d < xAt + k; d++) {
            FloatVector p = FloatVector.broadcast(F, x[d]);
            s0 = bytes(w, next).fma(p, s0);
            s1 = bytes(w, next + LANES).fma(p, s1);
            s2 = bytes(w, next + 2 * LANES).fma(p, s2);
            s3 = bytes(w, next + 3 * LANES).fma(p, s3);
            next += TILE;
        }
        s0.intoArray(sums, 0);
        s1.intoArray(sums, LANES);
        s2.intoArray(sums, 2 * LANES);
        s3.intoArray(sums, 3 * LANES);
    }
}
