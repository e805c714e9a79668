package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.GemmTile.DEPTH;
import static ai.lram.backend.cpu.GemmTile.HEIGHT;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;

/**
 * Products of matrices in the layout of {@link Panels} by the tiles of {@link GemmTile}, on the calling thread. Rows of the left factor are
 * cut within each {@link Panels#WIDTH} rows, so that no tile crosses from one panel to the next.
 *
 * <p>Offsets ({@code a}, {@code b}, {@code c}) are in bytes, sizes in elements; {@code aRows} etc. are the rows of the padded matrix.
 */
final class PanelGemm {
    private static final int WIDTH = Panels.WIDTH;
    private static final long ROW = 4L * WIDTH;
    private static final int PITCH = DEPTH * HEIGHT + LANES;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private final Staging staging = Staging.own();
    private final boolean leftTransposed;
    private final int m;
    private final int n;
    private final int k;
    private final boolean lowerOut;
    private final boolean lowerIn;
    private final boolean add;

    private PanelGemm(boolean leftTransposed, int m, int n, int k, boolean lowerOut, boolean lowerIn, boolean add) {
        this.leftTransposed = leftTransposed;
        this.m = m;
        this.n = n;
        this.k = k;
        this.lowerOut = lowerOut;
        this.lowerIn = lowerIn;
        this.add = add;
    }

    /**
     * c = (c where {@code add}) + a (m x k) b (k x n). With {@code lowerOut} only panels that touch the lower triangle are computed. With
     * {@code lowerIn} a is lower triangular: row r holds zeros after r to the end of its panel and is not read beyond.
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
        new PanelGemm(false, m, n, k, lowerOut, lowerIn, add).run(a, ao, aRows, b, bo, bRows, c, co, cRows);
    }

    /** c = (c where {@code add}) + a^T b with a (k x m), b (k x n); with {@code lowerIn} a is lower triangular as above. */
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
        new PanelGemm(true, m, n, k, false, lowerIn, add).run(a, ao, aRows, b, bo, bRows, c, co, cRows);
    }

    private static int rowOf(int tile) {
        int perPanel = (WIDTH + HEIGHT - 1) / HEIGHT;
        return tile / perPanel * WIDTH + tile % perPanel * HEIGHT;
    }

    private static int heightAt(int row) {
        return Math.min(HEIGHT, WIDTH - row % WIDTH);
    }

    /** First depth that the tile at {@code row} needs. */
    private int begin(int row) {
        return leftTransposed && lowerIn ? row : 0;
    }

    /** The depth after the last one that the tile at {@code row} needs. */
    private int end(int row) {
        return !leftTransposed && lowerIn ? Math.min(k, row + heightAt(row)) : k;
    }

    private void run(
            MemorySegment a,
            long ao,
            int aRows,
            MemorySegment b,
            long bo,
            int bRows,
            MemorySegment c,
            long co,
            int cRows) {
        int tiles = 0;
        while (rowOf(tiles) < m) {
            tiles++;
        }
        float[] packedA = staging.packedA(tiles * PITCH);
        float[] packedB = staging.packedB(DEPTH * WIDTH);
        for (int from = 0; from < k; from += DEPTH) {
            int to = Math.min(k, from + DEPTH);
            for (int t = 0; t < tiles; t++) {
                int row = rowOf(t);
                pack(a, ao, aRows, row, Math.max(from, begin(row)), Math.min(to, end(row)), packedA, t * PITCH);
            }
            for (int col = 0; col < n; col += WIDTH) {
                long at = Panels.at(bo, bRows, from, col);
                MemorySegment.copy(b, FLOAT, at, packedB, 0, (to - from) * WIDTH);
                panel(packedA, tiles, packedB, from, to, col, c, Panels.at(co, cRows, 0, col));
            }
        }
    }

    private void panel(
            float[] packedA, int tiles, float[] packedB, int from, int to, int col, MemorySegment c, long at) {
        for (int t = 0; t < tiles; t++) {
            int row = rowOf(t);
            int first = Math.max(from, begin(row));
            int depth = Math.min(to, end(row)) - first;
            if (depth > 0 && (!lowerOut || row >= col)) {
                GemmTile.multiply(packedA, t * PITCH, packedB, (first - from) * WIDTH, depth, staging.tile);
                int rows = Math.min(heightAt(row), m - row);
                if (add || first > begin(row)) {
                    addTile(staging.tile, rows, c, (at + row * ROW) / 4);
                } else {
                    storeTile(staging.tile, rows, c, (at + row * ROW) / 4);
                }
            }
        }
    }

    private static void addTile(float[] tile, int rows, MemorySegment c, long at) {
        for (int i = 0; i < rows * WIDTH; i += LANES) {
            store(FloatVector.fromArray(F, tile, i).add(load(c, at + i)), c, at + i);
        }
    }

    private static void storeTile(float[] tile, int rows, MemorySegment c, long at) {
        for (int i = 0; i < rows * WIDTH; i += LANES) {
            store(FloatVector.fromArray(F, tile, i), c, at + i);
        }
    }

    /** The tile at {@code row}, depths {@code first} to {@code last - 1}. */
    private void pack(MemorySegment a, long ao, int aRows, int row, int first, int last, float[] into, int to) {
        if (leftTransposed) {
            long at = Panels.at(ao, aRows, first, row) / 4;
            GemmPacking.panel(a, at, WIDTH, last - first, WIDTH - row % WIDTH, HEIGHT, into, to);
            return;
        }
        int count = Math.min(heightAt(row), m - row);
        // Begins at whole panels; what a panel holds beyond the depth is padding.
        for (int d = first; d < last; d += WIDTH) {
            int depth = Math.min(WIDTH, (last - d + LANES - 1) / LANES * LANES);
            long at = Panels.at(ao, aRows, row, d) / 4;
            GemmPacking.transposed(a, at, WIDTH, count, depth, HEIGHT, into, to + (d - first) * HEIGHT, staging.square);
        }
    }
}
