package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/**
 * Kernels of a training step in mixed precision: what passes between layers is BF16, arithmetic, statistics, gates, the residual stream
 * and every gradient of a parameter are fp32. Results are rounded to the nearest BF16, ties to even; gradients are those of the function
 * without rounding.
 *
 * <p>Kernels are fused where the plain ones would read memory again: their inputs are read once, their outputs written once. For engines
 * without them every method throws {@link ai.lram.backend.UnsupportedKernelException}: train in fp32 there. Tensors start at multiples of
 * 16 bytes, as an arena's do.
 */
public interface MixedOps {
    /** Whether this engine has these kernels. */
    boolean supported();

    /** Whether {@link #norm} takes rows of that width. */
    boolean normFits(int width);

    /** Whether the kernels of the mLSTM block take that inner width and number of heads. */
    boolean blockFits(int inner, int heads);

    /** y (BF16) = x (F32). */
    void narrow(Stream s, Tensor x, Tensor y);

    /** y (F32) = x (BF16). */
    void widen(Stream s, Tensor x, Tensor y);

    /** y = a + b, all BF16; y may be one of them. */
    void add(Stream s, Tensor a, Tensor b, Tensor y);

    /**
     * y[M,N] = x[M,K] w[N,K]^T + bias[N] + residual[M,N]. x, w BF16; bias F32 may be null; y BF16 or F32; residual F32 may be null and
     * needs y in F32; K and N are multiples of 8.
     */
    void linear(Stream s, Tensor x, Tensor w, Tensor bias, Tensor residual, Tensor y);

    /** dx[M,K] = dy[M,N] w[N,K]; dy, w BF16; dx BF16 or F32. */
    void linearBackwardInput(Stream s, Tensor dy, Tensor w, Tensor dx);

    /** dw[N,K] += dy[M,N]^T x[M,K]; dy, x BF16; dw F32. */
    void linearBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw);

    /** sums[N] += column sums of x[M,N], all F32: the gradient of a bias. */
    void addColumns(Stream s, Tensor x, Tensor sums);

    /**
     * As {@link NormOps#forward} with one group: x [M,N] F32, y [M,N] BF16, weight and bias [N], bias may be null; mean and rstd [M] are
     * written, mean as 0 where the spec does not centre. N is a multiple of 4, at most 1536.
     */
    void norm(Stream s, NormSpec spec, Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor mean, Tensor rstd);

    /**
     * dx[M,N] (F32) = the gradient of {@link #norm} + past, the gradient that reaches x on other ways, F32, may be null; narrow (BF16, may
     * be null) receives the same. dy BF16; dweight[N] and dbias[N] (may be null) are added to.
     */
    void normBackward(
            Stream s,
            NormSpec spec,
            Tensor dy,
            Tensor x,
            Tensor weight,
            Tensor mean,
            Tensor rstd,
            Tensor past,
            Tensor dx,
            Tensor narrow,
            Tensor dweight,
            Tensor dbias);

    /**
     * Parameters of the middle of the original mLSTM block, all F32, or their gradients. I = inner width.
     *
     * @param conv (I, 1, 4) or (I, 4)
     * @param convBias (I)
     * @param q (I/4, 4, 4), block-diagonal, as k and v
     * @param inputGate (NH, 3I)
     * @param inputGateBias (NH)
     * @param forgetGate (NH, 3I)
     * @param forgetGateBias (NH)
     */
    record BlockWeights(
            Tensor conv,
            Tensor convBias,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor inputGate,
            Tensor inputGateBias,
            Tensor forgetGate,
            Tensor forgetGateBias) {}

    /**
     * c = silu(conv(u)); q, k = Wq c, Wk c; v = Wv u; i, f = the gates of q, k and v, before these are rounded.
     *
     * @param uz (B, S, 2I) BF16: u is the first half of every row
     * @param history (B, 3, I) F32, inputs of the convolution before the first token, oldest first; may be null for zeros
     * @param c (B, S, I) BF16, as q, k and v
     * @param i (B, S, NH) F32, pre-activations, as f
     * @see "Beck et al. 2024, xLSTM, arXiv:2405.04517, Fig. 11"
     */
    void convQkv(
            Stream s,
            Tensor uz,
            BlockWeights w,
            Tensor history,
            Tensor c,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f);

    /**
     * Given dq, dk, dv, dc (BF16; dc: what reaches c on other ways) and di, df (F32), writes the first half of every row of duz (BF16) and
     * adds to the gradients of the weights.
     */
    void convQkvBackward(
            Stream s,
            Tensor uz,
            BlockWeights w,
            Tensor history,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor di,
            Tensor df,
            Tensor dc,
            Tensor duz,
            BlockWeights dw);

    /** Moves the last three rows of u into history (B, 3, I) F32, whose own rows move up where there are fewer. */
    void carryHistory(Stream s, Tensor uz, Tensor history);

    /**
     * y = (norm(h) + skip * c) * silu(z), the norm one group a head. h, c, y (M, I) BF16; z: second half of every row of uz (M, 2I) BF16;
     * weight, skip (I) F32; mean, rstd (M, NH) are written.
     */
    void headGate(
            Stream s,
            NormSpec spec,
            Tensor h,
            Tensor c,
            Tensor uz,
            Tensor weight,
            Tensor skip,
            Tensor y,
            Tensor mean,
            Tensor rstd);

    /** dh and dc are written, and the second half of every row of duz; dweight and dskip are added to. */
    void headGateBackward(
            Stream s,
            NormSpec spec,
            Tensor h,
            Tensor c,
            Tensor uz,
            Tensor weight,
            Tensor skip,
            Tensor mean,
            Tensor rstd,
            Tensor dy,
            Tensor dh,
            Tensor dc,
            Tensor duz,
            Tensor dweight,
            Tensor dskip);

    /**
     * {@link OptimizerOps#adamW}, and copy (BF16) receives the new parameters.
     */
    void adamW(
            Stream s,
            Tensor hyper,
            Tensor sumSquares,
            boolean decay,
            Tensor param,
            Tensor grad,
            Tensor m,
            Tensor v,
            Tensor copy);
}
