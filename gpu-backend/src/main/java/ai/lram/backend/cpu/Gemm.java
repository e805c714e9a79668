package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.GemmTile.DEPTH;
import static ai.lram.backend.cpu.GemmTile.HEIGHT;
import static ai.lram.backend.cpu.GemmTile.ROW_STRIDE;
import static ai.lram.backend.cpu.GemmTile.WIDTH;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/**
 * Products of large matrices: C (m, n) = A B or += A B, all row-major with rows any distance apart, A and B plain or transposed. Panels of B are packed once
 * for all threads, panels of A by each thread for the rows of C it owns. Every element of C is summed over ascending depth in blocks of
 * {@link GemmTile#DEPTH}, whatever the number of threads.
 */
final class Gemm {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    /** Floats of packed B at a time. */
    private static final int PACKED = 1 << 21;

    /** Panels of A that a thread keeps packed: they stay in the second-level cache. */
    private static final int PANELS = LANES == 8 ? 24 : 12;

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
        int blocks = Math.max(1, (k + DEPTH - 1) / DEPTH);
        int panels = (n + WIDTH - 1) / WIDTH;
        int blocksAtOnce = Math.max(1, Math.min(blocks, 8));
        int panelsAtOnce = Math.max(1, Math.min(panels, PACKED / (blocksAtOnce * DEPTH * WIDTH)));
        float[] packed = Staging.own().packedB(blocksAtOnce * panelsAtOnce * DEPTH * WIDTH);
        for (int block = 0; block < blocks; block += blocksAtOnce) {
            int blockCount = Math.min(blocksAtOnce, blocks - block);
            for (int panel = 0; panel < panels; panel += panelsAtOnce) {
                packAndMultiply(packed, block, blockCount, panel, Math.min(panelsAtOnce, panels - panel), inline);
            }
        }
    }

    private void packAndMultiply(
            float[] packed, int firstBlock, int blocks, int firstPanel, int panels, boolean inline) {
        int units = blocks * panels;
        workers.forRange(units, inline ? units : Math.max(1, units / (4 * workers.threads())), (from, to) -> {
            for (int u = from; u < to; u++) {
                packB(firstBlock + u / panels, firstPanel + u % panels, packed, u * DEPTH * WIDTH);
            }
        });
        int rowPanels = (m + HEIGHT - 1) / HEIGHT;
        int perChunk = inline ? PANELS : Math.max(1, Math.min(PANELS, rowPanels / (2 * workers.threads())));
        int rowChunks = (rowPanels + perChunk - 1) / perChunk;
        int columnChunks = inline || rowChunks >= 2 * workers.threads() ? 1 : Math.min(panels, 2 * workers.threads());
        int perColumnChunk = (panels + columnChunks - 1) / columnChunks;
        int tasks = rowChunks * columnChunks;
        workers.forRange(tasks, inline ? tasks : 1, (from, to) -> {
            Staging staging = Staging.own();
            float[] packedA = staging.packedA(PANELS * HEIGHT * ROW_STRIDE + 2 * LANES);
            float[] tile = staging.tile;
            for (int t = from; t < to; t++) {
                int r = t / columnChunks * perChunk;
                int q = t % columnChunks * perColumnChunk;
                int qEnd = Math.min(panels, q + perColumnChunk);
                for (int block = 0; block < blocks; block++) {
                    int at = block * panels * DEPTH * WIDTH;
                    int rEnd = Math.min(rowPanels, r + perChunk);
                    chunk(packedA, packed, at, tile, firstBlock + block, r, rEnd, firstPanel, q, qEnd);
                }
            }
        });
    }

    /** Row panels {@code r} to {@code rEnd} times column panels {@code q} to {@code qEnd}, one block of the depth. */
    private void chunk(
            float[] packedA,
            float[] packedB,
            int packedAt,
            float[] tile,
            int block,
            int r,
            int rEnd,
            int firstPanel,
            int q,
            int qEnd) {
        int depth = Math.min(DEPTH, k - block * DEPTH);
        for (int p = r; p < rEnd; p++) {
            packA(block, p, packedA, (p - r) * HEIGHT * ROW_STRIDE);
        }
        for (int j = q; j < qEnd; j++) {
            int panelB = packedAt + j * DEPTH * WIDTH;
            int column = (firstPanel + j) * WIDTH;
            int columns = Math.min(WIDTH, n - column);
            for (int p = r; p < rEnd; p++) {
                int panelA = (p - r) * HEIGHT * ROW_STRIDE;
                int row = p * HEIGHT;
                int rows = Math.min(HEIGHT, m - row);
                long at = c.at + row * c.ld + column;
                if (a.transposed) {
                    GemmTile.depthMajor(packedA, panelA, packedB, panelB, depth, tile);
                } else {
                    GemmTile.rowMajor(packedA, panelA, packedB, panelB, depth, tile);
                }
                merge(
                        tile,
                        rows,
                        columns,
                        block == 0 && !accumulate,
                        block == 0 ? bias : null,
                        column,
                        c.segment,
                        at,
                        c.ld);
            }
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
        if (columns == WIDTH) {
            for (int r = 0; r < rows; r++) {
                for (int j = 0; j < WIDTH; j += LANES) {
                    FloatVector v = FloatVector.fromArray(F, tile, r * WIDTH + j);
                    if (!overwrite) {
                        v = v.add(load(c, at + r * ld + j));
                    }
                    if (bias != null) {
                        v = v.add(load(bias, column + j));
                    }
                    store(v, c, at + r * ld + j);
                }
            }
            return;
        }
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

    private void packA(int block, int panel, float[] into, int to) {
        int row = panel * HEIGHT;
        int rows = Math.min(HEIGHT, m - row);
        int from = block * DEPTH;
        int depth = Math.min(DEPTH, k - from);
        if (a.transposed) {
            for (int j = 0; j < HEIGHT; j += LANES) {
                packColumns(a.segment, a.at + from * a.ld + row + j, a.ld, depth, rows - j, into, to + j, HEIGHT);
            }
        } else {
            for (int r = 0; r < rows; r++) {
                packRow(a.segment, a.at + (row + r) * a.ld + from, depth, into, to + r * ROW_STRIDE);
            }
        }
    }

    private void packB(int block, int panel, float[] into, int to) {
        int column = panel * WIDTH;
        int columns = Math.min(WIDTH, n - column);
        int from = block * DEPTH;
        int depth = Math.min(DEPTH, k - from);
        if (b.transposed) {
            for (int j = 0; j < columns; j++) {
                packTransposed(b.segment, b.at + (column + j) * b.ld + from, depth, into, to + j);
            }
        } else {
            long at = b.at + from * b.ld + column;
            packColumns(b.segment, at, b.ld, depth, columns, into, to, WIDTH);
            packColumns(b.segment, at + LANES, b.ld, depth, columns - LANES, into, to + LANES, WIDTH);
        }
    }

    private static void packRow(MemorySegment x, long at, int depth, float[] into, int to) {
        int i = 0;
        for (; i <= depth - LANES; i += LANES) {
            load(x, at + i).intoArray(into, to + i);
        }
        for (; i < depth; i++) {
            into[to + i] = x.get(FLOAT, (at + i) * 4);
        }
    }

    /** One vector of columns for each row; lanes beyond {@code columns} are zero. */
    private static void packColumns(
            MemorySegment x, long at, long ld, int depth, int columns, float[] into, int to, int stride) {
        if (columns >= LANES) {
            for (int i = 0; i < depth; i++) {
                load(x, at + i * ld).intoArray(into, to + i * stride);
            }
        } else if (columns > 0) {
            VectorMask<Float> lanes = F.indexInRange(0, columns);
            for (int i = 0; i < depth; i++) {
                load(x, at + i * ld, lanes).intoArray(into, to + i * stride);
            }
        }
    }

    private static void packTransposed(MemorySegment x, long at, int depth, float[] into, int to) {
        for (int i = 0; i < depth; i++) {
            into[to + i * WIDTH] = x.get(FLOAT, (at + i) * 4);
        }
    }
}
