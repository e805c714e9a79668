package ai.lram.backend.ops;

/**
 * One normalisation kernel serves LayerNorm (one group, centred), RMSNorm (one group, not centred) and the multi-head norm
 * (one group per head, centred).
 *
 * @param groups number of equal groups a row is split into; statistics are per row and group
 * @param eps added to the (biased) variance or mean square
 * @param centred subtract the mean
 * @param residualScale the effective scale is 1 + weight (original xLSTM blocks) instead of weight
 */
public record NormSpec(int groups, float eps, boolean centred, boolean residualScale) {
    public NormSpec {
        if (groups < 1 || !(eps > 0)) {
            throw new IllegalArgumentException(
                    "a norm needs groups >= 1 and eps > 0, got groups=" + groups + " eps=" + eps);
        }
    }
}
