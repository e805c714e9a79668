package ai.lram.backend.ops;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/** Products with weight matrices; weights are stored (out, in) as in the published checkpoints. */
public interface MatmulOps {
    /** y[M,N] = act(x[M,K] w[N,K]^T + bias[N]); bias may be null. */
    void linear(Stream s, Tensor x, Tensor w, Tensor bias, Activation act, Tensor y);

    /** Whether {@link #pack} takes weights of that type. All engines take bf16 and int8. */
    default boolean packs(DType type) {
        return type == DType.BF16 || type == DType.I8;
    }

    /** Whether {@link #pack} writes {@link PackedWeight#fp16}, too. */
    default boolean packsTwice() {
        return false;
    }

    /**
     * Lays w (N, K) fp32 out in {@code out}, as it is or rounded: to the nearest bf16, ties to even; or to int8 with scale[n] =
     * max|w[n,:]| / 127, to the nearest of -127..127. Every w must be finite: {@code Backend.requireFinite} tells. Where {@code out} has fp16,
     * that is written, too, or it is refused ({@link #packsTwice}).
     */
    void pack(Stream s, Tensor w, PackedWeight out);

    /**
     * y[M,N] = act(x[M,K] w[N,K]^T + bias[N]) with the weights as they are stored, in fp32 arithmetic; bias may be null. Meant for the few rows
     * of a control step: once warm it leaves no garbage.
     */
    void linearPacked(Stream s, Tensor x, PackedWeight w, Tensor bias, Activation act, Tensor y);

    /** dx[M,K] = dy[M,N] w[N,K], or += where {@code accumulate}. */
    void linearBackwardInput(Stream s, Tensor dy, Tensor w, boolean accumulate, Tensor dx);

    /** dw[N,K] += dy[M,N]^T x[M,K]; dbias[N] += column sums of dy; dbias may be null. */
    void linearBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw, Tensor dbias);

    /**
     * Head-wise (block-diagonal) product: y[M, g*DO + o] = sum_d w[g,o,d] x[M, g*DI + d] + bias[g*DO + o] for each group g.
     * w is (G, DO, DI); x (M, G*DI); y (M, G*DO); bias may be null.
     */
    void headwise(Stream s, Tensor x, Tensor w, Tensor bias, Tensor y);

    /** dx[M, g*DI + d] = sum_o dy[M, g*DO + o] w[g,o,d], or += where {@code accumulate}. */
    void headwiseBackwardInput(Stream s, Tensor dy, Tensor w, boolean accumulate, Tensor dx);

    /** dw[g,o,d] += sum_M dy[M, g*DO + o] x[M, g*DI + d]; dbias += column sums; dbias may be null. */
    void headwiseBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw, Tensor dbias);
}
