package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/** Layer, RMS and multi-head normalisation. */
public interface NormOps {
    /**
     * y = (x - mean) * rstd * scale + bias per row and group, with scale = weight or 1 + weight, rstd = (var + eps)^-1/2.
     * x, y [M,N]; weight, bias [N], bias may be null; mean, rstd [M,G] are written for the backward pass, both may be null.
     * y may be x.
     */
    void forward(Stream s, NormSpec spec, Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor mean, Tensor rstd);

    /** dx is written; dweight[N] and dbias[N] (may be null) are added to. */
    void backward(
            Stream s,
            NormSpec spec,
            Tensor dy,
            Tensor x,
            Tensor weight,
            Tensor mean,
            Tensor rstd,
            Tensor dx,
            Tensor dweight,
            Tensor dbias);
}
