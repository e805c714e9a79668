package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;

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
    static final int TILE = 4;

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
            MemorySegment src,
            long s,
            long stride,
            int rows,
            int cols,
            float scale,
            MemorySegment dst,
            long d,
            int dstRows) {
        int padded = pad(rows);
        if (cols % WIDTH == 0) {
            packRows(src, s, stride, rows, cols, scale, dst, d, dstRows * ROW);
            clearRows(rows, padded, cols, dst, d, dstRows * ROW);
            return;
        }
        FloatVector by = FloatVector.broadcast(F, scale);
        FloatVector zero = FloatVector.zero(F);
        for (int col = 0; col < cols; col += LANES) {
            long out = at(d, dstRows, 0, col);
            if (col + LANES <= cols) {
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, s + r * stride + 4L * col, LE)
                            .mul(by)
                            .intoMemorySegment(dst, out + r * ROW, LE);
                }
            } else {
                VectorMask<Float> tail = F.indexInRange(col, cols);
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, s + r * stride + 4L * col, LE, tail)
                            .mul(by)
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

    /** Whole panels, row after row: reads memory in order. */
    private static void packRows(
            MemorySegment src,
            long s,
            long stride,
            int rows,
            int cols,
            float scale,
            MemorySegment dst,
            long d,
            long panel) {
        FloatVector by = FloatVector.broadcast(F, scale);
        for (int r = 0; r < rows; r++) {
            long in = s + r * stride;
            long out = d + r * ROW;
            for (int col = 0; col < cols; col += WIDTH) {
                FloatVector.fromMemorySegment(F, src, in, LE).mul(by).intoMemorySegment(dst, out, LE);
                FloatVector.fromMemorySegment(F, src, in + HALF, LE).mul(by).intoMemorySegment(dst, out + HALF, LE);
                in += ROW;
                out += panel;
            }
        }
    }

    private static void clearRows(int from, int to, int cols, MemorySegment dst, long d, long panel) {
        for (int col = 0; col < cols; col += WIDTH) {
            long at = d + col / WIDTH * panel;
            for (long o = at + from * ROW; o < at + to * ROW; o += HALF) {
                FloatVector.zero(F).intoMemorySegment(dst, o, LE);
            }
        }
    }

    private static void unpackRows(
            MemorySegment src,
            long s,
            long panel,
            int rows,
            int cols,
            float scale,
            MemorySegment dst,
            long d,
            long stride) {
        FloatVector by = FloatVector.broadcast(F, scale);
        for (int r = 0; r < rows; r++) {
            long in = s + r * ROW;
            long out = d + r * stride;
            for (int col = 0; col < cols; col += WIDTH) {
                FloatVector.fromMemorySegment(F, src, in, LE).mul(by).intoMemorySegment(dst, out, LE);
                FloatVector.fromMemorySegment(F, src, in + HALF, LE).mul(by).intoMemorySegment(dst, out + HALF, LE);
                in += panel;
                out += ROW;
            }
        }
    }

    /** Copies {@code rows} rows of {@code cols} floats out of a matrix of {@code srcRows} rows, times {@code scale}. */
    static void unpack(
            MemorySegment src,
            long s,
            int srcRows,
            int rows,
            int cols,
            float scale,
            MemorySegment dst,
            long d,
            long stride) {
        if (cols % WIDTH == 0) {
            unpackRows(src, s, srcRows * ROW, rows, cols, scale, dst, d, stride);
            return;
        }
        FloatVector by = FloatVector.broadcast(F, scale);
        for (int col = 0; col < cols; col += LANES) {
            long in = at(s, srcRows, 0, col);
            if (col + LANES <= cols) {
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, in + r * ROW, LE)
                            .mul(by)
                            .intoMemorySegment(dst, d + r * stride + 4L * col, LE);
                }
            } else {
                VectorMask<Float> tail = F.indexInRange(col, cols);
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, in + r * ROW, LE)
                            .mul(by)
                            .intoMemorySegment(dst, d + r * stride + 4L * col, LE, tail);
                }
            }
        }
    }

    /** dst[r,:] = src[r,:] * factor[r] for {@code rows} rows and {@code cols} padded columns; {@code factor} is a plain vector. */
    static void scaleRows(
            MemorySegment src,
            long s,
            int srcRows,
            int rows,
            int cols,
            MemorySegment factor,
            long f,
            MemorySegment dst,
            long d,
            int dstRows) {
        for (int col = 0; col < cols; col += WIDTH) {
            long in = at(s, srcRows, 0, col);
            long out = at(d, dstRows, 0, col);
            for (int r = 0; r < rows; r++) {
                FloatVector w = FloatVector.broadcast(F, factor.get(FLOAT, f + 4L * r));
                FloatVector.fromMemorySegment(F, src, in + r * ROW, LE)
                        .mul(w)
                        .intoMemorySegment(dst, out + r * ROW, LE);
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
                FloatVector.fromMemorySegment(F, x, in + r * ROW + HALF, LE)
                        .div(w)
                        .intoMemorySegment(x, in + r * ROW + HALF, LE);
            }
        }
    }

    /** x[r,:] += factor[r] * vec[:] for a plain vector of {@code cols} padded columns. */
    static void addOuter(
            MemorySegment x,
            long s,
            int xRows,
            int rows,
            int cols,
            MemorySegment factor,
            long f,
            MemorySegment vec,
            long v) {
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
            MemorySegment x,
            long s,
            int xRows,
            int rows,
            int cols,
            MemorySegment factor,
            long f,
            float beta,
            MemorySegment vec,
            long v) {
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
            s1 = FloatVector.fromMemorySegment(F, x, a + HALF, LE)
                    .fma(FloatVector.fromMemorySegment(F, y, b + HALF, LE), s1);
        }
        return VectorMath.sum(s0.add(s1));
    }

    /** Sum over all elements of x * y; both matrices have {@code rows} rows stored one after the other (any panel layout). */
    static double dotAll(MemorySegment x, long xo, MemorySegment y, long yo, long floats) {
        double total = 0;
        for (long i = 0; i < floats; i += WIDTH) {
            FloatVector a = FloatVector.fromMemorySegment(F, x, xo + 4 * i, LE)
                    .mul(FloatVector.fromMemorySegment(F, y, yo + 4 * i, LE));
            FloatVector b = FloatVector.fromMemorySegment(F, x, xo + 4 * i + HALF, LE)
                    .fma(FloatVector.fromMemorySegment(F, y, yo + 4 * i + HALF, LE), a);
            total += VectorMath.sum(b);
        }
        return total;
    }

    /** dst (cols x rows) = transpose of src (rows x cols); rows and cols are padded sizes. */
    static void transpose(
            MemorySegment src, long s, int srcRows, int rows, int cols, MemorySegment dst, long d, int dstRows) {
        for (int r = 0; r < rows; r += LANES) {
            for (int c = 0; c < cols; c += LANES) {
                long in = at(s, srcRows, r, c);
                long out = at(d, dstRows, c, r);
                if (LANES == 16) {
                    block16(src, in, dst, out);
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

    private static VectorShuffle<Float> rotation(int by) {
        return VectorShuffle.iota(F, Math.floorMod(by, LANES), 1, true);
    }

    private static VectorMask<Float> lanes(int bit, boolean set) {
        boolean[] on = new boolean[LANES];
        for (int j = 0; j < LANES; j++) {
            on[j] = (j & bit) != 0 == set;
        }
        return VectorMask.fromArray(F, on, 0);
    }

    private static final VectorShuffle<Float> DOWN_1 = rotation(-1);
    private static final VectorShuffle<Float> UP_1 = rotation(1);
    private static final VectorMask<Float> ODD_1 = lanes(1, true);
    private static final VectorMask<Float> EVEN_1 = lanes(1, false);
    private static final VectorShuffle<Float> DOWN_2 = rotation(-2);
    private static final VectorShuffle<Float> UP_2 = rotation(2);
    private static final VectorMask<Float> ODD_2 = lanes(2, true);
    private static final VectorMask<Float> EVEN_2 = lanes(2, false);
    private static final VectorShuffle<Float> DOWN_4 = rotation(-4);
    private static final VectorShuffle<Float> UP_4 = rotation(4);
    private static final VectorMask<Float> ODD_4 = lanes(4, true);
    private static final VectorMask<Float> EVEN_4 = lanes(4, false);
    private static final VectorShuffle<Float> DOWN_8 = rotation(-8);
    private static final VectorShuffle<Float> UP_8 = rotation(8);
    private static final VectorMask<Float> ODD_8 = lanes(8, true);
    private static final VectorMask<Float> EVEN_8 = lanes(8, false);

    /** 16 x 16 butterfly: rows exchange halves at distance 1, 2, 4 within each half of the block, then at distance 8. */
    private static void block16(MemorySegment src, long s, MemorySegment dst, long d) {
        for (long half = 0; half < 16; half += 8) {
            long in = s + half * ROW;
            long out = d + half * ROW;
            FloatVector a0 = FloatVector.fromMemorySegment(F, src, in + 0 * ROW, LE);
            FloatVector a1 = FloatVector.fromMemorySegment(F, src, in + 1 * ROW, LE);
            FloatVector a2 = FloatVector.fromMemorySegment(F, src, in + 2 * ROW, LE);
            FloatVector a3 = FloatVector.fromMemorySegment(F, src, in + 3 * ROW, LE);
            FloatVector a4 = FloatVector.fromMemorySegment(F, src, in + 4 * ROW, LE);
            FloatVector a5 = FloatVector.fromMemorySegment(F, src, in + 5 * ROW, LE);
            FloatVector a6 = FloatVector.fromMemorySegment(F, src, in + 6 * ROW, LE);
            FloatVector a7 = FloatVector.fromMemorySegment(F, src, in + 7 * ROW, LE);
            FloatVector b0 = a0.blend(a1.rearrange(DOWN_1), ODD_1);
            FloatVector b1 = a1.blend(a0.rearrange(UP_1), EVEN_1);
            FloatVector b2 = a2.blend(a3.rearrange(DOWN_1), ODD_1);
            FloatVector b3 = a3.blend(a2.rearrange(UP_1), EVEN_1);
            FloatVector b4 = a4.blend(a5.rearrange(DOWN_1), ODD_1);
            FloatVector b5 = a5.blend(a4.rearrange(UP_1), EVEN_1);
            FloatVector b6 = a6.blend(a7.rearrange(DOWN_1), ODD_1);
            FloatVector b7 = a7.blend(a6.rearrange(UP_1), EVEN_1);
            a0 = b0.blend(b2.rearrange(DOWN_2), ODD_2);
            a2 = b2.blend(b0.rearrange(UP_2), EVEN_2);
            a1 = b1.blend(b3.rearrange(DOWN_2), ODD_2);
            a3 = b3.blend(b1.rearrange(UP_2), EVEN_2);
            a4 = b4.blend(b6.rearrange(DOWN_2), ODD_2);
            a6 = b6.blend(b4.rearrange(UP_2), EVEN_2);
            a5 = b5.blend(b7.rearrange(DOWN_2), ODD_2);
            a7 = b7.blend(b5.rearrange(UP_2), EVEN_2);
            b0 = a0.blend(a4.rearrange(DOWN_4), ODD_4);
            b4 = a4.blend(a0.rearrange(UP_4), EVEN_4);
            b1 = a1.blend(a5.rearrange(DOWN_4), ODD_4);
            b5 = a5.blend(a1.rearrange(UP_4), EVEN_4);
            b2 = a2.blend(a6.rearrange(DOWN_4), ODD_4);
            b6 = a6.blend(a2.rearrange(UP_4), EVEN_4);
            b3 = a3.blend(a7.rearrange(DOWN_4), ODD_4);
            b7 = a7.blend(a3.rearrange(UP_4), EVEN_4);
            b0.intoMemorySegment(dst, out + 0 * ROW, LE);
            b1.intoMemorySegment(dst, out + 1 * ROW, LE);
            b2.intoMemorySegment(dst, out + 2 * ROW, LE);
            b3.intoMemorySegment(dst, out + 3 * ROW, LE);
            b4.intoMemorySegment(dst, out + 4 * ROW, LE);
            b5.intoMemorySegment(dst, out + 5 * ROW, LE);
            b6.intoMemorySegment(dst, out + 6 * ROW, LE);
            b7.intoMemorySegment(dst, out + 7 * ROW, LE);
        }
        for (long r = 0; r < 8; r++) {
            FloatVector x = FloatVector.fromMemorySegment(F, dst, d + r * ROW, LE);
            FloatVector y = FloatVector.fromMemorySegment(F, dst, d + (r + 8) * ROW, LE);
            x.blend(y.rearrange(DOWN_8), ODD_8).intoMemorySegment(dst, d + r * ROW, LE);
            y.blend(x.rearrange(UP_8), EVEN_8).intoMemorySegment(dst, d + (r + 8) * ROW, LE);
        }
    }

    /**
     * c = (c where {@code add}) + a (m x k) b (k x n): m a multiple of {@link #TILE}, n rounded up to whole panels. With
     * {@code lowerOut} only panels that touch the lower triangle are computed; with {@code lowerIn} row r of a ends at r's tile.
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
            boolean add,
            MemorySegment c,
            long co,
            int cRows) {
        for (int col = 0; col < n; col += WIDTH) {
            for (int row = lowerOut ? col : 0; row < m; row += TILE) {
                int depth = lowerIn ? Math.min(k, row + TILE) : k;
                long out = at(co, cRows, row, col);
                if (!add) {
                    clearTile(c, out);
                }
                nnTile(depth, a, ao + row * ROW, aRows * ROW, b, at(bo, bRows, 0, col), c, out);
            }
        }
    }

    /** c = (c where {@code add}) + a^T b with a (k x m), b (k x n), k >= 1. With {@code lowerIn} a is lower triangular: row r starts at r. */
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
            boolean add,
            MemorySegment c,
            long co,
            int cRows) {
        for (int col = 0; col < n; col += WIDTH) {
            for (int row = 0; row < m; row += TILE) {
                int from = lowerIn ? row : 0;
                long out = at(co, cRows, row, col);
                if (!add) {
                    clearTile(c, out);
                }
                tnTile(k - from, a, at(ao, aRows, from, row), b, at(bo, bRows, from, col), c, out);
            }
        }
    }

    /** dst = factor * src for {@code floats} floats, a multiple of {@link #WIDTH}; both in the same layout. */
    static void scale(MemorySegment src, long s, float factor, MemorySegment dst, long d, long floats) {
        FloatVector w = FloatVector.broadcast(F, factor);
        for (long i = 0; i < floats; i += WIDTH) {
            FloatVector.fromMemorySegment(F, src, s + 4 * i, LE).mul(w).intoMemorySegment(dst, d + 4 * i, LE);
            FloatVector.fromMemorySegment(F, src, s + 4 * i + HALF, LE)
                    .mul(w)
                    .intoMemorySegment(dst, d + 4 * i + HALF, LE);
        }
    }

    private static void clearTile(MemorySegment c, long co) {
        for (long o = co; o < co + TILE * ROW; o += HALF) {
            FloatVector.zero(F).intoMemorySegment(c, o, LE);
        }
    }

    /** {@link #TILE} rows of one panel: c += a b, a row-wise. Vector calls are spelled out: helpers would be boxed. */
    private static void nnTile(
            int depth, MemorySegment a, long ao, long aPanel, MemorySegment b, long bo, MemorySegment c, long co) {
        FloatVector c00 = FloatVector.fromMemorySegment(F, c, co, LE);
        FloatVector c01 = FloatVector.fromMemorySegment(F, c, co + HALF, LE);
        FloatVector c10 = FloatVector.fromMemorySegment(F, c, co + ROW, LE);
        FloatVector c11 = FloatVector.fromMemorySegment(F, c, co + ROW + HALF, LE);
        FloatVector c20 = FloatVector.fromMemorySegment(F, c, co + 2 * ROW, LE);
        FloatVector c21 = FloatVector.fromMemorySegment(F, c, co + 2 * ROW + HALF, LE);
        FloatVector c30 = FloatVector.fromMemorySegment(F, c, co + 3 * ROW, LE);
        FloatVector c31 = FloatVector.fromMemorySegment(F, c, co + 3 * ROW + HALF, LE);
        for (int done = 0; done < depth; done += WIDTH) {
            long len = Math.min(WIDTH, depth - done);
            MemorySegment x = a.asSlice(ao + done / WIDTH * aPanel, (TILE - 1) * ROW + 4 * len);
            MemorySegment y = b.asSlice(bo + done * ROW, len * ROW);
            for (long k = 0; k < len; k++) {
                FloatVector b0 = FloatVector.fromMemorySegment(F, y, k * ROW, LE);
                FloatVector b1 = FloatVector.fromMemorySegment(F, y, k * ROW + HALF, LE);
                FloatVector w = FloatVector.broadcast(F, x.get(FLOAT, 4 * k));
                c00 = w.fma(b0, c00);
                c01 = w.fma(b1, c01);
                w = FloatVector.broadcast(F, x.get(FLOAT, 4 * k + ROW));
                c10 = w.fma(b0, c10);
                c11 = w.fma(b1, c11);
                w = FloatVector.broadcast(F, x.get(FLOAT, 4 * k + 2 * ROW));
                c20 = w.fma(b0, c20);
                c21 = w.fma(b1, c21);
                w = FloatVector.broadcast(F, x.get(FLOAT, 4 * k + 3 * ROW));
                c30 = w.fma(b0, c30);
                c31 = w.fma(b1, c31);
            }
        }
        c00.intoMemorySegment(c, co, LE);
        c01.intoMemorySegment(c, co + HALF, LE);
        c10.intoMemorySegment(c, co + ROW, LE);
        c11.intoMemorySegment(c, co + ROW + HALF, LE);
        c20.intoMemorySegment(c, co + 2 * ROW, LE);
        c21.intoMemorySegment(c, co + 2 * ROW + HALF, LE);
        c30.intoMemorySegment(c, co + 3 * ROW, LE);
        c31.intoMemorySegment(c, co + 3 * ROW + HALF, LE);
    }

    /** {@link #TILE} columns of a against one panel: c += a^T b. */
    private static void tnTile(
            int depth, MemorySegment a, long ao, MemorySegment b, long bo, MemorySegment c, long co) {
        FloatVector c00 = FloatVector.fromMemorySegment(F, c, co, LE);
        FloatVector c01 = FloatVector.fromMemorySegment(F, c, co + HALF, LE);
        FloatVector c10 = FloatVector.fromMemorySegment(F, c, co + ROW, LE);
        FloatVector c11 = FloatVector.fromMemorySegment(F, c, co + ROW + HALF, LE);
        FloatVector c20 = FloatVector.fromMemorySegment(F, c, co + 2 * ROW, LE);
        FloatVector c21 = FloatVector.fromMemorySegment(F, c, co + 2 * ROW + HALF, LE);
        FloatVector c30 = FloatVector.fromMemorySegment(F, c, co + 3 * ROW, LE);
        FloatVector c31 = FloatVector.fromMemorySegment(F, c, co + 3 * ROW + HALF, LE);
        MemorySegment x = a.asSlice(ao, (depth - 1) * ROW + 4 * TILE);
        MemorySegment y = b.asSlice(bo, depth * ROW);
        for (long k = 0; k < depth; k++) {
            FloatVector b0 = FloatVector.fromMemorySegment(F, y, k * ROW, LE);
            FloatVector b1 = FloatVector.fromMemorySegment(F, y, k * ROW + HALF, LE);
            FloatVector w = FloatVector.broadcast(F, x.get(FLOAT, k * ROW));
            c00 = w.fma(b0, c00);
            c01 = w.fma(b1, c01);
            w = FloatVector.broadcast(F, x.get(FLOAT, k * ROW + 4));
            c10 = w.fma(b0, c10);
            c11 = w.fma(b1, c11);
            w = FloatVector.broadcast(F, x.get(FLOAT, k * ROW + 8));
            c20 = w.fma(b0, c20);
            c21 = w.fma(b1, c21);
            w = FloatVector.broadcast(F, x.get(FLOAT, k * ROW + 12));
            c30 = w.fma(b0, c30);
            c31 = w.fma(b1, c31);
        }
        c00.intoMemorySegment(c, co, LE);
        c01.intoMemorySegment(c, co + HALF, LE);
        c10.intoMemorySegment(c, co + ROW, LE);
        c11.intoMemorySegment(c, co + ROW + HALF, LE);
        c20.intoMemorySegment(c, co + 2 * ROW, LE);
        c21.intoMemorySegment(c, co + 2 * ROW + HALF, LE);
        c30.intoMemorySegment(c, co + 3 * ROW, LE);
        c31.intoMemorySegment(c, co + 3 * ROW + HALF, LE);
    }
}
