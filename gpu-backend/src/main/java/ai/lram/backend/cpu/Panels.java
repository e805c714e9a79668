package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;

/**
 * Small matrix products over scratch memory in panel layout: a matrix of R rows is cut into column panels of {@link #WIDTH} floats, and
 * element (row, col) lies at float {@code (col / WIDTH * R + row) * WIDTH + col % WIDTH}. Columns are padded with zeros to whole
 * panels, rows to a multiple of {@link #WIDTH}. Every stride inside a kernel is then a constant.
 *
 * <p>Offsets ({@code a}, {@code b}, {@code c}) are in bytes, sizes in elements; {@code aRows} etc. are the rows of the padded matrix.
 */
final class Panels {
    static final int WIDTH = 2 * LANES;

    /** Rows a micro-kernel computes at once. */
    static final int TILE = 8;

    private static final long ROW = 4L * WIDTH;
    private static final long HALF = 4L * LANES;
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private Panels() {}

    /** {@code n} rounded up to whole panels. */
    static int pad(int n) {
        return (n + WIDTH - 1) / WIDTH * WIDTH;
    }

    /** Byte offset of an element. */
    static long at(long base, int rows, int row, int col) {
        return base + (((long) (col / WIDTH) * rows + row) * WIDTH + col % WIDTH) * 4;
    }

    /** Copies {@code rows} rows of {@code cols} floats, {@code stride} bytes apart, into a matrix of {@code dstRows} rows; pads with zeros. */
    static void pack(
            MemorySegment src, long s, long stride, int rows, int cols, float scale, MemorySegment dst, long d, int dstRows) {
        int padded = pad(rows);
        FloatVector zero = FloatVector.zero(F);
        for (int col = 0; col < cols; col += LANES) {
            long out = at(d, dstRows, 0, col);
            if (col + LANES <= cols) {
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, s + r * stride + 4L * col, LE)
                            .mul(scale)
                            .intoMemorySegment(dst, out + r * ROW, LE);
                }
            } else {
                VectorMask<Float> tail = F.indexInRange(col, cols);
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, s + r * stride + 4L * col, LE, tail)
                            .mul(scale)
                            .intoMemorySegment(dst, out + r * ROW, LE);
                }
            }
            for (int r = rows; r < padded; r++) {
                zero.intoMemorySegment(dst, out + r * ROW, LE);
            }
        }
        for (int col = (cols + LANES - 1) / LANES * LANES; col < pad(cols); col += LANES) {
            long out = at(d, dstRows, 0, col);
            for (int r = 0; r < padded; r++) {
                zero.intoMemorySegment(dst, out + r * ROW, LE);
            }
        }
    }

    /** Copies {@code rows} rows of {@code cols} floats out of a matrix of {@code srcRows} rows, times {@code scale}. */
    static void unpack(
            MemorySegment src, long s, int srcRows, int rows, int cols, float scale, MemorySegment dst, long d, long stride) {
        for (int col = 0; col < cols; col += LANES) {
            long in = at(s, srcRows, 0, col);
            if (col + LANES <= cols) {
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, in + r * ROW, LE)
                            .mul(scale)
                            .intoMemorySegment(dst, d + r * stride + 4L * col, LE);
                }
            } else {
                VectorMask<Float> tail = F.indexInRange(col, cols);
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, in + r * ROW, LE)
                            .mul(scale)
                            .intoMemorySegment(dst, d + r * stride + 4L * col, LE, tail);
                }
            }
        }
    }

    /** dst[r,:] = src[r,:] * factor[r] for {@code rows} rows and {@code cols} padded columns; {@code factor} is a plain vector. */
    static void scaleRows(
            MemorySegment src, long s, int srcRows, int rows, int cols, MemorySegment factor, long f, MemorySegment dst, long d, int dstRows) {
        for (int col = 0; col < cols; col += WIDTH) {
            long in = at(s, srcRows, 0, col);
            long out = at(d, dstRows, 0, col);
            for (int r = 0; r < rows; r++) {
                float w = factor.get(FLOAT, f + 4L * r);
                FloatVector.fromMemorySegment(F, src, in + r * ROW, LE).mul(w).intoMemorySegment(dst, out + r * ROW, LE);
                FloatVector.fromMemorySegment(F, src, in + r * ROW + HALF, LE)
                        .mul(w)
                        .intoMemorySegment(dst, out + r * ROW + HALF, LE);
            }
        }
    }

    /** x[r,:] *= factor[r] / (divisor); plain division keeps the last bit. */
    static void divideRows(MemorySegment x, long s, int xRows, int rows, int cols, MemorySegment divisor, long f) {
        for (int col = 0; col < cols; col += WIDTH) {
            long in = at(s, xRows, 0, col);
            for (int r = 0; r < rows; r++) {
                FloatVector w = FloatVector.broadcast(F, divisor.get(FLOAT, f + 4L * r));
                FloatVector.fromMemorySegment(F, x, in + r * ROW, LE).div(w).intoMemorySegment(x, in + r * ROW, LE);
                FloatVector.fromMemorySegment(F, x, in + r * ROW + HALF, LE).div(w).intoMemorySegment(x, in + r * ROW + HALF, LE);
            }
        }
    }

    /** x[r,:] += factor[r] * vec[:] for a plain vector of {@code cols} padded columns. */
    static void addOuter(MemorySegment x, long s, int xRows, int rows, int cols, MemorySegment factor, long f, MemorySegment vec, long v) {
        for (int col = 0; col < cols; col += LANES) {
            long in = at(s, xRows, 0, col);
            FloatVector u = FloatVector.fromMemorySegment(F, vec, v + 4L * col, LE);
            for (int r = 0; r < rows; r++) {
                FloatVector w = FloatVector.broadcast(F, factor.get(FLOAT, f + 4L * r));
                w.fma(u, FloatVector.fromMemorySegment(F, x, in + r * ROW, LE)).intoMemorySegment(x, in + r * ROW, LE);
            }
        }
    }

    /** vec[:] = beta * vec[:] + sum over r of factor[r] * x[r,:]. */
    static void addWeightedRows(
            MemorySegment x, long s, int xRows, int rows, int cols, MemorySegment factor, long f, float beta, MemorySegment vec, long v) {
        for (int col = 0; col < cols; col += WIDTH) {
            long in = at(s, xRows, 0, col);
            FloatVector s0 = FloatVector.zero(F);
            FloatVector s1 = FloatVector.zero(F);
            for (int r = 0; r < rows; r++) {
                FloatVector w = FloatVector.broadcast(F, factor.get(FLOAT, f + 4L * r));
                s0 = w.fma(FloatVector.fromMemorySegment(F, x, in + r * ROW, LE), s0);
                s1 = w.fma(FloatVector.fromMemorySegment(F, x, in + r * ROW + HALF, LE), s1);
            }
            long o = v + 4L * col;
            if (beta != 0) {
                FloatVector g = FloatVector.broadcast(F, beta);
                s0 = g.fma(FloatVector.fromMemorySegment(F, vec, o, LE), s0);
                s1 = g.fma(FloatVector.fromMemorySegment(F, vec, o + HALF, LE), s1);
            }
            s0.intoMemorySegment(vec, o, LE);
            s1.intoMemorySegment(vec, o + HALF, LE);
        }
    }

    /** Dot product of row {@code r} of two matrices over {@code cols} padded columns. */
    static double dotRow(MemorySegment x, long xo, int xRows, MemorySegment y, long yo, int yRows, int r, int cols) {
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        for (int col = 0; col < cols; col += WIDTH) {
            long a = at(xo, xRows, r, col);
            long b = at(yo, yRows, r, col);
            s0 = FloatVector.fromMemorySegment(F, x, a, LE).fma(FloatVector.fromMemorySegment(F, y, b, LE), s0);
            s1 = FloatVector.fromMemorySegment(F, x, a + HALF, LE).fma(FloatVector.fromMemorySegment(F, y, b + HALF, LE), s1);
        }
        return VectorMath.sum(s0.add(s1));
    }

    /** Dot product of row {@code r} of a matrix with a plain vector. */
    static float dotRowVec(MemorySegment x, long xo, int xRows, int r, MemorySegment vec, long v, int cols) {
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        for (int col = 0; col < cols; col += WIDTH) {
            long a = at(xo, xRows, r, col);
            s0 = FloatVector.fromMemorySegment(F, x, a, LE).fma(FloatVector.fromMemorySegment(F, vec, v + 4L * col, LE), s0);
            s1 = FloatVector.fromMemorySegment(F, x, a + HALF, LE)
                    .fma(FloatVector.fromMemorySegment(F, vec, v + 4L * col + HALF, LE), s1);
        }
        return VectorMath.sum(s0.add(s1));
    }

    /** Sum over all elements of x * y; both matrices have {@code rows} rows stored one after the other (any panel layout). */
    static double dotAll(MemorySegment x, long xo, MemorySegment y, long yo, long floats) {
        double total = 0;
        for (long i = 0; i < floats; i += WIDTH) {
            FloatVector a = FloatVector.fromMemorySegment(F, x, xo + 4 * i, LE).mul(FloatVector.fromMemorySegment(F, y, yo + 4 * i, LE));
            FloatVector b = FloatVector.fromMemorySegment(F, x, xo + 4 * i + HALF, LE)
                    .fma(FloatVector.fromMemorySegment(F, y, yo + 4 * i + HALF, LE), a);
            total += VectorMath.sum(b);
        }
        return total;
    }

    /** dst (cols x rows) = transpose of src (rows x cols); rows and cols are padded sizes. */
    static void transpose(MemorySegment src, long s, int srcRows, int rows, int cols, MemorySegment dst, long d, int dstRows) {
        for (int r = 0; r < rows; r += LANES) {
            for (int c = 0; c < cols; c += LANES) {
                long in = at(s, srcRows, r, c);
                long out = at(d, dstRows, c, r);
                if (LANES == 16) {
                    block16(src.asSlice(in, 15 * ROW + HALF), dst.asSlice(out, 15 * ROW + HALF));
                } else {
                    for (int i = 0; i < LANES; i++) {
                        for (int j = 0; j < LANES; j++) {
                            dst.set(FLOAT, out + j * ROW + 4L * i, src.get(FLOAT, in + i * ROW + 4L * j));
                        }
                    }
                }
            }
        }
    }

    private static final IntVector[] LO = new IntVector[4];
    private static final IntVector[] HI = new IntVector[4];

    static {
        for (int stage = 0; stage < 4; stage++) {
            int h = 1 << stage;
            int[] lo = new int[LANES];
            int[] hi = new int[LANES];
            for (int j = 0; j < LANES; j++) {
                lo[j] = (j & h) == 0 ? j : LANES + j - h;
                hi[j] = (j & h) == 0 ? (j + h) % LANES : LANES + j;
            }
            LO[stage] = IntVector.fromArray(VectorMath.I, lo, 0);
            HI[stage] = IntVector.fromArray(VectorMath.I, hi, 0);
        }
    }

    private static final IntVector L1 = LO[0];
    private static final IntVector H1 = HI[0];
    private static final IntVector L2 = LO[1];
    private static final IntVector H2 = HI[1];
    private static final IntVector L4 = LO[2];
    private static final IntVector H4 = HI[2];
    private static final IntVector L8 = LO[3];
    private static final IntVector H8 = HI[3];

    private static IntVector row(MemorySegment m, int r) {
        return FloatVector.fromMemorySegment(F, m, r * ROW, LE).reinterpretAsInts();
    }

    private static void row(MemorySegment m, int r, IntVector v) {
        v.reinterpretAsFloats().intoMemorySegment(m, r * ROW, LE);
    }

    /** 16 x 16 butterfly. */
    private static void block16(MemorySegment src, MemorySegment dst) {
        for (int half = 0; half < 2; half++) {
            // Rows of one half go through the exchanges at distance 1, 2 and 4; the exchange at distance 8 joins the halves below.
            int o = 8 * half;
            IntVector a0 = row(src, o);
            IntVector a1 = row(src, o + 1);
            IntVector a2 = row(src, o + 2);
            IntVector a3 = row(src, o + 3);
            IntVector a4 = row(src, o + 4);
            IntVector a5 = row(src, o + 5);
            IntVector a6 = row(src, o + 6);
            IntVector a7 = row(src, o + 7);
            IntVector b0 = L1.selectFrom(a0, a1);
            IntVector b1 = H1.selectFrom(a0, a1);
            IntVector b2 = L1.selectFrom(a2, a3);
            IntVector b3 = H1.selectFrom(a2, a3);
            IntVector b4 = L1.selectFrom(a4, a5);
            IntVector b5 = H1.selectFrom(a4, a5);
            IntVector b6 = L1.selectFrom(a6, a7);
            IntVector b7 = H1.selectFrom(a6, a7);
            a0 = L2.selectFrom(b0, b2);
            a2 = H2.selectFrom(b0, b2);
            a1 = L2.selectFrom(b1, b3);
            a3 = H2.selectFrom(b1, b3);
            a4 = L2.selectFrom(b4, b6);
            a6 = H2.selectFrom(b4, b6);
            a5 = L2.selectFrom(b5, b7);
            a7 = H2.selectFrom(b5, b7);
            row(dst, o, L4.selectFrom(a0, a4));
            row(dst, o + 4, H4.selectFrom(a0, a4));
            row(dst, o + 1, L4.selectFrom(a1, a5));
            row(dst, o + 5, H4.selectFrom(a1, a5));
            row(dst, o + 2, L4.selectFrom(a2, a6));
            row(dst, o + 6, H4.selectFrom(a2, a6));
            row(dst, o + 3, L4.selectFrom(a3, a7));
            row(dst, o + 7, H4.selectFrom(a3, a7));
        }
        for (int r = 0; r < 8; r++) {
            IntVector x = row(dst, r);
            IntVector y = row(dst, r + 8);
            row(dst, r, L8.selectFrom(x, y));
            row(dst, r + 8, H8.selectFrom(x, y));
        }
    }

    /**
     * c[0..m, panels] = beta * cin + a (m x k) b (k x n): m a multiple of {@link #TILE}, n a number of panels' columns. With
     * {@code lowerOut} only panels that touch the lower triangle are computed; with {@code lowerIn} row r of a ends at column r's tile.
     */
    static void nn(
            int m,
            int n,
            int k,
            boolean lowerOut,
            boolean lowerIn,
            MemorySegment a,
            long ao,
            int aRows,
            MemorySegment b,
            long bo,
            int bRows,
            float beta,
            MemorySegment cin,
            long cino,
            MemorySegment c,
            long co,
            int cRows) {
        for (int col = 0; col < n; col += WIDTH) {
            for (int row = lowerOut ? col : 0; row < m; row += TILE) {
                int depth = lowerIn ? Math.min(k, row + TILE) : k;
                nnTile(
                        depth, a, ao + row * ROW, aRows * ROW, b, at(bo, bRows, 0, col), beta, cin, at(cino, cRows, row, col), c,
                        at(co, cRows, row, col));
            }
        }
    }

    /** c[0..m, panels] = beta * cin + a^T b with a (k x m), b (k x n). With {@code lowerIn} a is lower triangular: row r starts at k = r. */
    static void tn(
            int m,
            int n,
            int k,
            boolean lowerIn,
            MemorySegment a,
            long ao,
            int aRows,
            MemorySegment b,
            long bo,
            int bRows,
            float beta,
            MemorySegment cin,
            long cino,
            MemorySegment c,
            long co,
            int cRows) {
        for (int col = 0; col < n; col += WIDTH) {
            for (int row = 0; row < m; row += TILE) {
                int from = lowerIn ? row : 0;
                tnTile(
                        k - from, a, at(ao, aRows, from, row), b, at(bo, bRows, from, col), beta, cin, at(cino, cRows, row, col), c,
                        at(co, cRows, row, col));
            }
        }
    }

    private static FloatVector load(MemorySegment m, long o) {
        return FloatVector.fromMemorySegment(F, m, o, LE);
    }

    private static FloatVector splat(MemorySegment m, long o) {
        return FloatVector.broadcast(F, m.get(FLOAT, o));
    }

    private static void nnTile(
            int depth, MemorySegment a, long ao, long aPanel, MemorySegment b, long bo, float beta, MemorySegment cin, long ci,
            MemorySegment c, long co) {
        FloatVector c00 = FloatVector.zero(F);
        FloatVector c01 = c00;
        FloatVector c10 = c00;
        FloatVector c11 = c00;
        FloatVector c20 = c00;
        FloatVector c21 = c00;
        FloatVector c30 = c00;
        FloatVector c31 = c00;
        FloatVector c40 = c00;
        FloatVector c41 = c00;
        FloatVector c50 = c00;
        FloatVector c51 = c00;
        FloatVector c60 = c00;
        FloatVector c61 = c00;
        FloatVector c70 = c00;
        FloatVector c71 = c00;
        if (beta != 0) {
            MemorySegment in = cin.asSlice(ci, TILE * ROW);
            FloatVector g = FloatVector.broadcast(F, beta);
            c00 = load(in, 0).mul(g);
            c01 = load(in, HALF).mul(g);
            c10 = load(in, ROW).mul(g);
            c11 = load(in, ROW + HALF).mul(g);
            c20 = load(in, 2 * ROW).mul(g);
            c21 = load(in, 2 * ROW + HALF).mul(g);
            c30 = load(in, 3 * ROW).mul(g);
            c31 = load(in, 3 * ROW + HALF).mul(g);
            c40 = load(in, 4 * ROW).mul(g);
            c41 = load(in, 4 * ROW + HALF).mul(g);
            c50 = load(in, 5 * ROW).mul(g);
            c51 = load(in, 5 * ROW + HALF).mul(g);
            c60 = load(in, 6 * ROW).mul(g);
            c61 = load(in, 6 * ROW + HALF).mul(g);
            c70 = load(in, 7 * ROW).mul(g);
            c71 = load(in, 7 * ROW + HALF).mul(g);
        }
        for (int done = 0; done < depth; done += WIDTH) {
            long len = Math.min(WIDTH, depth - done);
            MemorySegment x = a.asSlice(ao + done / WIDTH * aPanel, 7 * ROW + 4 * len);
            MemorySegment y = b.asSlice(bo + done * ROW, len * ROW);
            for (long k = 0; k < len; k++) {
                FloatVector b0 = load(y, k * ROW);
                FloatVector b1 = load(y, k * ROW + HALF);
                FloatVector w = splat(x, 4 * k);
                c00 = w.fma(b0, c00);
                c01 = w.fma(b1, c01);
                w = splat(x, 4 * k + ROW);
                c10 = w.fma(b0, c10);
                c11 = w.fma(b1, c11);
                w = splat(x, 4 * k + 2 * ROW);
                c20 = w.fma(b0, c20);
                c21 = w.fma(b1, c21);
                w = splat(x, 4 * k + 3 * ROW);
                c30 = w.fma(b0, c30);
                c31 = w.fma(b1, c31);
                w = splat(x, 4 * k + 4 * ROW);
                c40 = w.fma(b0, c40);
                c41 = w.fma(b1, c41);
                w = splat(x, 4 * k + 5 * ROW);
                c50 = w.fma(b0, c50);
                c51 = w.fma(b1, c51);
                w = splat(x, 4 * k + 6 * ROW);
                c60 = w.fma(b0, c60);
                c61 = w.fma(b1, c61);
                w = splat(x, 4 * k + 7 * ROW);
                c70 = w.fma(b0, c70);
                c71 = w.fma(b1, c71);
            }
        }
        MemorySegment out = c.asSlice(co, TILE * ROW);
        c00.intoMemorySegment(out, 0, LE);
        c01.intoMemorySegment(out, HALF, LE);
        c10.intoMemorySegment(out, ROW, LE);
        c11.intoMemorySegment(out, ROW + HALF, LE);
        c20.intoMemorySegment(out, 2 * ROW, LE);
        c21.intoMemorySegment(out, 2 * ROW + HALF, LE);
        c30.intoMemorySegment(out, 3 * ROW, LE);
        c31.intoMemorySegment(out, 3 * ROW + HALF, LE);
        c40.intoMemorySegment(out, 4 * ROW, LE);
        c41.intoMemorySegment(out, 4 * ROW + HALF, LE);
        c50.intoMemorySegment(out, 5 * ROW, LE);
        c51.intoMemorySegment(out, 5 * ROW + HALF, LE);
        c60.intoMemorySegment(out, 6 * ROW, LE);
        c61.intoMemorySegment(out, 6 * ROW + HALF, LE);
        c70.intoMemorySegment(out, 7 * ROW, LE);
        c71.intoMemorySegment(out, 7 * ROW + HALF, LE);
    }

    private static void tnTile(
            int depth, MemorySegment a, long ao, MemorySegment b, long bo, float beta, MemorySegment cin, long ci, MemorySegment c, long co) {
        FloatVector c00 = FloatVector.zero(F);
        FloatVector c01 = c00;
        FloatVector c10 = c00;
        FloatVector c11 = c00;
        FloatVector c20 = c00;
        FloatVector c21 = c00;
        FloatVector c30 = c00;
        FloatVector c31 = c00;
        FloatVector c40 = c00;
        FloatVector c41 = c00;
        FloatVector c50 = c00;
        FloatVector c51 = c00;
        FloatVector c60 = c00;
        FloatVector c61 = c00;
        FloatVector c70 = c00;
        FloatVector c71 = c00;
        if (beta != 0) {
            MemorySegment in = cin.asSlice(ci, TILE * ROW);
            FloatVector g = FloatVector.broadcast(F, beta);
            c00 = load(in, 0).mul(g);
            c01 = load(in, HALF).mul(g);
            c10 = load(in, ROW).mul(g);
            c11 = load(in, ROW + HALF).mul(g);
            c20 = load(in, 2 * ROW).mul(g);
            c21 = load(in, 2 * ROW + HALF).mul(g);
            c30 = load(in, 3 * ROW).mul(g);
            c31 = load(in, 3 * ROW + HALF).mul(g);
            c40 = load(in, 4 * ROW).mul(g);
            c41 = load(in, 4 * ROW + HALF).mul(g);
            c50 = load(in, 5 * ROW).mul(g);
            c51 = load(in, 5 * ROW + HALF).mul(g);
            c60 = load(in, 6 * ROW).mul(g);
            c61 = load(in, 6 * ROW + HALF).mul(g);
            c70 = load(in, 7 * ROW).mul(g);
            c71 = load(in, 7 * ROW + HALF).mul(g);
        }
        if (depth > 0) {
            MemorySegment x = a.asSlice(ao, (depth - 1) * ROW + 4 * TILE);
            MemorySegment y = b.asSlice(bo, depth * ROW);
            for (long k = 0; k < depth; k++) {
                FloatVector b0 = load(y, k * ROW);
                FloatVector b1 = load(y, k * ROW + HALF);
                FloatVector w = splat(x, k * ROW);
                c00 = w.fma(b0, c00);
                c01 = w.fma(b1, c01);
                w = splat(x, k * ROW + 4);
                c10 = w.fma(b0, c10);
                c11 = w.fma(b1, c11);
                w = splat(x, k * ROW + 8);
                c20 = w.fma(b0, c20);
                c21 = w.fma(b1, c21);
                w = splat(x, k * ROW + 12);
                c30 = w.fma(b0, c30);
                c31 = w.fma(b1, c31);
                w = splat(x, k * ROW + 16);
                c40 = w.fma(b0, c40);
                c41 = w.fma(b1, c41);
                w = splat(x, k * ROW + 20);
                c50 = w.fma(b0, c50);
                c51 = w.fma(b1, c51);
                w = splat(x, k * ROW + 24);
                c60 = w.fma(b0, c60);
                c61 = w.fma(b1, c61);
                w = splat(x, k * ROW + 28);
                c70 = w.fma(b0, c70);
                c71 = w.fma(b1, c71);
            }
        }
        MemorySegment out = c.asSlice(co, TILE * ROW);
        c00.intoMemorySegment(out, 0, LE);
        c01.intoMemorySegment(out, HALF, LE);
        c10.intoMemorySegment(out, ROW, LE);
        c11.intoMemorySegment(out, ROW + HALF, LE);
        c20.intoMemorySegment(out, 2 * ROW, LE);
        c21.intoMemorySegment(out, 2 * ROW + HALF, LE);
        c30.intoMemorySegment(out, 3 * ROW, LE);
        c31.intoMemorySegment(out, 3 * ROW + HALF, LE);
        c40.intoMemorySegment(out, 4 * ROW, LE);
        c41.intoMemorySegment(out, 4 * ROW + HALF, LE);
        c50.intoMemorySegment(out, 5 * ROW, LE);
        c51.intoMemorySegment(out, 5 * ROW + HALF, LE);
        c60.intoMemorySegment(out, 6 * ROW, LE);
        c61.intoMemorySegment(out, 6 * ROW + HALF, LE);
        c70.intoMemorySegment(out, 7 * ROW, LE);
        c71.intoMemorySegment(out, 7 * ROW + HALF, LE);
    }
}
