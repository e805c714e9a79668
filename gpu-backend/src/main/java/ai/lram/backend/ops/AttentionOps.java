package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import java.util.List;

/** Causal softmax attention, for the transformer baseline. q, k, v, y (B, S, NH, D); scores are scaled by 1/sqrt(D). */
public interface AttentionOps {
    /** lse (B, NH, S) receives the log-sum-exp of each row for the backward pass; may be null. */
    void causal(Stream s, Tensor q, Tensor k, Tensor v, Tensor y, Tensor lse);

    void causalBackward(
            Stream s, Tensor q, Tensor k, Tensor v, Tensor y, Tensor lse, Tensor dy, Tensor dq, Tensor dk, Tensor dv);

    /**
     * Session step with KV cache. q, k, v, y (B, L, NH, D); keys, values (slots, capacity, NH, D); length I32 (slots), tokens appended so
     * far; slots, counts I32 (B) as in {@link SessionOps}. Appends the row's tokens one after the other, each attending to itself and all
     * that are cached then, and advances the length. A full cache overwrites its oldest token: token t lies in row t mod capacity.
     */
    void cachedStep(
            Stream s,
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor keys,
            Tensor values,
            Tensor length,
            Tensor y);

    /**
     * Transformer blocks that follow each other over the new tokens: x (B, L, D) = block(x), caches advanced. Equal to
     * {@link ComposedSteps#transformerBlock} for each of them but for rounding. Rows of x before the last counts[b] must be finite and hold
     * anything afterwards.
     */
    void transformerBlocks(
            Stream s,
            List<TransformerLayer> layers,
            Tensor slots,
            Tensor counts,
            TransformerBlockMemory memory,
            Tensor x);
}
