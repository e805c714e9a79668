package ai.lram.backend.ops;

import ai.lram.backend.Tensor;

/**
 * What sessions keep of one mLSTM block.
 *
 * @param slots of the cell
 * @param history of the convolution, (P, K-1, I)
 * @param schedule when the ring is folded
 * @param layer index of the block, for staggering
 */
public record MlstmBlockState(MlstmSlots slots, Tensor history, FoldSchedule schedule, int layer) {}
