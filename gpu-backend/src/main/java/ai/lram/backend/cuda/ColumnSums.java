package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;

/**
 * Sums over rows in two kernels: blocks of 32 columns and a share of the rows leave fp64 partial sums, a second kernel adds them in order.
 * How many shares there are depends on the sizes alone, so the same inputs give the same bits.
 */
final class ColumnSums {
    /** Rows that are worth a block of their own. */
    private static final int ROWS_PER_SHARE = 128;

    private static final int MOST_SHARES = 64;
    private static final int COLUMNS = 32;

    private final Engine engine;
    private final Kernel plain;
    private final Kernel finish;

    ColumnSums(Engine engine, KernelModule elementwise) {
        this.engine = engine;
        plain = elementwise.kernel("column_sums");
        finish = elementwise.kernel("finish_columns");
    }

    /** Shares of the rows for that many columns of partial sums. @throws UnsupportedKernelException if they do not fit the work space */
    static int shares(String kernel, long rows, long columns) {
        long room = Engine.WORKSPACE / Double.BYTES / Math.max(1, columns);
        if (room < 1) {
            throw new UnsupportedKernelException(
                    kernel + " on CUDA: sums of " + columns + " columns",
                    "the work space holds " + Engine.WORKSPACE / Double.BYTES,
                    "use smaller sizes, or choose device=cpu");
        }
        return (int) Math.max(1, Math.min(Math.min(room, MOST_SHARES), rows / ROWS_PER_SHARE));
    }

    /** Blocks along the columns. */
    static long blocks(long columns) {
        return (columns + COLUMNS - 1) / COLUMNS;
    }

    /** sums[j] += partial sums of column j. */
    void finish(int shares, long columns, Tensor sums) {
        engine.launch(finish)
                .put(engine.partials())
                .put(sums)
                .put(columns)
                .put(shares)
                .run(engine.blocks(columns));
    }

    /** sums[width] += column sums of x [rows, width]. */
    void add(String kernel, Tensor x, int rows, int width, Tensor sums) {
        int shares = shares(kernel, rows, width);
        engine.launch(plain)
                .put(x)
                .put(engine.partials())
                .put(rows)
                .put(width)
                .run(blocks(width), shares, 1, Engine.THREADS, 0);
        finish(shares, width, sums);
    }
}
