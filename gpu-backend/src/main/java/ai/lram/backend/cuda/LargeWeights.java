package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.PackedWeight;
import ai.lram.backend.ops.StepWeight;

/** Large matrices of the control step as its kernels take them: elements, and for int8 a scale per row. */
final class LargeWeights {
    private LargeWeights() {}

    /** 0 for fp32, 1 for bf16, 2 for int8. */
    static int type(StepWeight w) {
        return switch (data(w).dtype()) {
            case BF16 -> 1;
            case I8 -> 2;
            case F32 -> 0;
            default ->
                throw new UnsupportedKernelException(
                        "control step on CUDA: weights of " + data(w).dtype(),
                        "its kernels take F32, BF16 and I8",
                        "pack the weights as one of these");
        };
    }

    static Tensor data(StepWeight w) {
        return w.full() != null ? w.full() : w.packed().data();
    }

    /** Null but for int8. */
    static Tensor scale(StepWeight w) {
        return w.full() != null ? null : w.packed().scale();
    }

    /** Of (n, k). Packed rows are padded: there the number of rows counts, not the size. */
    static void check(String kernel, StepWeight w, int n, int k) {
        if (w.rows() != n || w.columns() != k) {
            throw Check.mismatch(
                    kernel + ": the weight is (" + w.rows() + ", " + w.columns() + ")",
                    "the other arguments need (" + n + ", " + k + ")",
                    "pass weights of one model");
        }
        if (w.full() != null) {
            Check.f32(kernel, "weight", w.full(), (long) n * k);
            return;
        }
        check(kernel, w.packed(), n);
        if (w.packed().fp16() != null) {
            check(kernel, w.packed().fp16(), n);
        }
    }

    private static void check(String kernel, PackedWeight w, int n) {
        Check.size(kernel, "weight", w.data(), w.data().dtype(), w.data().size());
        if (w.scale() != null) {
            Check.f32(kernel, "weight's scale", w.scale(), n);
        }
    }
}
