package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;

/**
 * How the kernels on tensor cores cut a sequence, and where what they keep lies. A window is one chunk from the fresh state whose last
 * state nobody asks for; everything else has states before each of its chunks.
 *
 * <p>Memory, in floats, with slots = B NH chunks, tokens = B NH S and cells = DHQK DHHV (bf16 operands: half as many):
 *
 * <pre>
 * saved    window: tokens     chunks: slots (cells + DHQK + 2) + tokens
 * scratch  window: none       chunks: 64 + slots (cells + DHQK + 7) + 4 tokens + B NH
 * </pre>
 *
 * @param chunk tokens of a chunk
 */
record MlstmChunks(MlstmDims dims, DType operands, int chunk, int chunks, boolean window) {
    private static final int ALIGNMENT = 256;

    /**
     * @param states whether a state or the gradient of one takes part
     * @return null where these kernels do not take the call
     */
    static MlstmChunks of(TensorCoreLimits limits, MlstmDims dims, MlstmSpec spec, boolean states) {
        if (!limits.take(dims)) {
            return null;
        }
        int tokens = dims.tokens();
        int wanted = spec.chunk() > 0 ? spec.chunk() : tokens;
        if (!states && tokens <= limits.window() && wanted >= tokens) {
            return new MlstmChunks(dims, limits.operands(), tokens, 1, true);
        }
        if (!limits.backward()) {
            return null;
        }
        int chunk = Math.min(wanted, Math.min(limits.chunk(), tokens));
        return new MlstmChunks(dims, limits.operands(), chunk, (tokens + chunk - 1) / chunk, false);
    }

    long pairs() {
        return (long) dims.batch() * dims.heads();
    }

    long tokens() {
        return pairs() * dims.tokens();
    }

    long slots() {
        return pairs() * chunks;
    }

    private long cellBytes() {
        return (long) dims.dimQk() * dims.dimHv() * operands.bytes();
    }

    private long cellFloats() {
        return (cellBytes() + 3) / 4;
    }

    long savedFloats() {
        return (window ? 0 : slots() * (cellFloats() + dims.dimQk() + 2)) + tokens();
    }

    long scratchFloats() {
        return window ? 0 : ALIGNMENT / 4 + slots() * (cellFloats() + dims.dimQk() + 7) + 4 * tokens() + pairs();
    }

    /**
     * Addresses of what lies between the kernels of one pass over chunks.
     *
     * @param states before each chunk, in the operands' type; {@code statesN}, {@code statesM} likewise in fp32
     * @param decays weight of the state before a chunk in the state after it
     * @param denominators of the tokens, 0 where nobody asks for them
     * @param own two doubles a chunk: sum of its log gates, its stabiliser
     * @param factors weight of what a chunk adds
     * @param rows 4 floats a token
     * @param free room for gradients of states and of normalisers, where the states themselves are saved
     * @param straight a float a pair
     */
    record Places(
            long states,
            long statesN,
            long statesM,
            long decays,
            long denominators,
            long own,
            long factors,
            long rows,
            long free,
            long freeN,
            long straight) {}

    /** @param saved address of saved floats, 0 where nothing is kept */
    Places places(long saved, long scratch) {
        long own = (scratch + ALIGNMENT - 1) & -ALIGNMENT;
        long free = own + 16 * slots();
        long freeN = free + 4 * cellFloats() * slots();
        long rows = freeN + 4L * dims.dimQk() * slots();
        long factors = rows + 16 * tokens();
        long freeM = factors + 4 * slots();
        long straight = freeM + 8 * slots();
        long states = saved == 0 ? free : saved;
        long statesN = saved == 0 ? freeN : states + 4 * cellFloats() * slots();
        long statesM = saved == 0 ? freeM : statesN + 4L * dims.dimQk() * slots();
        long decays = statesM + 4 * slots();
        return new Places(
                states,
                statesN,
                statesM,
                decays,
                saved == 0 ? 0 : decays + 4 * slots(),
                own,
                factors,
                rows,
                free,
                freeN,
                straight);
    }
}
