package ai.lram.backend.ops;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;

/**
 * A weight matrix stored in fewer bits than it is computed with, for the control step: half or a quarter of the bytes a step must read.
 * Only {@link MatmulOps#narrow} writes it; the order of the elements inside {@code data} is the engine's own.
 *
 * @param data (N, K): {@link DType#BF16}, or {@link DType#I8}, an element being data * scale of its row
 * @param scale (N) fp32; null for bf16
 */
public record NarrowWeight(Tensor data, Tensor scale) {
    public NarrowWeight {
        boolean bf16 = data.dtype() == DType.BF16 && scale == null;
        boolean int8 = data.dtype() == DType.I8 && scale != null && scale.size() == data.dim(0);
        if (data.rank() != 2 || !(bf16 || int8)) {
            throw new ShapeMismatchException(
                    "a narrow weight of " + data + " with scale " + scale,
                    "it is (N, K) in bf16 without a scale, or in int8 with a scale per row",
                    "allocate it by NarrowWeight.allocate");
        }
    }

    /** An empty one for weights (n, k). */
    public static NarrowWeight allocate(TensorArena arena, DType type, int n, int k) {
        return new NarrowWeight(arena.allocate(type, n, k), type == DType.I8 ? arena.f32(n) : null);
    }

    public int rows() {
        return data.dim(0);
    }

    public int columns() {
        return data.dim(1);
    }
}
