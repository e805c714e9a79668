package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.GemmTile.DEPTH;
import static ai.lram.backend.cpu.GemmTile.HEIGHT;
import static ai.lram.backend.cpu.GemmTile.WIDTH;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;

/**
 * Products of large matrices: C (m, n) = A B or += A B, all row-major with rows any distance apart, A and B plain or transposed. Panels of B are packed once
 * for all threads, panels of A by each thread for the rows of C it owns. Every element of C is summed over ascending depth in blocks of
 * {@link GemmTile#DEPTH}, whatever the number of threads.
 *
 * <p>A thread takes some rows of C and goes from one panel of B to the next, which stays in the first-level cache while the packed rows of
 * A come from the second-level one. It goes through all packed blocks of the depth before the next panel, so that what it has written of C
 * is still cached when the next block is added.
 */
final class Gemm {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    /** Floats of packed B at a time. */
    private static final int PACKED = 1 << 21;

    /** Most blocks of the depth that are packed at a time. */
    private static final int BLOCKS = 6;

    /** Panels of A, of one block each, that a thread keeps packed: they stay in the second-level cache. */
    private static final int PANELS = LANES == 8 ? 80 : 40;

    /** Most row panels of a thread's part of C, so that there are parts enough to share. */
    private static final int PART = LANES == 8 ? 40 : 20;

    /** Panels of B that are packed together, so that memory is read in longer runs. */
    private static final int RUN = 8;

    /** Floats from one packed panel of A to the next: its last row is written as a whole vector. */
    private static final int PITCH_A = DEPTH * HEIGHT + LANES;

    private static final int PITCH_B = DEPTH * WIDTH;

    /** Multiply-adds below which a product stays on its thread. */
    private static final long INLINE = 1 << 20;

    private final Workers workers;
    private final int m;
    private final int n;
    private final int k;
    private final Matrix a;
    private final Matrix b;
    private final MemorySegment bias;
    private final boolean accumulate;
    private final Matrix c;

    /** Depth of every block but the last. */
    private final int depth;

    /** Blocks packed at a time. */
    private final int blocksAtOnce;

    /** Most row panels packed at a time. */
    private final int part;

    /**
     * A matrix in memory.
     *
     * @param at element it begins with
     * @param ld elements from row to row as stored
     * @param transposed stored with rows and columns exchanged
     */
    record Matrix(MemorySegment segment, long at, long ld, boolean transposed) {}

    private Gemm(
            Workers workers,
            int m,
            int n,
            int k,
            Matrix a,
            Matrix b,
            MemorySegment bias,
            boolean accumulate,
            Matrix c) {
        this.workers = workers;
        this.m = m;
        this.n = n;
        this.k = k;
        this.a = a;
        this.b = b;
        this.bias = bias;
        this.accumulate = accumulate;
        this.c = c;
        int fewest = Math.max(1, (k + DEPTH - 1) / DEPTH);
        int even = (k + fewest - 1) / fewest;
        depth = Math.max(LANES, (even + LANES - 1) / LANES * LANES);
        // Stored depth by depth, A is packed in runs as long as a part has rows: fewer blocks leave room for longer
        // runs.
        int most = a.transposed ? BLOCKS / 2 : BLOCKS;
        int rounds = (fewest + most - 1) / most;
        blocksAtOnce = (fewest + rounds - 1) / rounds;
        part = Math.min(PART, PANELS / blocksAtOnce);
    }

    private int depthOf(int block) {
        return Math.min(depth, k - block * depth);
    }

    /**
     * c (m, n) = a b + bias, or c += a b.
     *
     * @param a (m, k)
     * @param b (k, n)
     * @param bias n numbers added to every row, or null; not together with {@code accumulate}
     */
    static void multiply(
            Workers workers,
            int m,
            int n,
            int k,
            Matrix a,
            Matrix b,
            MemorySegment bias,
            boolean accumulate,
            Matrix c) {
        if (m > 0 && n > 0) {
            new Gemm(workers, m, n, k, a, b, bias, accumulate, c).run();
        }
    }

    private void run() {
        boolean inline = (long) m * n * k <= INLINE;
        int blocks = Math.max(1, (k + depth - 1) / depth);
        int panels = (n + WIDTH - 1) / WIDTH;
        int panelsAtOnce = Math.max(1, Math.min(panels, PACKED / (blocksAtOnce * PITCH_B)));
        float[] packed = Staging.own().packedB(blocksAtOnce * panelsAtOnce * PITCH_B);
        for (int block = 0; block < blocks; block += blocksAtOnce) {
            int blockCount = Math.min(blocksAtOnce, blocks - block);
            for (int panel = 0; panel < panels; panel += panelsAtOnce) {
                packAndMultiply(packed, block, blockCount, panel, Math.min(panelsAtOnce, panels - panel), inline);
            }
        }
    }

    private void packAndMultiply(
            float[] packed, int firstBlock, int blocks, int firstPanel, int panels, boolean inline) {
        int runs = (panels + RUN - 1) / RUN;
        int units = blocks * runs;
        workers.forRange(units, inline ? units : 1, (from, to) -> {
            float[] square = Staging.own().square;
            for (int u = from; u < to; u++) {
                int block = u / runs;
                int panel = u % runs * RUN;
                int at = (block * panels + panel) * PITCH_B;
                packB(firstBlock + block, firstPanel + panel, Math.min(RUN, panels - panel), packed, at, square);
            }
        });
        int rowPanels = (m + HEIGHT - 1) / HEIGHT;
        int rowChunks = rowChunks(rowPanels, inline);
        int perChunk = (rowPanels + rowChunks - 1) / rowChunks;
        int columnChunks = inline || rowChunks >= workers.threads() ? 1 : Math.min(panels, 2 * workers.threads());
        int perColumnChunk = (panels + columnChunks - 1) / columnChunks;
        int tasks = rowChunks * columnChunks;
        workers.forRange(tasks, inline ? tasks : 1, (from, to) -> {
            Staging staging = Staging.own();
            float[] packedA = staging.packedA(PANELS * PITCH_A);
            for (int t = from; t < to; t++) {
                int r = Math.min(rowPanels, t / columnChunks * perChunk);
                int rEnd = Math.min(rowPanels, r + perChunk);
                int q = Math.min(panels, t % columnChunks * perColumnChunk);
                int qEnd = Math.min(panels, q + perColumnChunk);
                chunk(staging, packedA, packed, firstBlock, blocks, r, rEnd, firstPanel, panels, q, qEnd);
            }
        });
    }

    /** Equal parts of the rows, as many for each thread, none larger than {@link #part}. */
    private int rowChunks(int rowPanels, boolean inline) {
        int fewest = (rowPanels + part - 1) / part;
        if (inline) {
            return fewest;
        }
        int threads = workers.threads();
        return Math.min(rowPanels, (fewest + threads - 1) / threads * threads);
    }

    /** Row panels {@code r} to {@code rEnd} times column panels {@code q} to {@code qEnd}, the packed blocks of the depth. */
    private void chunk(
            Staging staging,
            float[] packedA,
            float[] packedB,
            int firstBlock,
            int blocks,
            int r,
            int rEnd,
            int firstPanel,
            int panels,
            int q,
            int qEnd) {
        for (int block = 0; block < blocks; block++) {
            packA(firstBlock + block, r, rEnd - r, packedA, block * part * PITCH_A, staging.square);
        }
        for (int j = q; j < qEnd; j++) {
            int column = (firstPanel + j) * WIDTH;
            for (int block = 0; block < blocks; block++) {
                int panelB = (block * panels + j) * PITCH_B;
                column(
                        packedA,
                        block * part * PITCH_A,
                        packedB,
                        panelB,
                        staging.tile,
                        firstBlock + block,
                        r,
                        rEnd,
                        column);
            }
        }
    }

    /** Row panels {@code r} to {@code rEnd} times one column panel, one block of the depth. */
    private void column(
            float[] packedA,
            int panelsA,
            float[] packedB,
            int panelB,
            float[] tile,
            int block,
            int r,
            int rEnd,
            int column) {
        int length = depthOf(block);
        int columns = Math.min(WIDTH, n - column);
        boolean overwrite = block == 0 && !accumulate;
        MemorySegment added = block == 0 ? bias : null;
        for (int p = r; p < rEnd; p++) {
            int rows = Math.min(HEIGHT, m - p * HEIGHT);
            long at = c.at + p * HEIGHT * c.ld + column;
            GemmTile.multiply(packedA, panelsA + (p - r) * PITCH_A, packedB, panelB, length, tile);
            merge(tile, rows, columns, overwrite, added, column, c.segment, at, c.ld);
        }
    }

    private static void merge(
            float[] tile,
            int rows,
            int columns,
            boolean overwrite,
            MemorySegment bias,
            int column,
            MemorySegment c,
            long at,
            long ld) {
        if (columns < WIDTH) {
            mergeEdge(tile, rows, columns, overwrite, bias, column, c, at, ld);
        } else if (!overwrite) {
            mergeAdded(tile, rows, c, at, ld);
        } else if (bias == null) {
            mergeStored(tile, rows, c, at, ld);
        } else {
            mergeBiased(tile, rows, load(bias, column), load(bias, column + LANES), c, at, ld);
        }
    }

    private static void mergeAdded(float[] tile, int rows, MemorySegment c, long at, long ld) {
        for (int r = 0; r < rows; r++) {
            long o = at + r * ld;
            FloatVector a = FloatVector.fromArray(F, tile, r * WIDTH).add(load(c, o));
            FloatVector b = FloatVector.fromArray(F, tile, r * WIDTH + LANES).add(load(c, o + LANES));
            store(a, c, o);
            store(b, c, o + LANES);
        }
    }

    private static void mergeStored(float[] tile, int rows, MemorySegment c, long at, long ld) {
        for (int r = 0; r < rows; r++) {
            long o = at + r * ld;
            store(FloatVector.fromArray(F, tile, r * WIDTH), c, o);
            store(FloatVector.fromArray(F, tile, r * WIDTH + LANES), c, o + LANES);
        }
    }

    private static void mergeBiased(
            float[] tile, int rows, FloatVector low, FloatVector high, MemorySegment c, long at, long ld) {
        for (int r = 0; r < rows; r++) {
            long o = at + r * ld;
            store(FloatVector.fromArray(F, tile, r * WIDTH).add(low), c, o);
            store(FloatVector.fromArray(F, tile, r * WIDTH + LANES).add(high), c, o + LANES);
        }
    }

    private static void mergeEdge(
            float[] tile,
            int rows,
            int columns,
            boolean overwrite,
            MemorySegment bias,
            int column,
            MemorySegment c,
            long at,
            long ld) {
        for (int r = 0; r < rows; r++) {
            for (int j = 0; j < columns; j++) {
                float v = tile[r * WIDTH + j];
                if (!overwrite) {
                    v += c.get(FLOAT, (at + r * ld + j) * 4);
                }
                if (bias != null) {
                    v += bias.get(FLOAT, (long) (column + j) * 4);
                }
                c.set(FLOAT, (at + r * ld + j) * 4, v);
            }
        }
    }

    private void packA(int block, int panel, int count, float[] into, int to, float[] square) {
        int from = block * depth;
        int length = depthOf(block);
        int row = panel * HEIGHT;
        if (a.transposed) {
            int rows = Math.min(count * HEIGHT, m - row);
            GemmPacking.rows(a.segment, a.at + from * a.ld + row, a.ld, length, rows, HEIGHT, into, to, PITCH_A);
            return;
        }
        for (int p = 0; p < count; p++) {
            int at = row + p * HEIGHT;
            int rows = Math.min(HEIGHT, m - at);
            GemmPacking.transposed(
                    a.segment, a.at + at * a.ld + from, a.ld, rows, length, HEIGHT, into, to + p * PITCH_A, square);
        }
    }

    private void packB(int block, int panel, int count, float[] into, int to, float[] square) {
        int from = block * depth;
        int length = depthOf(block);
        int column = panel * WIDTH;
        if (!b.transposed) {
            int columns = Math.min(count * WIDTH, n - column);
            GemmPacking.rows(b.segment, b.at + from * b.ld + column, b.ld, length, columns, WIDTH, into, to, PITCH_B);
            return;
        }
        for (int p = 0; p < count; p++) {
            int at = column + p * WIDTH;
            int columns = Math.min(WIDTH, n - at);
            GemmPacking.transposed(
                    b.segment, b.at + at * b.ld + from, b.ld, columns, length, WIDTH, into, to + p * PITCH_B, square);
        }
    }
}
