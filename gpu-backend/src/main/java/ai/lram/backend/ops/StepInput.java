package ai.lram.backend.ops;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import java.util.ArrayList;
import java.util.List;

/**
 * What the B rows of a control step bring, in one block of memory: a vector for each of their T tokens, and each row's slot and count.
 *
 * @param block all of it, F32
 * @param vectors of token t: (B, K_t) F32
 * @param slots (B) I32
 * @param counts (B) I32, tokens of each row
 */
public record StepInput(Tensor block, List<Tensor> vectors, Tensor slots, Tensor counts) {
    /** Parts begin at multiples of this many bytes. */
    private static final int ALIGNMENT = 64;

    public StepInput {
        vectors = List.copyOf(vectors);
    }

    private static long padded(long bytes) {
        return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    /** Floats of the block for {@code rows} rows whose tokens' vectors are so wide. */
    public static int floats(int rows, int... widths) {
        long bytes = 2 * padded((long) Integer.BYTES * rows);
        for (int width : widths) {
            bytes += padded((long) Float.BYTES * rows * width);
        }
        return Math.toIntExact(bytes / Float.BYTES);
    }

    /** Laid out at the beginning of {@code memory}, which is F32 and may be longer. */
    public static StepInput in(Tensor memory, int rows, int... widths) {
        long at = 0;
        List<Tensor> vectors = new ArrayList<>();
        for (int width : widths) {
            Tensor vector = memory.carve(DType.F32, at, rows, width);
            vectors.add(vector);
            at += padded(vector.bytes());
        }
        Tensor slots = memory.carve(DType.I32, at, rows);
        Tensor counts = memory.carve(DType.I32, at + padded(slots.bytes()), rows);
        return new StepInput(memory.carve(DType.F32, 0, floats(rows, widths)), vectors, slots, counts);
    }

    /** B. */
    public int rows() {
        return slots.dim(0);
    }
}
