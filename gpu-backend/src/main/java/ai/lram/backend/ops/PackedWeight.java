package ai.lram.backend.ops;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;

/**
 * A weight matrix (N, K) laid out for the control step, in the order in which few rows of x read it: in fewer bits, half or a quarter of the
 * bytes, or in fp32 where the engine says so ({@link MatmulOps#packs}). Only {@link MatmulOps#pack} writes it; the order of the elements inside {@code data} is the engine's own.
 *
 * @param rows N
 * @param data (N rounded up to a multiple of {@link #TILE}, K): {@link DType#F32}, {@link DType#BF16}, or {@link DType#I8} or
 *     {@link DType#F16}, an element being data * scale of its row
 * @param scale (N) fp32; null unless int8, or fp16, which has powers of two
 * @param fp16 bf16 weights once more, as the kernels of many sessions read them; null where nobody does ({@link SessionOps#readsFp16}). Weights
 *     below 2^-31 of their row's largest differ by up to 2^-39 of that, all others by nothing
 */
public record PackedWeight(int rows, Tensor data, Tensor scale, PackedWeight fp16) {
    /** Rows that are stored together. */
    public static final int TILE = 64;

    public PackedWeight {
        boolean plain = (data.dtype() == DType.F32 || data.dtype() == DType.BF16) && scale == null;
        boolean scaled = hasScale(data.dtype()) && scale != null && scale.size() == rows;
        boolean twice = fp16 == null
                || data.dtype() == DType.BF16
                        && fp16.data().dtype() == DType.F16
                        && fp16.rows() == rows
                        && fp16.columns() == data.dim(1);
        if (data.rank() != 2 || rows < 1 || data.dim(0) != padded(rows) || !(plain || scaled) || !twice) {
            throw new ShapeMismatchException(
                    "a packed weight of " + rows + " rows in " + data + " with scale " + scale + " and once more "
                            + fp16,
                    "it is (N rounded up to " + TILE
                            + ", K) in fp32 or bf16 without a scale, or in int8 or fp16 with a scale per row; once more"
                            + " in fp16 is bf16 alone",
                    "allocate it by PackedWeight.allocate");
        }
    }

    public PackedWeight(int rows, Tensor data, Tensor scale) {
        this(rows, data, scale, null);
    }

    /** An empty one for weights (n, k). */
    public static PackedWeight allocate(TensorArena arena, DType type, int n, int k) {
        return new PackedWeight(n, arena.allocate(type, padded(n), k), hasScale(type) ? arena.f32(n) : null);
    }

    /** An empty one for weights (n, k) in bf16 and once more in fp16. */
    public static PackedWeight allocateTwice(TensorArena arena, int n, int k) {
        PackedWeight fp16 = allocate(arena, DType.F16, n, k);
        return new PackedWeight(n, arena.allocate(DType.BF16, padded(n), k), null, fp16);
    }

    /**
     * The {@code n} rows from {@code first} on, in the same memory.
     *
     * @param first a multiple of {@value #TILE}
     * @param n one, too, unless they are the last
     */
    public PackedWeight part(int first, int n) {
        if (first < 0 || n < 1 || n > rows - first || first % TILE != 0 || n % TILE != 0 && first + n != rows) {
            throw new ShapeMismatchException(
                    "rows " + first + " to " + (first + n - 1L) + " of a packed weight of " + rows,
                    TILE + " rows are stored together",
                    "begin and end at multiples of " + TILE);
        }
        return new PackedWeight(
                n,
                data.slice(first, padded(n)),
                scale == null ? null : scale.slice(first, n),
                fp16 == null ? null : fp16.part(first, n));
    }

    private static boolean hasScale(DType type) {
        return type == DType.I8 || type == DType.F16;
    }

    private static int padded(int n) {
        return (n + TILE - 1) / TILE * TILE;
    }

    public int columns() {
        return data.dim(1);
    }
}
