package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
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
            MemorySegment src, long s, long stride, int rows, int cols, MemorySegment dst, long d, int dstRows) {
        int padded = pad(rows);
        if (cols % WIDTH == 0) {
            packRows(src, s, stride, rows, cols, dst, d, dstRows * ROW);
            clearRows(rows, padded, cols, dst, d, dstRows * ROW);
            return;
        }
        FloatVector zero = FloatVector.zero(F);
        for (int col = 0; col < cols; col += LANES) {
            long out = at(d, dstRows, 0, col);
            if (col + LANES <= cols) {
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, s + r * stride + 4L * col, LE)
                            .intoMemorySegment(dst, out + r * ROW, LE);
                }
            } else {
                VectorMask<Float> tail = F.indexInRange(col, cols);
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, s + r * stride + 4L * col, LE, tail)
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
            MemorySegment src, long s, long stride, int rows, int cols, MemorySegment dst, long d, long panel) {
        for (int r = 0; r < rows; r++) {
            long in = s + r * stride;
            long out = d + r * ROW;
            for (int col = 0; col < cols; col += WIDTH) {
                FloatVector.fromMemorySegment(F, src, in, LE).intoMemorySegment(dst, out, LE);
                FloatVector.fromMemorySegment(F, src, in + HALF, LE).intoMemorySegment(dst, out + HALF, LE);
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
            MemorySegment src, long s, long panel, int rows, int cols, MemorySegment dst, long d, long stride) {
        for (int r = 0; r < rows; r++) {
            long in = s + r * ROW;
            long out = d + r * stride;
            for (int col = 0; col < cols; col += WIDTH) {
                FloatVector.fromMemorySegment(F, src, in, LE).intoMemorySegment(dst, out, LE);
                FloatVector.fromMemorySegment(F, src, in + HALF, LE).intoMemorySegment(dst, out + HALF, LE);
                in += panel;
                out += ROW;
            }
        }
    }

    /** Copies {@code rows} rows of {@code cols} floats out of a matrix of {@code srcRows} rows. */
    static void unpack(
            MemorySegment src, long s, int srcRows, int rows, int cols, MemorySegment dst, long d, long stride) {
        if (cols % WIDTH == 0) {
            unpackRows(src, s, srcRows * ROW, rows, cols, dst, d, stride);
            return;
        }
        for (int col = 0; col < cols; col += LANES) {
            long in = at(s, srcRows, 0, col);
            if (col + LANES <= cols) {
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, in + r * ROW, LE)
                            .intoMemorySegment(dst, d + r * stride + 4L * col, LE);
                }
            } else {
                VectorMask<Float> tail = F.indexInRange(col, cols);
                for (int r = 0; r < rows; r++) {
                    FloatVector.fromMemorySegment(F, src, in + r * ROW, LE)
                            .intoMemorySegment(dst, d + r * stride + 4L * col, LE, tail);
                }
            }
        }
    }

    /** c = a (m x k) b (k x n): m a multiple of {@link #TILE}, n rounded up to whole panels. */
    static void nn(
            int m,
            int n,
            int k,
            MemorySegment a,
            long ao,
            int aRows,
            MemorySegment b,
            long bo,
            int bRows,
            MemorySegment c,
            long co,
            int cRows) {
        for (int col = 0; col < n; col += WIDTH) {
            for (int row = 0; row < m; row += TILE) {
                long out = at(co, cRows, row, col);
                clearTile(c, out);
                nnTile(k, a, ao + row * ROW, aRows * ROW, b, at(bo, bRows, 0, col), c, out);
            }
        }
    }

    /** c += a^T b with a (k x m), b (k x n), k >= 1. */
    static void tn(
            int m,
            int n,
            int k,
            MemorySegment a,
            long ao,
            int aRows,
            MemorySegment b,
            long bo,
            int bRows,
            MemorySegment c,
            long co,
            int cRows) {
        for (int col = 0; col < n; col += WIDTH) {
            for (int row = 0; row < m; row += TILE) {
                tnTile(k, a, at(ao, aRows, 0, row), b, at(bo, bRows, 0, col), c, at(co, cRows, row, col));
            }
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
