package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/** Losses over action tokens. */
public interface LossOps {
    /**
     * Masked cross-entropy and its gradient. logits [M,V]; target I32 [M]; mask F32 [M] (0 = not counted). With W = sum of mask:
     * stats[0] = sum mask * ce / W, stats[1] = W, stats[2] = sum over counted rows of [argmax = target] / W, stats F32 (3).
     * dlogits [M,V] = gradScale * mask / W * (softmax - onehot), may be null; W = 0 gives zero loss and gradient.
     */
    void crossEntropy(Stream s, Tensor logits, Tensor target, Tensor mask, float gradScale, Tensor dlogits, Tensor stats);

    /**
     * The same with soft targets over the bins of a continuous action: target F32 [M] is a position in bin units (bin j spans
     * [j, j+1)), the target distribution is a normal density of that mean and deviation {@code sigma} (> 0) integrated over each bin of
     * {@code firstBin .. firstBin+bins-1} and renormalised (HL-Gauss, Farebrother et al. 2024, arXiv:2403.03950). stats[2] compares the
     * argmax with the bin the target falls in. dlogits and stats as above.
     */
    void crossEntropySoftBins(
            Stream s,
            Tensor logits,
            Tensor target,
            Tensor mask,
            int firstBin,
            int bins,
            float sigma,
            float gradScale,
            Tensor dlogits,
            Tensor stats);
}
