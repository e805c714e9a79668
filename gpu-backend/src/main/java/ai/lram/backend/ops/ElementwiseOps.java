package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/** Pointwise kernels and strided copies. Outputs may be the same tensor as an input of the same size. */
public interface ElementwiseOps {
    /** y = act(x). */
    void activation(Stream s, Activation act, Tensor x, Tensor y);

    /** dx = dy * act'(x). */
    void activationBackward(Stream s, Activation act, Tensor x, Tensor dy, Tensor dx);

    /** y = a + b. */
    void add(Stream s, Tensor a, Tensor b, Tensor y);

    /** y += alpha x. */
    void axpy(Stream s, float alpha, Tensor x, Tensor y);

    /** y = alpha x. */
    void scale(Stream s, float alpha, Tensor x, Tensor y);

    /** y = act(g) * u. */
    void gate(Stream s, Activation act, Tensor g, Tensor u, Tensor y);

    /** dg = dy * act'(g) * u and du = dy * act(g). */
    void gateBackward(Stream s, Activation act, Tensor g, Tensor u, Tensor dy, Tensor dg, Tensor du);

    /** The mLSTM block's output gate: y[M,N] = (h + skip[N] * c) * silu(z); h, c, z [M,N]. */
    void skipGate(Stream s, Tensor h, Tensor skip, Tensor c, Tensor z, Tensor y);

    /** dh, dc, dz are written, dskip[N] is added to. */
    void skipGateBackward(
            Stream s,
            Tensor h,
            Tensor skip,
            Tensor c,
            Tensor z,
            Tensor dy,
            Tensor dh,
            Tensor dskip,
            Tensor dc,
            Tensor dz);

    /** y = cap * tanh(x / cap). */
    void softCap(Stream s, float cap, Tensor x, Tensor y);

    /** dx = dy * (1 - (y / cap)^2). */
    void softCapBackward(Stream s, float cap, Tensor y, Tensor dy, Tensor dx);

    /** Sets every element. */
    void fill(Stream s, float value, Tensor y);

    /**
     * Copies {@code rows} runs of {@code cols} elements: dst[dstOffset + r*dstStride + c] = src[srcOffset + r*srcStride + c], offsets and
     * strides in elements; or += where {@code accumulate}. Interleaves tokens, cuts and joins columns.
     */
    void copyRows(
            Stream s,
            int rows,
            int cols,
            Tensor src,
            long srcOffset,
            long srcStride,
            Tensor dst,
            long dstOffset,
            long dstStride,
            boolean accumulate);

    /** y (F32) = x (U8) * factor. */
    void fromBytes(Stream s, Tensor x, float factor, Tensor y);
}
