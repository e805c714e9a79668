package ai.lram.backend.cpu;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.HeadMemory;
import ai.lram.backend.ops.HeadWeights;
import ai.lram.backend.ops.StepChoice;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** {@link StepChoice} on the calling thread: a few hundred logits a row. */
final class Choices {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;

    private Choices() {}

    /** Before anything is written. */
    static void check(HeadWeights w, HeadMemory m, StepChoice c) {
        String kernel = "session.decide";
        int rows = c.rows();
        if (m.x().dim(0) != rows || (long) c.dims() * c.logits() != w.logits()) {
            Check.that(
                    false,
                    kernel + ": " + c.dims() + " dimensions of " + c.logits() + " logits for " + rows + " rows",
                    "the head has " + w.logits() + " logits for " + m.x().dim(0) + " rows",
                    "make the choice for this head and batch");
        }
        Check.size(kernel, "slots", c.slots(), DType.I32, rows);
        Check.size(kernel, "ranges", c.ranges(), DType.I32, 2L * c.pool());
        Check.f32(kernel, "values", c.values(), c.logits());
        Check.size(kernel, "chosen", c.chosen(), DType.I32, (long) rows * c.dims());
        Check.f32(kernel, "numbers", c.numbers(), (long) rows * c.dims());
        for (int row = 0; row < rows; row++) {
            int slot = c.slots().getInt(row);
            if (slot < 0 || slot >= c.pool()) {
                Check.that(
                        false,
                        kernel + ": row " + row + " has slot " + slot,
                        "the pool has slots 0.." + (c.pool() - 1),
                        "name slots of the pool");
            }
        }
    }

    static void choose(Tensor logits, StepChoice c) {
        int dims = c.dims();
        int size = c.logits();
        MemorySegment all = logits.segment();
        MemorySegment values = c.values().segment();
        for (int row = 0; row < c.rows(); row++) {
            int slot = c.slots().getInt(row);
            int from = c.ranges().getInt(2L * slot);
            int to = c.ranges().getInt(2L * slot + 1);
            boolean sound = from >= 0 && from < to && to <= size;
            for (int dim = 0; dim < dims; dim++) {
                long unit = (long) row * dims + dim;
                int chosen = sound ? largest(all, unit * size, from, to) : -1;
                float number = Float.NaN;
                if (chosen >= 0) {
                    number = c.mean()
                            ? mean(all, unit * size, values, from, to, all.getAtIndex(FLOAT, unit * size + chosen))
                            : values.getAtIndex(FLOAT, chosen);
                }
                c.chosen().setInt(unit, chosen);
                c.numbers().set(unit, number);
            }
        }
    }

    /** @return -1 where one is not finite */
    private static int largest(MemorySegment all, long at, int from, int to) {
        int best = from;
        float most = Float.NEGATIVE_INFINITY;
        for (int i = from; i < to; i++) {
            float x = all.getAtIndex(FLOAT, at + i);
            if (!Float.isFinite(x)) {
                return -1;
            }
            if (x > most) {
                most = x;
                best = i;
            }
        }
        return best;
    }

    private static float mean(MemorySegment all, long at, MemorySegment values, int from, int to, float most) {
        double weight = 0;
        double sum = 0;
        for (int i = from; i < to; i++) {
            double e = Math.exp(all.getAtIndex(FLOAT, at + i) - most);
            weight += e;
            sum += e * values.getAtIndex(FLOAT, i);
        }
        return (float) (sum / weight);
    }
}
