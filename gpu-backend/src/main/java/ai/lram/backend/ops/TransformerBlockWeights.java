package ai.lram.backend.ops;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;

/**
 * A transformer block as one step of a session runs it: x += out(attention(q, k, v)) with q, k, v of norm(x), then x += down(GELU(up(norm(x)))).
 * D = width, F = inner width of the feed-forward. Norms and biases are F32; biases may be null.
 *
 * @param norm of the attention's input, one group; {@code normWeight} and {@code normBias} (D)
 * @param q (D, D), {@code qBias} (D); {@code k}, {@code v} and {@code out} alike
 * @param innerNorm of the feed-forward's input, as {@code norm}
 * @param up (F, D), {@code upBias} (F)
 * @param down (D, F), {@code downBias} (D)
 */
public record TransformerBlockWeights(
        NormSpec norm,
        Tensor normWeight,
        Tensor normBias,
        StepWeight q,
        Tensor qBias,
        StepWeight k,
        Tensor kBias,
        StepWeight v,
        Tensor vBias,
        StepWeight out,
        Tensor outBias,
        NormSpec innerNorm,
        Tensor innerNormWeight,
        Tensor innerNormBias,
        StepWeight up,
        Tensor upBias,
        StepWeight down,
        Tensor downBias) {
    public TransformerBlockWeights {
        int d = q.columns();
        for (StepWeight w : new StepWeight[] {q, k, v, out}) {
            if (w.rows() != d || w.columns() != d) {
                throw mismatch(w, "(" + d + ", " + d + ")");
            }
        }
        if (up.columns() != d) {
            throw mismatch(up, "(F, " + d + ")");
        }
        if (down.rows() != d || down.columns() != up.rows()) {
            throw mismatch(down, "(" + d + ", " + up.rows() + ")");
        }
    }

    private static ShapeMismatchException mismatch(StepWeight w, String needed) {
        return new ShapeMismatchException(
                "transformer block with a weight (" + w.rows() + ", " + w.columns() + ")",
                "the others need " + needed,
                "pass the weights of one block");
    }

    /** D. */
    public int width() {
        return q.columns();
    }

    /** F. */
    public int inner() {
        return up.rows();
    }
}
