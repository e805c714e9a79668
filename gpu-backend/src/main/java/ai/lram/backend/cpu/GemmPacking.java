package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;

/** Copies parts of matrices into the depth-major panels of {@link GemmTile}. What lies beyond a matrix's edge in a panel is arbitrary. */
final class GemmPacking {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    /** Rows that are copied together: their lines stay in the first-level cache from panel to panel. */
    private static final int ROWS = 8;

    private GemmPacking() {}

    /**
     * Panels of a matrix whose rows are the depth, as stored: {@code depth} rows, {@code ld} apart, of {@code columns} elements each, cut
     * into panels of {@code width}. Row after row, so that memory is read in its order.
     *
     * @param pitch from panel to panel; a panel's last row is written up to a vector beyond its end
     */
    static void rows(
            MemorySegment x, long at, long ld, int depth, int columns, int width, float[] into, int to, int pitch) {
        int whole = columns >= width + LANES ? (columns - LANES) / width : 0;
        for (int i = 0; i < depth; i += ROWS) {
            int rows = Math.min(ROWS, depth - i);
            for (int p = 0; p < whole; p++) {
                for (int j = 0; j < width; j += LANES) {
                    strip(x, at + i * ld + (long) p * width + j, ld, rows, into, to + p * pitch + i * width + j, width);
                }
            }
        }
        for (int p = whole; p * width < columns; p++) {
            panel(x, at + (long) p * width, ld, depth, columns - p * width, width, into, to + p * pitch);
        }
    }

    private static void strip(MemorySegment x, long at, long ld, int rows, float[] into, int to, int width) {
        for (int i = 0; i < rows; i++) {
            load(x, at + i * ld).intoArray(into, to + i * width);
        }
    }

    /** One panel of the kind {@link #rows} makes, from a matrix with {@code columns} columns. */
    static void panel(MemorySegment x, long at, long ld, int depth, int columns, int width, float[] into, int to) {
        for (int j = 0; j < Math.min(width, columns); j += LANES) {
            if (columns - j >= LANES) {
                for (int i = 0; i < depth; i++) {
                    load(x, at + j + i * ld).intoArray(into, to + j + i * width);
                }
            } else {
                VectorMask<Float> lanes = VectorMath.first(columns - j);
                for (int i = 0; i < depth; i++) {
                    load(x, at + j + i * ld, lanes).intoArray(into, to + j + i * width);
                }
            }
        }
    }

    /**
     * One panel of a matrix whose columns are the depth, as stored: {@code count} rows, {@code ld} apart, of {@code depth} elements each
     * become the {@code width} columns of the panel.
     *
     * @param square room for LANES x LANES elements
     */
    static void transposed(
            MemorySegment x, long at, long ld, int count, int depth, int width, float[] into, int to, float[] square) {
        int whole = LANES == 16 ? depth - depth % LANES : 0;
        // Column after column of squares: each may write over the beginning of the next one in depth.
        for (int i = 0; i < whole; i += LANES) {
            for (int j = 0; j < Math.min(count, width); j += LANES) {
                long corner = at + i + j * ld;
                int last = Math.min(count - j, LANES) - 1;
                half(x, corner, ld, last, 0, square);
                half(x, corner, ld, last, 8, square);
                join(square, into, to + i * width + j, width);
            }
        }
        for (int i = whole; i < depth; i++) {
            for (int j = 0; j < Math.min(count, width); j++) {
                into[to + i * width + j] = x.get(FLOAT, (at + i + j * ld) * 4);
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

    /**
     * Rows {@code first} to {@code first + 7} of a square of sixteen: an exchange of elements at the distances 1, 2 and 4 turns both 8 x 8
     * blocks. Rows beyond {@code last} are not read; the last one takes their place.
     */
    private static void half(MemorySegment x, long at, long ld, int last, int first, float[] square) {
        FloatVector a0 = load(x, at + Math.min(first, last) * ld);
        FloatVector a1 = load(x, at + Math.min(first + 1, last) * ld);
        FloatVector a2 = load(x, at + Math.min(first + 2, last) * ld);
        FloatVector a3 = load(x, at + Math.min(first + 3, last) * ld);
        FloatVector a4 = load(x, at + Math.min(first + 4, last) * ld);
        FloatVector a5 = load(x, at + Math.min(first + 5, last) * ld);
        FloatVector a6 = load(x, at + Math.min(first + 6, last) * ld);
        FloatVector a7 = load(x, at + Math.min(first + 7, last) * ld);
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
        int o = first * LANES;
        a0.blend(a4.rearrange(DOWN_4), ODD_4).intoArray(square, o);
        a1.blend(a5.rearrange(DOWN_4), ODD_4).intoArray(square, o + LANES);
        a2.blend(a6.rearrange(DOWN_4), ODD_4).intoArray(square, o + 2 * LANES);
        a3.blend(a7.rearrange(DOWN_4), ODD_4).intoArray(square, o + 3 * LANES);
        a4.blend(a0.rearrange(UP_4), EVEN_4).intoArray(square, o + 4 * LANES);
        a5.blend(a1.rearrange(UP_4), EVEN_4).intoArray(square, o + 5 * LANES);
        a6.blend(a2.rearrange(UP_4), EVEN_4).intoArray(square, o + 6 * LANES);
        a7.blend(a3.rearrange(UP_4), EVEN_4).intoArray(square, o + 7 * LANES);
    }

    /** The exchange at the distance 8; columns leave in ascending order, each a whole vector. */
    private static void join(float[] square, float[] into, int to, int stride) {
        for (int r = 0; r < 8; r++) {
            FloatVector x = FloatVector.fromArray(F, square, r * LANES);
            FloatVector y = FloatVector.fromArray(F, square, (r + 8) * LANES);
            x.blend(y.rearrange(DOWN_8), ODD_8).intoArray(into, to + r * stride);
        }
        for (int r = 0; r < 8; r++) {
            FloatVector x = FloatVector.fromArray(F, square, r * LANES);
            FloatVector y = FloatVector.fromArray(F, square, (r + 8) * LANES);
            y.blend(x.rearrange(UP_8), EVEN_8).intoArray(into, to + (r + 8) * stride);
        }
    }
}
