package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/**
 * AdamW and gradient clipping. Numbers that change per step live in a tensor, so that a captured graph can be replayed:
 * hyper F32 (8) = {lr, beta1, beta2, eps, weightDecay, 1 - beta1^t, 1 - beta2^t, maxNorm}.
 */
public interface OptimizerOps {
    /** out[0] += sum of x^2, accumulated in fp64 within the call. */
    void sumSquares(Stream s, Tensor x, Tensor out);

    /**
     * In place, per element: g' = g * clip with clip = min(1, maxNorm / (sqrt(sumSquares[0]) + 1e-6)), or 1 where sumSquares is null
     * or maxNorm is 0; m = b1 m + (1-b1) g'; v = b2 v + (1-b2) g'^2; p -= lr * weightDecay * p where {@code decay};
     * p -= lr * (m / bc1) / (sqrt(v / bc2) + eps). Decoupled decay first, as in torch's AdamW. Where sumSquares[0] is not finite nothing
     * changes, so that a step that went wrong can be recorded with its update and still be discarded.
     */
    void adamW(Stream s, Tensor hyper, Tensor sumSquares, boolean decay, Tensor param, Tensor grad, Tensor m, Tensor v);
}
