package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/** Causal depthwise convolution along tokens, and the 2-D convolution and pooling of the image encoder. */
public interface ConvOps {
    /**
     * y[b,t,c] = bias[c] + sum_j w[c,j] x[b, t-K+1+j, c], tokens before the first taken from {@code history}.
     * x, y (B,S,C); w (C,K); bias (C) may be null; history (B,K-1,C), oldest first, may be null for zeros.
     */
    void causalConv1d(Stream s, Tensor x, Tensor w, Tensor bias, Tensor history, Tensor y);

    /** dx and dhistory are written (dhistory may be null), dw and dbias added to (dbias may be null). */
    void causalConv1dBackward(
            Stream s,
            Tensor dy,
            Tensor x,
            Tensor w,
            Tensor history,
            Tensor dx,
            Tensor dhistory,
            Tensor dw,
            Tensor dbias);

    /**
     * Square 2-D convolution, zero padding. x (N,C,H,W); w (O,C,k,k); bias (O) may be null; y (N,O,OH,OW) with OH = (H + 2 pad - k)/stride + 1.
     * scratch: {@link #conv2dScratch} floats.
     */
    void conv2d(Stream s, int stride, int pad, Tensor x, Tensor w, Tensor bias, Tensor scratch, Tensor y);

    /** dx may be null (first layer) and is written; dw and dbias are added to. */
    void conv2dBackward(
            Stream s,
            int stride,
            int pad,
            Tensor dy,
            Tensor x,
            Tensor w,
            Tensor scratch,
            Tensor dx,
            Tensor dw,
            Tensor dbias);

    /** Scratch floats both conv2d kernels need for inputs of that size. */
    long conv2dScratch(int n, int c, int h, int w, int outChannels, int kernel, int stride, int pad);

    /**
     * Max pooling, padding counts as -infinity. x (N,C,H,W), y (N,C,OH,OW), index I32 like y: position h*W + w of the first maximum
     * in row-major order.
     */
    void maxPool2d(Stream s, int kernel, int stride, int pad, Tensor x, Tensor y, Tensor index);

    /** dx is written: zero where no window chose the pixel. */
    void maxPool2dBackward(Stream s, Tensor dy, Tensor index, Tensor dx);
}
