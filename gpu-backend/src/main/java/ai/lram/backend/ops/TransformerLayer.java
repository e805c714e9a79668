package ai.lram.backend.ops;

import ai.lram.backend.Tensor;

/**
 * A transformer block of a model as the control step runs it: its weights, and what the sessions keep of it.
 *
 * @param keys cached, as {@link AttentionOps#cachedStep} takes them; {@code values} and {@code length} alike. No other layer's
 */
public record TransformerLayer(TransformerBlockWeights weights, Tensor keys, Tensor values, Tensor length) {}
