package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/**
 * Sums over the rows of a batch, one per column. The rows are cut into blocks of a size that depends on their number alone; each block has
 * a line of partial sums of its own, and the lines are added in order. So memory is read row after row, the sums do not depend on the
 * number of threads, and short partial sums keep their rounding error small.
 */
final class ColumnSums {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    /** Rows of a block are a multiple of this. */
    private static final int ROWS = 64;

    private static final int MOST_BLOCKS = 64;

    /** Sums added below which one thread does it. */
    private static final int INLINE = 65_536;

    private final int rows;
    private final int width;
    private final int blockRows;
    private final float[] partial;

    /** Adds rows {@code from} to {@code to - 1} to the line of partial sums that begins at {@code at}. */
    @FunctionalInterface
    interface Block {
        void add(int from, int to, float[] partial, int at);
    }

    /** @param width sums of a row */
    ColumnSums(int rows, int width) {
        this.rows = rows;
        this.width = width;
        int shortest = (rows + MOST_BLOCKS - 1) / MOST_BLOCKS;
        blockRows = Math.max(ROWS, (shortest + ROWS - 1) / ROWS * ROWS);
        partial = ThreadFloats.get(ThreadFloats.CALL, Math.toIntExact((long) blocks() * width));
    }

    private int blocks() {
        return (rows + blockRows - 1) / blockRows;
    }

    /** Runs {@code block} over all blocks of rows, side by side. */
    ColumnSums over(Workers workers, Block block) {
        workers.forRange(blocks(), 1, (from, to) -> {
            for (int b = from; b < to; b++) {
                Arrays.fill(partial, b * width, (b + 1) * width, 0f);
                block.add(b * blockRows, Math.min(rows, (b + 1) * blockRows), partial, b * width);
            }
        });
        return this;
    }

    /** sums += columns {@code first} to {@code first + n - 1} of the total. */
    void addTo(Workers workers, int first, int n, MemorySegment sums) {
        int strips = (n + LANES - 1) / LANES;
        int grain = Math.max(1, INLINE / (LANES * Math.max(1, blocks())));
        workers.forRange(strips, grain, (from, to) -> {
            for (int j = from * LANES; j < Math.min(n, to * LANES); j += LANES) {
                if (j + LANES <= n) {
                    store(load(sums, j).add(total(first + j)), sums, j);
                } else {
                    for (int i = j; i < n; i++) {
                        sums.set(FLOAT, 4L * i, sums.get(FLOAT, 4L * i) + total1(first + i));
                    }
                }
            }
        });
    }

    /** The sums of {@link VectorMath#LANES} columns from {@code column} on. */
    FloatVector total(int column) {
        FloatVector sum = FloatVector.zero(F);
        for (int b = 0, at = column; b < blocks(); b++, at += width) {
            sum = sum.add(FloatVector.fromArray(F, partial, at));
        }
        return sum;
    }

    private float total1(int column) {
        float sum = 0;
        for (int b = 0, at = column; b < blocks(); b++, at += width) {
            sum += partial[at];
        }
        return sum;
    }
}
