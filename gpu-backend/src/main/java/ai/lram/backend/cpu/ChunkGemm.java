package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.GemmTile.DEPTH;
import static ai.lram.backend.cpu.GemmTile.HEIGHT;
import static ai.lram.backend.cpu.GemmTile.WIDTH;
import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/**
 * Products of one chunk of tokens by the tiles of {@link GemmTile}, on the calling thread. Factors are packed straight from where they lie,
 * rows any distance apart, the result is written straight to where it belongs; a packed factor serves until the next one of its side is packed.
 *
 * <p>All offsets and distances are in elements. A lower triangular matrix is one of {@link #square} columns a row, zero after its diagonal at least
 * as far as {@link #filled}.
 */
final class ChunkGemm {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private final Staging staging = Staging.own();
    private float[] a = {};
    private float[] b = {};
    private int m;
    private int n;
    private int depth;
    private int pitchA;
    private boolean lower;
    private boolean upper;

    /** Elements from row to row of a lower triangular matrix of {@code rows} rows: not a multiple of a page. */
    static int square(int rows) {
        return (rows + LANES - 1) / LANES * LANES + LANES;
    }

    /** Columns of row {@code row} of a lower triangular matrix of {@code rows} rows that are read as a factor. */
    static int filled(int row, int rows) {
        return up(Math.min((row / HEIGHT + 1) * HEIGHT, rows));
    }

    private static int up(int size) {
        return (size + LANES - 1) / LANES * LANES;
    }

    private void left(int rows, int terms) {
        m = rows;
        depth = terms;
        pitchA = up(terms) * HEIGHT + LANES;
        a = staging.packedA(Math.multiplyExact((rows + HEIGHT - 1) / HEIGHT, pitchA));
        lower = false;
        upper = false;
    }

    /** The left factor as stored, {@code rows} rows of {@code terms} each. */
    void left(MemorySegment x, long at, long ld, int rows, int terms) {
        left(rows, terms);
        for (int row = 0, to = 0; row < rows; row += HEIGHT, to += pitchA) {
            int count = Math.min(HEIGHT, rows - row);
            GemmPacking.transposed(x, at + row * ld, ld, count, terms, HEIGHT, a, to, staging.square);
        }
    }

    /** A lower triangular left factor. */
    void leftLower(MemorySegment x, long at, long ld, int rows) {
        left(rows, rows);
        lower = true;
        for (int row = 0, to = 0; row < rows; row += HEIGHT, to += pitchA) {
            int count = Math.min(HEIGHT, rows - row);
            GemmPacking.transposed(x, at + row * ld, ld, count, filled(row, rows), HEIGHT, a, to, staging.square);
        }
    }

    /** A left factor that is the transpose of a lower triangular matrix. */
    void leftUpper(MemorySegment x, long at, long ld, int rows) {
        left(rows, rows);
        upper = true;
        for (int row = 0, to = 0; row < rows; row += HEIGHT, to += pitchA) {
            GemmPacking.panel(x, at + row * ld + row, ld, rows - row, HEIGHT + LANES, HEIGHT, a, to + row * HEIGHT);
        }
    }

    /** A left factor that is the transpose of what is stored, {@code terms} rows of {@code rows} elements, term t times factor[t]. */
    void leftTransposed(MemorySegment x, long at, long ld, int terms, int rows, MemorySegment factor, long factorAt) {
        left(rows, terms);
        for (int row = 0, to = 0; row < rows; row += HEIGHT, to += pitchA) {
            if (row + up(HEIGHT) <= rows) {
                scaledPanel(x, at + row, ld, terms, factor, factorAt, a, to);
            } else {
                int count = Math.min(HEIGHT, rows - row);
                scaledEdge(x, at + row, ld, terms, count, factor, factorAt, a, to);
            }
        }
    }

    private static void scaledPanel(
            MemorySegment x, long at, long ld, int terms, MemorySegment factor, long factorAt, float[] a, int to) {
        for (int t = 0; t < terms; t++) {
            FloatVector by = FloatVector.broadcast(F, factor.get(FLOAT, (factorAt + t) * 4));
            for (int j = 0; j < HEIGHT; j += LANES) {
                load(x, at + t * ld + j).mul(by).intoArray(a, to + t * HEIGHT + j);
            }
        }
    }

    private static void scaledEdge(
            MemorySegment x,
            long at,
            long ld,
            int terms,
            int rows,
            MemorySegment factor,
            long factorAt,
            float[] a,
            int to) {
        for (int t = 0; t < terms; t++) {
            float by = factor.get(FLOAT, (factorAt + t) * 4);
            for (int r = 0; r < rows; r++) {
                a[to + t * HEIGHT + r] = by * x.get(FLOAT, (at + t * ld + r) * 4);
            }
        }
    }

    private void right(int columns, int terms) {
        n = columns;
        b = staging.packedB(Math.multiplyExact((columns + WIDTH - 1) / WIDTH * WIDTH, terms) + LANES);
    }

    /** The right factor as stored, {@code terms} rows of {@code columns} each. */
    void right(MemorySegment x, long at, long ld, int terms, int columns) {
        right(columns, terms);
        GemmPacking.rows(x, at, ld, terms, columns, WIDTH, b, 0, terms * WIDTH);
    }

    /** A right factor that is the transpose of what is stored, {@code columns} rows of {@code terms} each. */
    void rightTransposed(MemorySegment x, long at, long ld, int columns, int terms) {
        right(columns, terms);
        if (columns % WIDTH != 0) {
            // What is kept of such a product must not depend on what was packed before.
            int last = columns / WIDTH * WIDTH * terms;
            Arrays.fill(b, last, last + terms * WIDTH, 0f);
        }
        for (int column = 0; column < columns; column += WIDTH) {
            int count = Math.min(WIDTH, columns - column);
            GemmPacking.transposed(x, at + column * ld, ld, count, terms, WIDTH, b, column * terms, staging.square);
        }
    }

    /** c = a b, row r times factor[r]; or c += that. */
    void multiply(boolean add, MemorySegment factor, long factorAt, MemorySegment c, long at, long ld) {
        for (int column = 0; column < n; column += WIDTH) {
            int columns = Math.min(WIDTH, n - column);
            for (int from = 0; from < depth; from += DEPTH) {
                column(add, from, column, columns, 0, factor, factorAt, c, at + column, ld);
            }
        }
    }

    /** c = a b, row r times factor[r], where the result is a matrix of {@link #square} columns: its lower triangle, beside it anything. */
    void multiplyLower(MemorySegment factor, long factorAt, MemorySegment c, long at, long ld) {
        for (int column = 0; column < n; column += WIDTH) {
            for (int from = 0; from < depth; from += DEPTH) {
                int top = column / HEIGHT * HEIGHT;
                column(false, from, column, WIDTH, top, factor, factorAt, c, at + column, ld);
            }
        }
    }

    /** One column panel, rows {@code top} on, one block of the depth. */
    private void column(
            boolean add,
            int from,
            int column,
            int columns,
            int top,
            MemorySegment factor,
            long factorAt,
            MemorySegment c,
            long at,
            long ld) {
        int most = Math.min(depth, from + DEPTH);
        float[] tile = staging.tile;
        for (int row = top; row < m; row += HEIGHT) {
            int first = upper ? Math.max(from, row) : from;
            int last = lower ? Math.min(most, row + HEIGHT) : most;
            if (first < last) {
                int panelA = row / HEIGHT * pitchA + first * HEIGHT;
                GemmTile.multiply(a, panelA, b, column * depth + first * WIDTH, last - first, tile);
                int rows = Math.min(HEIGHT, m - row);
                boolean begins = upper ? from <= row : from == 0;
                merge(add || !begins, tile, rows, columns, factor, factorAt + row, c, at + row * ld, ld);
            }
        }
    }

    private static void merge(
            boolean add,
            float[] tile,
            int rows,
            int columns,
            MemorySegment factor,
            long factorAt,
            MemorySegment c,
            long at,
            long ld) {
        if (columns < WIDTH) {
            mergeEdge(add, tile, rows, columns, factor, factorAt, c, at, ld);
        } else if (add) {
            mergeAdded(tile, rows, factor, factorAt, c, at, ld);
        } else {
            mergeStored(tile, rows, factor, factorAt, c, at, ld);
        }
    }

    private static void mergeStored(
            float[] tile, int rows, MemorySegment factor, long factorAt, MemorySegment c, long at, long ld) {
        for (int r = 0; r < rows; r++) {
            long o = at + r * ld;
            FloatVector by = FloatVector.broadcast(F, factor.get(FLOAT, (factorAt + r) * 4));
            store(FloatVector.fromArray(F, tile, r * WIDTH).mul(by), c, o);
            store(FloatVector.fromArray(F, tile, r * WIDTH + LANES).mul(by), c, o + LANES);
        }
    }

    private static void mergeAdded(
            float[] tile, int rows, MemorySegment factor, long factorAt, MemorySegment c, long at, long ld) {
        for (int r = 0; r < rows; r++) {
            long o = at + r * ld;
            FloatVector by = FloatVector.broadcast(F, factor.get(FLOAT, (factorAt + r) * 4));
            store(FloatVector.fromArray(F, tile, r * WIDTH).fma(by, load(c, o)), c, o);
            store(FloatVector.fromArray(F, tile, r * WIDTH + LANES).fma(by, load(c, o + LANES)), c, o + LANES);
        }
    }

    private static void mergeEdge(
            boolean add,
            float[] tile,
            int rows,
            int columns,
            MemorySegment factor,
            long factorAt,
            MemorySegment c,
            long at,
            long ld) {
        for (int r = 0; r < rows; r++) {
            float by = factor.get(FLOAT, (factorAt + r) * 4);
            for (int j = 0; j < columns; j++) {
                long o = (at + r * ld + j) * 4;
                c.set(FLOAT, o, Math.fma(tile[r * WIDTH + j], by, add ? c.get(FLOAT, o) : 0f));
            }
        }
    }
}
