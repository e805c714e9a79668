package ai.lram.backend.ops;

/**
 * Variant of the mLSTM cell.
 *
 * @param inputGate exponential (the paper's) or sigmoid (no max state)
 * @param normalize divide by the normaliser; only the sigmoid gate may switch it off
 * @param eps added to the denominator after the max
 * @param exactGradient differentiate through the normaliser; false returns what the published GPU kernels return (denominator and
 *     max state held constant)
 * @param chunk tokens per chunk of the chunkwise form, any number >= 1; 0 lets the engine choose
 */
public record MlstmSpec(InputGate inputGate, boolean normalize, float eps, boolean exactGradient, int chunk) {
    public enum InputGate {
        EXPONENTIAL,
        SIGMOID
    }

    public MlstmSpec {
        if (!normalize && inputGate == InputGate.EXPONENTIAL) {
            throw new IllegalArgumentException(
                    "the exponential input gate needs its normaliser; use the sigmoid gate without one");
        }
        if (!(eps >= 0) || chunk < 0) {
            throw new IllegalArgumentException("eps and chunk must be >= 0, got eps=" + eps + " chunk=" + chunk);
        }
    }

    /** Exponential gate, eps 1e-6, exact gradient, the engine's chunk. */
    public static MlstmSpec exponential() {
        return new MlstmSpec(InputGate.EXPONENTIAL, true, 1e-6f, true, 0);
    }

    public MlstmSpec withChunk(int tokens) {
        return new MlstmSpec(inputGate, normalize, eps, exactGradient, tokens);
    }
}
