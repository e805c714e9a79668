package ai.lram.backend.ops;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;

/**
 * The end of a control step: a norm and a linear layer.
 *
 * @param norm of one group
 * @param normWeight (D) F32
 * @param normBias (D) F32, may be null
 * @param weight (N, D), F32 or packed
 * @param bias (N) F32, may be null
 */
public record HeadWeights(NormSpec norm, Tensor normWeight, Tensor normBias, StepWeight weight, Tensor bias) {
    public HeadWeights {
        if (norm.groups() != 1 || weight.columns() != normWeight.size()) {
            throw new ShapeMismatchException(
                    "head of (" + weight.rows() + ", " + weight.columns() + ") behind a norm of " + normWeight.size()
                            + " in " + norm.groups() + " groups",
                    "the layer reads what the norm gives, of one group",
                    "pass (N, D) and (D)");
        }
    }

    /** N. */
    public int logits() {
        return weight.rows();
    }

    /** D. */
    public int width() {
        return weight.columns();
    }
}
