package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.EmbeddingOps;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.VectorMask;

/** Rows of a table. */
final class CpuEmbedding implements EmbeddingOps {
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;

    /** Elements below which a call stays on its thread. */
    private static final long INLINE = 32_768;

    /** Columns of one piece of a table's gradient. */
    private static final int STRIP = 4 * LANES;

    private final Workers workers;

    CpuEmbedding(Workers workers) {
        this.workers = workers;
    }

    @Override
    public void lookup(Stream s, Tensor ids, Tensor table, Tensor y) {
        int rows = check("lookup", ids, table, "y", y);
        int width = width(rows, y);
        if (y.size() <= INLINE) {
            lookupRows(ids.segment(), table.segment(), width, y.segment(), 0, rows);
        } else {
            lookupSplit(workers, rows, ids.segment(), table.segment(), width, y.segment());
        }
    }

    private static int width(int rows, Tensor y) {
        return rows == 0 ? 0 : (int) (y.size() / rows);
    }

    /** Returns the number of rows. */
    private static int check(String kernel, Tensor ids, Tensor table, String name, Tensor y) {
        Check.size(kernel, "ids", ids, DType.I32, ids == null ? 1 : ids.size());
        Check.f32(kernel, "table", table, table == null ? 1 : table.size());
        int rows = Math.toIntExact(ids.size());
        Check.f32(kernel, name, y, y == null ? rows : y.size());
        if (!(rows == 0 ? y.size() == 0 : y.size() % rows == 0 && y.size() > 0)) {
            throw new ShapeMismatchException(
                    kernel + ": " + name + " is " + y, "there are " + rows + " ids", "pass one row for each id");
        }
        if (rows == 0) {
            return 0;
        }
        long width = y.size() / rows;
        if (!(table.size() % width == 0 && width <= Integer.MAX_VALUE)) {
            throw new ShapeMismatchException(
                    kernel + ": table is " + table,
                    "its size is no multiple of the " + width + " columns of " + name,
                    "pass a table as wide as " + name);
        }
        long vocabulary = table.size() / width;
        MemorySegment i = ids.segment();
        for (int m = 0; m < rows; m++) {
            int id = i.get(INT, 4L * m);
            if (id < 0 || id >= vocabulary) {
                throw new ShapeMismatchException(
                        kernel + ": id " + id + " at position " + m,
                        "the table has rows 0.." + (vocabulary - 1),
                        "check the tokeniser or the table's size");
            }
        }
        return rows;
    }

    private static void lookupSplit(
            Workers workers, int rows, MemorySegment ids, MemorySegment table, int width, MemorySegment y) {
        int grain = (int) Math.max(1, INLINE / 2 / width);
        workers.forRange(rows, grain, (from, to) -> lookupRows(ids, table, width, y, from, to));
    }

    private static void lookupRows(
            MemorySegment ids, MemorySegment table, int width, MemorySegment y, int from, int to) {
        for (int m = from; m < to; m++) {
            long bytes = 4L * width;
            MemorySegment.copy(table, ids.get(INT, 4L * m) * bytes, y, m * bytes, bytes);
        }
    }

    @Override
    public void lookupBackward(Stream s, Tensor ids, Tensor dy, Tensor dtable) {
        int rows = check("lookupBackward", ids, dtable, "dy", dy);
        if (rows > 0) {
            scatter(workers, rows, ids.segment(), dy.segment(), width(rows, dy), dtable.segment());
        }
    }

    /** Rows of one id meet in one table row, so the work is split by columns. */
    private static void scatter(
            Workers workers, int rows, MemorySegment ids, MemorySegment dy, int width, MemorySegment dtable) {
        int grain = (int) Math.max(1, INLINE / ((long) rows * STRIP));
        workers.forRange((width + STRIP - 1) / STRIP, grain, (from, to) -> {
            int end = Math.min(width, to * STRIP);
            for (int m = 0; m < rows; m++) {
                addRow(dy, (long) m * width, dtable, (long) ids.get(INT, 4L * m) * width, from * STRIP, end);
            }
        });
    }

    private static void addRow(MemorySegment dy, long at, MemorySegment dtable, long row, int from, int to) {
        int j = from;
        for (; j <= to - LANES; j += LANES) {
            store(load(dtable, row + j).add(load(dy, at + j)), dtable, row + j);
        }
        if (j < to) {
            VectorMask<Float> rest = F.indexInRange(j, to);
            store(load(dtable, row + j, rest).add(load(dy, at + j, rest)), dtable, row + j, rest);
        }
    }
}
