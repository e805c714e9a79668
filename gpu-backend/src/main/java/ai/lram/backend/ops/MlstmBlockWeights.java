package ai.lram.backend.ops;

import ai.lram.backend.Tensor;

/**
 * An mLSTM block as one step of a session runs it: x += down((head norm(mLSTM(q, k, v, i, f)) + skip * c) * silu(z)) with u, z = up(norm(x)),
 * c = silu(conv(u)), q and k from c, v from u, the gates from q, k and v (xLSTM, figure 11). D = width, I = inner width, NH heads. All
 * tensors F32.
 *
 * @param norm of the block's input; {@code normWeight} (D)
 * @param upU (I, D)
 * @param upZ (I, D)
 * @param conv (I, K), {@code convBias} (I)
 * @param q (G, I/G, I/G) as {@link MatmulOps#headwise} takes it; {@code k} and {@code v} alike
 * @param inputGate (NH, 3 I), {@code inputGateBias} (NH); the forget gate alike
 * @param headNorm with a group per head; {@code headNormWeight} (I)
 * @param skip (I)
 * @param down (D, I)
 */
public record MlstmBlockWeights(
        NormSpec norm,
        Tensor normWeight,
        StepWeight upU,
        StepWeight upZ,
        Tensor conv,
        Tensor convBias,
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor inputGate,
        Tensor inputGateBias,
        Tensor forgetGate,
        Tensor forgetGateBias,
        MlstmSpec cell,
        NormSpec headNorm,
        Tensor headNormWeight,
        Tensor skip,
        StepWeight down) {
    /** D. */
    public int width() {
        return down.rows();
    }

    /** I. */
    public int inner() {
        return down.columns();
    }

    public int heads() {
        return inputGate.dim(0);
    }
}
