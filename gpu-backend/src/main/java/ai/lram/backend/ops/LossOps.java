package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/** Losses over action tokens. */
public interface LossOps {
    /**
     * Masked cross-entropy and its gradient. logits [M,V]; target I32 [M]; mask F32 [M] (0 = not counted). With W = sum of mask:
     * stats[0] = sum mask * ce / W, stats[1] = W, stats[2] = sum over counted rows of [argmax = target] / W, stats F32 (3).
     * dlogits [M,V] = gradScale * mask / W * (softmax - onehot), may be null; W = 0 gives zero loss and gradient. Rows with mask 0 are
     * not read: neither their logits nor their targets matter. Other targets lie within 0..V-1 (checked on the host engine).
     */
    default void crossEntropy(
            Stream s, Tensor logits, Tensor target, Tensor mask, float gradScale, Tensor dlogits, Tensor stats) {
        crossEntropy(s, logits, target, mask, mask, gradScale, dlogits, stats);
    }

    /**
     * The same for rows that are part of a batch: W is the sum of {@code whole}, the masks of the whole batch (F32, of any size). Losses,
     * hits and gradients of all parts then add up to the batch's.
     */
    void crossEntropy(
            Stream s,
            Tensor logits,
            Tensor target,
            Tensor mask,
            Tensor whole,
            float gradScale,
            Tensor dlogits,
            Tensor stats);

    /**
     * The same with soft targets over the bins of a continuous action: target F32 [M] is a position on the axis of classes (class j
     * spans [j, j+1), so the bins cover firstBin to firstBin+bins), the target distribution is a normal density of that mean and
     * deviation {@code sigma} (> 0) integrated over each bin of {@code firstBin .. firstBin+bins-1} and renormalised (HL-Gauss,
     * Farebrother et al. 2024, arXiv:2403.03950). A target more than 8 sigma outside the bins is moved to their nearest edge first.
     * stats[2] compares the argmax with the bin the target falls in, or
     * the nearest one. dlogits and stats as above.
     */
    default void crossEntropySoftBins(
            Stream s,
            Tensor logits,
            Tensor target,
            Tensor mask,
            int firstBin,
            int bins,
            float sigma,
            float gradScale,
            Tensor dlogits,
            Tensor stats) {
        crossEntropySoftBins(s, logits, target, mask, mask, firstBin, bins, sigma, gradScale, dlogits, stats);
    }

    /** The same for rows that are part of a batch, as above. */
    void crossEntropySoftBins(
            Stream s,
            Tensor logits,
            Tensor target,
            Tensor mask,
            Tensor whole,
            int firstBin,
            int bins,
            float sigma,
            float gradScale,
            Tensor dlogits,
            Tensor stats);
}
