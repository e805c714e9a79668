package ai.lram.backend.ops;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;

/**
 * A large weight matrix (N, K) as the control step reads it: the model's own fp32 tensor, or a copy in the engine's order.
 *
 * @param full fp32 (N, K); null if there is a packed one
 * @param packed null if the model's own is read
 */
public record StepWeight(Tensor full, PackedWeight packed) {
    public StepWeight {
        if ((full == null) == (packed == null)) {
            throw new IllegalArgumentException(
                    "a step weight is either a tensor or a packed weight, got full=" + full + " packed=" + packed);
        }
    }

    public static StepWeight of(Tensor full) {
        return new StepWeight(full, null);
    }

    public static StepWeight of(PackedWeight packed) {
        return new StepWeight(null, packed);
    }

    /** A weight as {@code type} stores it: itself in F32, else a copy that is made on {@code s} in memory of {@code arena}. */
    public static StepWeight of(Tensor full, DType type, TensorArena arena, MatmulOps ops, Stream s) {
        if (type == DType.F32) {
            return of(full);
        }
        return copy(full, type, arena, ops, s);
    }

    /** A copy of a weight in the engine's order as {@code type} stores it, made on {@code s} in memory of {@code arena}. */
    public static StepWeight copy(Tensor full, DType type, TensorArena arena, MatmulOps ops, Stream s) {
        PackedWeight packed = PackedWeight.allocate(arena, type, full.dim(0), full.dim(1));
        ops.pack(s, full, packed);
        return of(packed);
    }

    /** A copy in bf16 and once more in fp16: {@link PackedWeight#fp16}. */
    public static StepWeight copyTwice(Tensor full, TensorArena arena, MatmulOps ops, Stream s) {
        PackedWeight packed = PackedWeight.allocateTwice(arena, full.dim(0), full.dim(1));
        ops.pack(s, full, packed);
        return of(packed);
    }

    /** Rows in the same memory, where {@link PackedWeight#part} has them if it is packed. */
    public StepWeight part(int first, int n) {
        return full != null ? of(full.slice(first, n)) : of(packed.part(first, n));
    }

    /** N. */
    public int rows() {
        return full != null ? full.dim(0) : packed.rows();
    }

    /** K. */
    public int columns() {
        return full != null ? full.dim(1) : packed.columns();
    }

    /** y[M,N] = x[M,K] w^T + bias[N]; bias may be null. */
    public void linear(MatmulOps ops, Stream s, Tensor x, Tensor bias, Tensor y) {
        linear(ops, s, x, bias, Activation.NONE, y);
    }

    /** y[M,N] = act(x[M,K] w^T + bias[N]); bias may be null. */
    public void linear(MatmulOps ops, Stream s, Tensor x, Tensor bias, Activation act, Tensor y) {
        if (full != null) {
            ops.linear(s, x, full, bias, act, y);
        } else {
            ops.linearPacked(s, x, packed, bias, act, y);
        }
    }
}
