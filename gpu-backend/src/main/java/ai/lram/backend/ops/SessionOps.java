package ai.lram.backend.ops;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import java.util.List;

/**
 * Kernels of the control step, which advances many sessions by the tokens of one environment step at once. Sessions live in slots of
 * preallocated pools; a batched step names them by index, so that batching robots copies nothing.
 *
 * <p>slots, counts are I32 (B): row b advances slot slots[b] by counts[b] tokens, 0 <= counts[b] <= L. Tokens are <b>right-aligned</b>:
 * of the L token rows of b only the last counts[b] are read or written, and the newest token is row L-1. Slots within one call are
 * distinct. Real-time safe: no heap or device allocation, no host synchronisation.
 */
public interface SessionOps {
    /**
     * mLSTM over the new tokens, reading matC at most once. q, k (B, L, NH, DHQK); v, h (B, L, NH, DHHV); i, f (B, L, NH).
     * Appends to the ring, answers h under one stabiliser for C and ring, and folds the ring into C when the schedule says so, or sooner. The
     * answer is that of {@link MlstmOps#forward} run over all tokens since the slot was reset.
     *
     * <p>With matC, ringK and ringV in BF16 the answer is that of the state as the folds have rounded it and of keys and values as the ring has: each
     * is rounded once, to the nearest, ties to even, when it goes into the ring. The tokens of this step count in its own answers, also in those of its
     * later tokens, with k and v as they come; what later steps answer, and what is folded into C and n, is of the rounded ones. Folds are the schedule's;
     * all sums are fp32 or wider, and a fold loses at most 2^-16 of each term that it adds, beside rounding.
     *
     * @param layer index of the layer, for staggering
     * @throws ai.lram.backend.UnsupportedKernelException if matC is BF16 and the engine has no kernels for that; nothing has been queued then
     * @throws ai.lram.backend.ShapeMismatchException if ringK or ringV is of another type than matC, as for other sizes; likewise
     */
    void mlstmStep(
            Stream s,
            MlstmSpec spec,
            FoldSchedule schedule,
            int layer,
            MlstmSlots state,
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            Tensor h);

    /** Causal depthwise convolution: x, y (B, L, C); w (C, K); bias may be null; history (P, K-1, C), oldest first, advanced in place. */
    void causalConv1dStep(
            Stream s, Tensor slots, Tensor counts, Tensor x, Tensor w, Tensor bias, Tensor history, Tensor y);

    /** sLSTM over the new tokens: xi..xo, y (B, L, H); state (P, 4, H) in order y, c, n, m, advanced in place. */
    void slstmStep(
            Stream s,
            int heads,
            Tensor slots,
            Tensor counts,
            Tensor xi,
            Tensor xf,
            Tensor xz,
            Tensor xo,
            Tensor r,
            Tensor bias,
            Tensor state,
            Tensor y);

    /**
     * One mLSTM block over the new tokens: x (B, L, D) += block(x), states and the convolution's history advanced. Equal to
     * {@link ComposedSteps#mlstmBlock} but for rounding: x, the history, and the state as a whole, of which each form may leave another part in
     * the ring. Rows of x before the last counts[b] must be finite and hold anything afterwards.
     *
     * @throws ai.lram.backend.UnsupportedKernelException as {@link #mlstmStep}
     */
    void mlstmBlock(
            Stream s,
            MlstmBlockWeights weights,
            MlstmBlockState state,
            Tensor slots,
            Tensor counts,
            MlstmBlockMemory memory,
            Tensor x);

    /**
     * Whether blocks of some number of sessions read {@link PackedWeight#fp16} where their bf16 weights have it; no engine needs it.
     *
     * @param state element type of the matrix states
     * @param sessions most of a step
     */
    default boolean readsFp16(DType state, int sessions) {
        return false;
    }

    /**
     * {@link #mlstmBlock} for blocks that follow each other, in order. One launch where an engine can. What a row answers and what its slot keeps
     * depend on no other row: the order of the rows changes no bit.
     */
    default void mlstmBlocks(
            Stream s, List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x) {
        for (int l = 0; l < layers.size(); l++) {
            MlstmLayer layer = layers.get(l);
            mlstmBlock(s, layer.weights(), layer.state(), slots, counts, memory, x);
        }
    }

    /**
     * The tokens of a step: x[b,t,:] = norm(weight_t from.vectors[t][b,:] + bias_t) for x (B, T, D). {@code from} is where the host wrote it,
     * {@code at} where kernels that follow read slots and counts, which are copied there; anything may be in its vectors afterwards. A host
     * engine is given the same memory twice. Equal to {@link ComposedSteps#embed} but for rounding; x is neither of the inputs nor of
     * {@code memory}. All F32 but slots and counts; {@code from} and {@code at} have the same rows and widths.
     *
     * @throws ai.lram.backend.ShapeMismatchException if sizes do not fit together; nothing has been queued then
     */
    void embed(Stream s, EmbedWeights weights, StepInput from, StepInput at, EmbedMemory memory, Tensor x);

    /**
     * What a step answers: logits[b,:] = weight norm(x[b,token,:]) + bias for {@code memory.logits} (B, N), and of these, (B, A, V), what
     * {@link StepChoice} says. Logits are equal to {@link ComposedSteps#head}'s but for rounding; x stays as it is. All F32 but a packed weight.
     *
     * @throws ai.lram.backend.ShapeMismatchException if sizes do not fit together; nothing has been queued then. A slot that the pool does
     *     not have is found at once or by the device, as elsewhere here
     */
    void decide(Stream s, HeadWeights weights, HeadMemory memory, StepChoice choice);

    /**
     * Empties one slot of an mLSTM layer: zero state, empty ring, not folded.
     *
     * @throws ai.lram.backend.UnsupportedKernelException as {@link #mlstmStep}
     * @throws ai.lram.backend.ShapeMismatchException likewise
     */
    void mlstmReset(Stream s, MlstmSlots state, int slot);
}
