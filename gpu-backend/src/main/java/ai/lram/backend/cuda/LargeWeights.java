package ai.lram.backend.cuda;

import ai.lram.backend.DType;
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
        DType stored = data(w).dtype();
        Check.size(kernel, "weight", data(w), stored, data(w).size());
        if (w.full() != null) {
            Check.f32(kernel, "weight", w.full(), (long) n * k);
        }
        if (scale(w) != null) {
            Check.f32(kernel, "weight's scale", scale(w), n);
        }
        PackedWeight fp16 = w.full() != null ? null : w.packed().fp16();
        if (fp16 != null) {
            Check.size(
                    kernel,
                    "weight in fp16",
                    fp16.data(),
                    DType.F16,
                    fp16.data().size());
            Check.f32(kernel, "its scale", fp16.scale(), n);
        }
    }
}
