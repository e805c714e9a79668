package ai.lram.backend.ops;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import java.util.List;

/**
 * What makes the tokens of a control step of what its rows bring: a linear layer for each token, and one norm for all.
 *
 * @param encoders of token t, in order
 * @param norm of one group
 * @param normWeight (D) F32
 * @param normBias (D) F32, may be null
 */
public record EmbedWeights(List<Encoder> encoders, NormSpec norm, Tensor normWeight, Tensor normBias) {
    /**
     * Of one token.
     *
     * @param weight (D, K)
     * @param bias (D)
     */
    public record Encoder(Tensor weight, Tensor bias) {}

    public EmbedWeights {
        encoders = List.copyOf(encoders);
        if (encoders.isEmpty() || norm.groups() != 1) {
            throw new ShapeMismatchException(
                    "embedding of " + encoders.size() + " tokens with a norm of " + norm.groups() + " groups",
                    "there is at least one token, and one group",
                    "give each token its layer");
        }
        int width = Math.toIntExact(normWeight.size());
        for (Encoder e : encoders) {
            if (e.weight.rank() != 2 || e.weight.dim(0) != width || e.bias.size() != width) {
                throw new ShapeMismatchException(
                        "embedding layer of " + e.weight + " and " + e.bias,
                        "the norm is " + width + " wide, and so are tokens",
                        "pass (D, K) and (D)");
            }
        }
    }

    /** T. */
    public int tokens() {
        return encoders.size();
    }

    /** D. */
    public int width() {
        return encoders.getFirst().weight.dim(0);
    }
}
