package ai.lram.backend.ops;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/**
 * The mLSTM cell over a sequence, chunkwise: quadratic inside a chunk, recurrent between chunks; any length, any chunk.
 *
 * <p>Token-major layouts, so that projections need no transposition: q, k (B, S, NH, DHQK); v, h (B, S, NH, DHHV); i, f (B, S, NH)
 * are gate pre-activations. With lf = logsigmoid(f), per head and token:
 *
 * <pre>
 * m' = max(lf + m, i)     C' = exp(lf + m - m') C + exp(i - m') k v^T     n' = exp(lf + m - m') n + exp(i - m') k
 * h  = (q/sqrt(DHQK) . C') / (max(|q/sqrt(DHQK) . n'|, exp(-m')) + eps)
 * </pre>
 *
 * Sigmoid gate: i is replaced by logsigmoid(i), m stays 0, and the denominator is max(|q n'|, 1) + eps, or absent where the spec
 * does not normalise. Cumulative gate sums are formed in fp64 or as rebased segment sums; results are finite for gates of +-80.
 *
 * <p>Types. The operands q, k, v, h, dh, dq, dk, dv of one call share a type: F32, or BF16 where the engine {@link #takes} it. Gates, their
 * gradients, states and their gradients, {@code saved} and {@code scratch} are F32 always. With BF16 operands sums are fp32; what is multiplied
 * (weighted keys, weights of pairs of tokens, the states between chunks) may be rounded to bf16.
 *
 * @see "Beck et al. 2024, xLSTM, arXiv:2405.04517, Sec. 2.3 and App. A; Beck et al. 2025, Tiled Flash Linear Attention, arXiv:2503.14376"
 */
public interface MlstmOps {
    /**
     * Gate pre-activations of the original block from the concatenation of q, k and v:
     * i[M,h] = wi[h,:] . [q|k|v][M,:] + bi[h], f alike. q, k, v [M, I]; wi, wf (NH, 3I); bi, bf (NH); i, f [M, NH].
     */
    void gates(Stream s, Tensor q, Tensor k, Tensor v, Tensor wi, Tensor bi, Tensor wf, Tensor bf, Tensor i, Tensor f);

    /** dq, dk, dv and the weights' gradients are all added to. */
    void gatesBackward(
            Stream s,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor wi,
            Tensor wf,
            Tensor di,
            Tensor df,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor dwi,
            Tensor dbi,
            Tensor dwf,
            Tensor dbf);

    /** Whether operands may have that type: F32 for every engine. */
    default boolean takes(DType operands) {
        return operands == DType.F32;
    }

    /** Floats {@link #forward} leaves in {@code saved} for {@link #backward}, for F32 operands, with or without states. */
    long savedFloats(MlstmDims dims, MlstmSpec spec);

    /** Floats of scratch for {@link #forward} and {@link #backward}, for F32 operands, with or without states. */
    long scratchFloats(MlstmDims dims, MlstmSpec spec);

    /**
     * Floats {@link #forward} leaves in {@code saved} for {@link #backward}.
     *
     * @param operands type of q, k, v, h and their gradients
     * @param states whether an initial or last state, or the gradient of one, takes part in either call: a single chunk without one may
     *     need much less. What is enough with states is enough without
     */
    default long savedFloats(MlstmDims dims, MlstmSpec spec, DType operands, boolean states) {
        return savedFloats(dims, spec);
    }

    /** Floats of scratch for {@link #forward} and {@link #backward}; parameters as those of {@link #savedFloats}. */
    default long scratchFloats(MlstmDims dims, MlstmSpec spec, DType operands, boolean states) {
        return scratchFloats(dims, spec);
    }

    /**
     * @param initial state before the first token, or null for the fresh state
     * @param last receives the state after the last token; may be null; must not be {@code initial}
     * @param saved {@link #savedFloats} floats, or null where no backward pass follows; the same number of them says to {@link #backward}
     *     how they were left
     */
    void forward(
            Stream s,
            MlstmDims dims,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            MlstmState initial,
            Tensor h,
            MlstmState last,
            Tensor saved,
            Tensor scratch);

    /**
     * Gradients of everything {@link #forward} read, all written. {@code dLast} (may be null) is the gradient of the returned state: its
     * matC and vecN are honoured, scaM's is ignored. It belongs to a function of the unstabilised state matC * exp(scaM), as every
     * continuation of the sequence is: handing a later segment's dInitial to an earlier one's dLast gives the gradient of the whole.
     * {@code dInitial} may be null; its scaM receives the exact gradient where {@code spec.exactGradient()}, else zero. Without
     * {@code spec.exactGradient()} also vecN's gradient is zero, dLast's vecN is ignored, and df lacks the part that goes straight to
     * the returned state, as in the published kernels.
     */
    void backward(
            Stream s,
            MlstmDims dims,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            MlstmState initial,
            Tensor h,
            Tensor saved,
            Tensor dh,
            MlstmState dLast,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor di,
            Tensor df,
            MlstmState dInitial,
            Tensor scratch);
}
