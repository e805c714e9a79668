package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;

/**
 * y = x w^T + bias for few rows of x, as dot products over the unpacked weights: each block of {@link #BLOCK} weight rows is read from
 * memory once and meets every row of x. Allocates nothing.
 */
final class FewRows {
    /** Weight rows of one unit of work. */
    static final int BLOCK = 8;

    /** Most rows of x that a register tile holds. */
    private static final int GROUP = 6;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    private FewRows() {}

    /** One product y (m, n) = x (m, k) w^T + bias, all dense; {@link #run} does blocks of {@link #BLOCK} weight rows. */
    static final class Product implements Workers.Range {
        int m;
        int n;
        int k;
        MemorySegment x;
        MemorySegment w;
        MemorySegment bias;
        MemorySegment y;

        @Override
        public void run(int from, int to) {
            multiply(m, n, k, x, 0, k, w, 0, bias, 0, y, 0, n, from, to);
        }
    }

    /**
     * Blocks {@code from} to {@code to} of the n columns of y (m, n). Rows of x and y are {@code ldx} and {@code ldy} floats apart and begin
     * at elements {@code xAt} and {@code yAt}; w (n, k) is dense from {@code wAt} on, bias (or null) from {@code biasAt}.
     */
    static void multiply(
            int m,
            int n,
            int k,
            MemorySegment x,
            long xAt,
            long ldx,
            MemorySegment w,
            long wAt,
            MemorySegment bias,
            long biasAt,
            MemorySegment y,
            long yAt,
            long ldy,
            int from,
            int to) {
        float[] sums = Staging.own().tile;
        int groups = (m + GROUP - 1) / GROUP;
        long bytes = 4L * BLOCK * k;
        long end = 4 * (wAt + (long) Math.min(n, to * BLOCK) * k);
        long read = ReadAhead.begin(4L * n * k, 4 * wAt + from * bytes, end);
        for (int block = from; block < to; block++) {
            int column = block * BLOCK;
            int columns = Math.min(BLOCK, n - column);
            read = ReadAhead.next(w, 4 * wAt + block * bytes, read, end, bytes);
            int row = 0;
            for (int g = 0; g < groups; g++) {
                int rows = (m - row + groups - g - 1) / (groups - g);
                long rowAt = xAt + row * ldx;
                long weightAt = wAt + (long) column * k;
                long into = yAt + row * ldy + column;
                dots(rows, w, weightAt, columns, x, rowAt, ldx, k, sums);
                finish(rows, columns, w, weightAt, x, rowAt, ldx, k, sums, bias, biasAt + column, y, into, ldy);
                row += rows;
            }
        }
    }

    /** Lane-wise sums of {@code rows} rows of x with {@link #BLOCK} rows of w, without the last k % LANES terms. */
    private static void dots(
            int rows,
            MemorySegment w,
            long wAt,
            int columns,
            MemorySegment x,
            long xAt,
            long ldx,
            int k,
            float[] sums) {
        if (k < LANES) { // a loop that never runs would leave the compiler with vectors it takes for objects
            Arrays.fill(sums, 0, rows * BLOCK * LANES, 0f);
            return;
        }
        for (int j = 0; j < columns; j += 4) {
            int last = Math.min(4, columns - j) - 1;
            long at = wAt + (long) j * k;
            switch (rows) {
                case 1 -> dot4x1(w, at, last, x, xAt, ldx, k, sums, j * LANES);
                case 2 -> dot4x2(w, at, last, x, xAt, ldx, k, sums, j * LANES);
                case 3 -> dot4x3(w, at, last, x, xAt, ldx, k, sums, j * LANES);
                case 4 -> dot4x4(w, at, last, x, xAt, ldx, k, sums, j * LANES);
                case 5 -> dot4x5(w, at, last, x, xAt, ldx, k, sums, j * LANES);
                default -> dot4x6(w, at, last, x, xAt, ldx, k, sums, j * LANES);
            }
        }
    }

    private static void finish(
            int rows,
            int columns,
            MemorySegment w,
            long wAt,
            MemorySegment x,
            long xAt,
            long ldx,
            int k,
            float[] sums,
            MemorySegment bias,
            long biasAt,
            MemorySegment y,
            long yAt,
            long ldy) {
        int tail = k % LANES;
        for (int i = 0; i < rows; i++) {
            if (tail != 0) {
                addTails(columns, w, wAt, x, xAt + i * ldx, k, tail, sums, i * BLOCK * LANES);
            }
            fold(columns, sums, i * BLOCK * LANES, y, yAt + i * ldy);
            if (bias != null) {
                addBias(columns, bias, biasAt, y, yAt + i * ldy);
            }
        }
    }

    /** The sums of {@code columns} (up to {@link #BLOCK}) vectors of lanes from {@code at} on, to y from element {@code yAt} on. */
    static void fold(int columns, float[] sums, int at, MemorySegment y, long yAt) {
        if (LANES == 16 && columns == BLOCK) {
            sumEight(sums, at, y, yAt);
        } else {
            for (int j = 0; j < columns; j++) {
                y.set(FLOAT, (yAt + j) * 4, VectorMath.foldLanes(sums, at + j * LANES));
            }
        }
    }

    /** The last {@code tail} terms of a row of x with each weight row, into the lane sums. Whole in one method: what is handed on would be boxed. */
    private static void addTails(
            int columns, MemorySegment w, long wAt, MemorySegment x, long xAt, int k, int tail, float[] sums, int at) {
        VectorMask<Float> rest = VectorMath.first(tail);
        FloatVector last = FloatVector.fromMemorySegment(F, x, 4 * (xAt + k - tail), LE, rest);
        for (int j = 0; j < columns; j++) {
            FloatVector weights = FloatVector.fromMemorySegment(F, w, 4 * (wAt + (long) (j + 1) * k - tail), LE, rest);
            weights.fma(last, FloatVector.fromArray(F, sums, at + j * LANES)).intoArray(sums, at + j * LANES);
        }
    }

    private static void addBias(int columns, MemorySegment bias, long biasAt, MemorySegment y, long yAt) {
        for (int j = 0; j < columns; j++) {
            y.set(FLOAT, (yAt + j) * 4, y.get(FLOAT, (yAt + j) * 4) + bias.get(FLOAT, (biasAt + j) * 4));
        }
    }

    /** y (m, n) = x (m) w (n)^T + bias (or null): weights of one column. */
    static void outer(int m, int n, MemorySegment x, MemorySegment w, MemorySegment bias, MemorySegment y) {
        for (int i = 0; i < m; i++) {
            FloatVector v = FloatVector.broadcast(F, x.get(FLOAT, 4L * i));
            int j = 0;
            for (; j <= n - LANES; j += LANES) {
                FloatVector start = bias == null ? VectorMath.ZERO : load(bias, j);
                store(load(w, j).fma(v, start), y, (long) i * n + j);
            }
            for (; j < n; j++) {
                float start = bias == null ? 0 : bias.get(FLOAT, 4L * j);
                y.set(FLOAT, 4 * ((long) i * n + j), Math.fma(w.get(FLOAT, 4L * j), x.get(FLOAT, 4L * i), start));
            }
        }
    }

    private static final VectorMask<Float> FIRST_EIGHT = F.indexInRange(0, 8);
    private static final VectorMask<Float> HIGH_8 = lanesWith(8);
    private static final VectorMask<Float> HIGH_4 = lanesWith(4);
    private static final VectorMask<Float> HIGH_2 = lanesWith(2);
    private static final VectorShuffle<Float> SWAP_8 = swap(8);
    private static final VectorShuffle<Float> SWAP_4 = swap(4);
    private static final VectorShuffle<Float> SWAP_2 = swap(2);
    private static final VectorShuffle<Float> SWAP_1 = swap(1);
    private static final VectorShuffle<Float> EVEN = VectorShuffle.fromOp(F, i -> 2 * i % LANES);

    private static VectorMask<Float> lanesWith(int bit) {
        boolean[] set = new boolean[LANES];
        for (int i = 0; i < LANES; i++) {
            set[i] = (i & bit) != 0;
        }
        return VectorMask.fromArray(F, set, 0);
    }

    private static VectorShuffle<Float> swap(int bit) {
        return VectorShuffle.fromOp(F, i -> (i ^ bit) % LANES);
    }

    /**
     * The sums of the lanes of eight 16-lane vectors, in the order of additions of {@link VectorMath#sum}, to y. Spelled out: a call that
     * the compiler has seen seldom it does not inline, and a helper for two vectors would box them ever after.
     */
    private static void sumEight(float[] t, int at, MemorySegment y, long yAt) {
        // Halves summed: one in the low eight lanes, the other in the high ones; then quarters, pairs and single lanes.
        FloatVector a = FloatVector.fromArray(F, t, at);
        FloatVector b = FloatVector.fromArray(F, t, at + 4 * LANES);
        FloatVector v04 = a.blend(b, HIGH_8).add(b.blend(a, HIGH_8).rearrange(SWAP_8));
        a = FloatVector.fromArray(F, t, at + 2 * LANES);
        b = FloatVector.fromArray(F, t, at + 6 * LANES);
        FloatVector v26 = a.blend(b, HIGH_8).add(b.blend(a, HIGH_8).rearrange(SWAP_8));
        FloatVector even = v04.blend(v26, HIGH_4).add(v26.blend(v04, HIGH_4).rearrange(SWAP_4));
        a = FloatVector.fromArray(F, t, at + LANES);
        b = FloatVector.fromArray(F, t, at + 5 * LANES);
        FloatVector v15 = a.blend(b, HIGH_8).add(b.blend(a, HIGH_8).rearrange(SWAP_8));
        a = FloatVector.fromArray(F, t, at + 3 * LANES);
        b = FloatVector.fromArray(F, t, at + 7 * LANES);
        FloatVector v37 = a.blend(b, HIGH_8).add(b.blend(a, HIGH_8).rearrange(SWAP_8));
        FloatVector odd = v15.blend(v37, HIGH_4).add(v37.blend(v15, HIGH_4).rearrange(SWAP_4));
        FloatVector all = even.blend(odd, HIGH_2).add(odd.blend(even, HIGH_2).rearrange(SWAP_2));
        all.add(all.rearrange(SWAP_1)).rearrange(EVEN).intoMemorySegment(y, 4 * yAt, LE, FIRST_EIGHT);
    }

    private static void dot4x1(
            MemorySegment w, long wAt, int last, MemorySegment x, long xAt, long ldx, int k, float[] sums, int at) {
        long w0 = wAt;
        long w1 = wAt + (long) Math.min(1, last) * k;
        long w2 = wAt + (long) Math.min(2, last) * k;
        long w3 = wAt + (long) Math.min(3, last) * k;
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = FloatVector.zero(F);
        FloatVector s02 = FloatVector.zero(F);
        FloatVector s03 = FloatVector.zero(F);
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector q = load(w, w0 + d);
            s00 = q.fma(p0, s00);
            q = load(w, w1 + d);
            s01 = q.fma(p0, s01);
            q = load(w, w2 + d);
            s02 = q.fma(p0, s02);
            q = load(w, w3 + d);
            s03 = q.fma(p0, s03);
        }
        s00.intoArray(sums, at);
        s01.intoArray(sums, at + LANES);
        s02.intoArray(sums, at + 2 * LANES);
        s03.intoArray(sums, at + 3 * LANES);
    }

    private static void dot4x2(
            MemorySegment w, long wAt, int last, MemorySegment x, long xAt, long ldx, int k, float[] sums, int at) {
        long w0 = wAt;
        long w1 = wAt + (long) Math.min(1, last) * k;
        long w2 = wAt + (long) Math.min(2, last) * k;
        long w3 = wAt + (long) Math.min(3, last) * k;
        long x1 = xAt + ldx;
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = FloatVector.zero(F);
        FloatVector s02 = FloatVector.zero(F);
        FloatVector s03 = FloatVector.zero(F);
        FloatVector s10 = FloatVector.zero(F);
        FloatVector s11 = FloatVector.zero(F);
        FloatVector s12 = FloatVector.zero(F);
        FloatVector s13 = FloatVector.zero(F);
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector p1 = load(x, x1 + d);
            FloatVector q = load(w, w0 + d);
            s00 = q.fma(p0, s00);
            s10 = q.fma(p1, s10);
            q = load(w, w1 + d);
            s01 = q.fma(p0, s01);
            s11 = q.fma(p1, s11);
            q = load(w, w2 + d);
            s02 = q.fma(p0, s02);
            s12 = q.fma(p1, s12);
            q = load(w, w3 + d);
            s03 = q.fma(p0, s03);
            s13 = q.fma(p1, s13);
        }
        s00.intoArray(sums, at);
        s01.intoArray(sums, at + LANES);
        s02.intoArray(sums, at + 2 * LANES);
        s03.intoArray(sums, at + 3 * LANES);
        s10.intoArray(sums, at + 8 * LANES);
        s11.intoArray(sums, at + 9 * LANES);
        s12.intoArray(sums, at + 10 * LANES);
        s13.intoArray(sums, at + 11 * LANES);
    }

    private static void dot4x3(
            MemorySegment w, long wAt, int last, MemorySegment x, long xAt, long ldx, int k, float[] sums, int at) {
        long w0 = wAt;
        long w1 = wAt + (long) Math.min(1, last) * k;
        long w2 = wAt + (long) Math.min(2, last) * k;
        long w3 = wAt + (long) Math.min(3, last) * k;
        long x1 = xAt + ldx;
        long x2 = xAt + 2 * ldx;
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
            FloatVector q = load(w, w0 + d);
            s00 = q.fma(p0, s00);
            s10 = q.fma(p1, s10);
            s20 = q.fma(p2, s20);
            q = load(w, w1 + d);
            s01 = q.fma(p0, s01);
            s11 = q.fma(p1, s11);
            s21 = q.fma(p2, s21);
            q = load(w, w2 + d);
            s02 = q.fma(p0, s02);
            s12 = q.fma(p1, s12);
            s22 = q.fma(p2, s22);
            q = load(w, w3 + d);
            s03 = q.fma(p0, s03);
            s13 = q.fma(p1, s13);
            s23 = q.fma(p2, s23);
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

    private static void dot4x4(
            MemorySegment w, long wAt, int last, MemorySegment x, long xAt, long ldx, int k, float[] sums, int at) {
        long w0 = wAt;
        long w1 = wAt + (long) Math.min(1, last) * k;
        long w2 = wAt + (long) Math.min(2, last) * k;
        long w3 = wAt + (long) Math.min(3, last) * k;
        long x1 = xAt + ldx;
        long x2 = xAt + 2 * ldx;
        long x3 = xAt + 3 * ldx;
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
        FloatVector s30 = FloatVector.zero(F);
        FloatVector s31 = FloatVector.zero(F);
        FloatVector s32 = FloatVector.zero(F);
        FloatVector s33 = FloatVector.zero(F);
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector p1 = load(x, x1 + d);
            FloatVector p2 = load(x, x2 + d);
            FloatVector p3 = load(x, x3 + d);
            FloatVector q = load(w, w0 + d);
            s00 = q.fma(p0, s00);
            s10 = q.fma(p1, s10);
            s20 = q.fma(p2, s20);
            s30 = q.fma(p3, s30);
            q = load(w, w1 + d);
            s01 = q.fma(p0, s01);
            s11 = q.fma(p1, s11);
            s21 = q.fma(p2, s21);
            s31 = q.fma(p3, s31);
            q = load(w, w2 + d);
            s02 = q.fma(p0, s02);
            s12 = q.fma(p1, s12);
            s22 = q.fma(p2, s22);
            s32 = q.fma(p3, s32);
            q = load(w, w3 + d);
            s03 = q.fma(p0, s03);
            s13 = q.fma(p1, s13);
            s23 = q.fma(p2, s23);
            s33 = q.fma(p3, s33);
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
        s30.intoArray(sums, at + 24 * LANES);
        s31.intoArray(sums, at + 25 * LANES);
        s32.intoArray(sums, at + 26 * LANES);
        s33.intoArray(sums, at + 27 * LANES);
    }

    private static void dot4x5(
            MemorySegment w, long wAt, int last, MemorySegment x, long xAt, long ldx, int k, float[] sums, int at) {
        long w0 = wAt;
        long w1 = wAt + (long) Math.min(1, last) * k;
        long w2 = wAt + (long) Math.min(2, last) * k;
        long w3 = wAt + (long) Math.min(3, last) * k;
        long x1 = xAt + ldx;
        long x2 = xAt + 2 * ldx;
        long x3 = xAt + 3 * ldx;
        long x4 = xAt + 4 * ldx;
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
        FloatVector s30 = FloatVector.zero(F);
        FloatVector s31 = FloatVector.zero(F);
        FloatVector s32 = FloatVector.zero(F);
        FloatVector s33 = FloatVector.zero(F);
        FloatVector s40 = FloatVector.zero(F);
        FloatVector s41 = FloatVector.zero(F);
        FloatVector s42 = FloatVector.zero(F);
        FloatVector s43 = FloatVector.zero(F);
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector p1 = load(x, x1 + d);
            FloatVector p2 = load(x, x2 + d);
            FloatVector p3 = load(x, x3 + d);
            FloatVector p4 = load(x, x4 + d);
            FloatVector q = load(w, w0 + d);
            s00 = q.fma(p0, s00);
            s10 = q.fma(p1, s10);
            s20 = q.fma(p2, s20);
            s30 = q.fma(p3, s30);
            s40 = q.fma(p4, s40);
            q = load(w, w1 + d);
            s01 = q.fma(p0, s01);
            s11 = q.fma(p1, s11);
            s21 = q.fma(p2, s21);
            s31 = q.fma(p3, s31);
            s41 = q.fma(p4, s41);
            q = load(w, w2 + d);
            s02 = q.fma(p0, s02);
            s12 = q.fma(p1, s12);
            s22 = q.fma(p2, s22);
            s32 = q.fma(p3, s32);
            s42 = q.fma(p4, s42);
            q = load(w, w3 + d);
            s03 = q.fma(p0, s03);
            s13 = q.fma(p1, s13);
            s23 = q.fma(p2, s23);
            s33 = q.fma(p3, s33);
            s43 = q.fma(p4, s43);
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
        s30.intoArray(sums, at + 24 * LANES);
        s31.intoArray(sums, at + 25 * LANES);
        s32.intoArray(sums, at + 26 * LANES);
        s33.intoArray(sums, at + 27 * LANES);
        s40.intoArray(sums, at + 32 * LANES);
        s41.intoArray(sums, at + 33 * LANES);
        s42.intoArray(sums, at + 34 * LANES);
        s43.intoArray(sums, at + 35 * LANES);
    }

    private static void dot4x6(
            MemorySegment w, long wAt, int last, MemorySegment x, long xAt, long ldx, int k, float[] sums, int at) {
        long w0 = wAt;
        long w1 = wAt + (long) Math.min(1, last) * k;
        long w2 = wAt + (long) Math.min(2, last) * k;
        long w3 = wAt + (long) Math.min(3, last) * k;
        long x1 = xAt + ldx;
        long x2 = xAt + 2 * ldx;
        long x3 = xAt + 3 * ldx;
        long x4 = xAt + 4 * ldx;
        long x5 = xAt + 5 * ldx;
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
        FloatVector s30 = FloatVector.zero(F);
        FloatVector s31 = FloatVector.zero(F);
        FloatVector s32 = FloatVector.zero(F);
        FloatVector s33 = FloatVector.zero(F);
        FloatVector s40 = FloatVector.zero(F);
        FloatVector s41 = FloatVector.zero(F);
        FloatVector s42 = FloatVector.zero(F);
        FloatVector s43 = FloatVector.zero(F);
        FloatVector s50 = FloatVector.zero(F);
        FloatVector s51 = FloatVector.zero(F);
        FloatVector s52 = FloatVector.zero(F);
        FloatVector s53 = FloatVector.zero(F);
        for (int d = 0; d <= k - LANES; d += LANES) {
            FloatVector p0 = load(x, xAt + d);
            FloatVector p1 = load(x, x1 + d);
            FloatVector p2 = load(x, x2 + d);
            FloatVector p3 = load(x, x3 + d);
            FloatVector p4 = load(x, x4 + d);
            FloatVector p5 = load(x, x5 + d);
            FloatVector q = load(w, w0 + d);
            s00 = q.fma(p0, s00);
            s10 = q.fma(p1, s10);
            s20 = q.fma(p2, s20);
            s30 = q.fma(p3, s30);
            s40 = q.fma(p4, s40);
            s50 = q.fma(p5, s50);
            q = load(w, w1 + d);
            s01 = q.fma(p0, s01);
            s11 = q.fma(p1, s11);
            s21 = q.fma(p2, s21);
            s31 = q.fma(p3, s31);
            s41 = q.fma(p4, s41);
            s51 = q.fma(p5, s51);
            q = load(w, w2 + d);
            s02 = q.fma(p0, s02);
            s12 = q.fma(p1, s12);
            s22 = q.fma(p2, s22);
            s32 = q.fma(p3, s32);
            s42 = q.fma(p4, s42);
            s52 = q.fma(p5, s52);
            q = load(w, w3 + d);
            s03 = q.fma(p0, s03);
            s13 = q.fma(p1, s13);
            s23 = q.fma(p2, s23);
            s33 = q.fma(p3, s33);
            s43 = q.fma(p4, s43);
            s53 = q.fma(p5, s53);
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
        s30.intoArray(sums, at + 24 * LANES);
        s31.intoArray(sums, at + 25 * LANES);
        s32.intoArray(sums, at + 26 * LANES);
        s33.intoArray(sums, at + 27 * LANES);
        s40.intoArray(sums, at + 32 * LANES);
        s41.intoArray(sums, at + 33 * LANES);
        s42.intoArray(sums, at + 34 * LANES);
        s43.intoArray(sums, at + 35 * LANES);
        s50.intoArray(sums, at + 40 * LANES);
        s51.intoArray(sums, at + 41 * LANES);
        s52.intoArray(sums, at + 42 * LANES);
        s53.intoArray(sums, at + 43 * LANES);
    }
}
