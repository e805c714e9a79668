package ai.lram.bench.subject;

import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.DType;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.PackedWeight;

/** Native memory of a model and its policy, before they take it. */
public final class PolicyMemory {
    /** Tensors of a step as wide as the model, or as its blocks within, a token. */
    private static final int WIDE = 6;

    private static final int INNER = 9;
    private static final int SLSTM = 4;
    /** Every tensor begins at a multiple of this. */
    private static final int ALIGNMENT = 64;
    /** Tensors of a policy beside those of its blocks. */
    private static final int TENSORS = 64;

    private static final int TENSORS_PER_BLOCK = 28;

    /** Bytes of a weight. */
    private static final int BF16 = 2;

    /** Floats as wide as the blocks within that a pass without a way back keeps a token, at most. */
    private static final int PASS = 14;

    private PolicyMemory() {}

    /**
     * A model with its policy on the CPU, as {@code LramPolicy} lays it out: never less, and hardly more. The state is fp32.
     *
     * @param weightBytes of a weight as the step reads it
     * @param slots sessions, all of which may go through one step
     */
    public static long bytes(LramConfig config, int weightBytes, int slots) {
        return bytes(config, weightBytes, DType.F32, slots);
    }

    /** As {@link #bytes(LramConfig, int, int)}, with matrix states, keys and values in {@code state}. */
    public static long bytes(LramConfig config, int weightBytes, DType state, int slots) {
        return bytes(config, weightBytes, false, state, slots);
    }

    /**
     * The same.
     *
     * @param fp16 whether the engine reads bf16 weights of blocks in fp16, too: {@code SessionOps.readsFp16}
     */
    static long bytes(LramConfig config, int weightBytes, boolean fp16, DType state, int slots) {
        long parameters = parameters(config);
        boolean copied = weightBytes < Float.BYTES || LramPolicy.copies(DType.F32, parameters);
        long tensors = TENSORS + (long) TENSORS_PER_BLOCK * config.backbone().blocks();
        return bytes(config, parameters, copied ? weightBytes : 0, fp16, state, slots) + ALIGNMENT * tensors;
    }

    /**
     * The same on a device, whose step reads fp32 weights where the model has them, by what is asked for: that tensors are aligned, the engine's
     * work space, code and the context come on top.
     *
     * @param fp16 whether the engine reads bf16 weights of blocks in fp16, too: {@code SessionOps.readsFp16}
     */
    public static long deviceBytes(LramConfig config, int weightBytes, boolean fp16, DType state, int slots) {
        long host = (long) Float.BYTES * config.actionDims() * config.vocabulary(); // where logits are fetched to
        return bytes(config, parameters(config), weightBytes < Float.BYTES ? weightBytes : 0, fp16, state, slots)
                - slots * host;
    }

    private static long parameters(LramConfig config) {
        try (Lram model = new Lram(config)) {
            return model.parameters().count();
        }
    }

    private static long bytes(
            LramConfig config, long parameters, int packedBytes, boolean fp16, DType state, int slots) {
        XlstmConfig b = config.backbone();
        return Float.BYTES * parameters
                + packedBytes(config, packedBytes)
                + (fp16 && packedBytes == BF16 ? fp16Bytes(b) : 0)
                + slots * (stateBytes(b, state) + rowBytes(config))
                + saved(b, state);
    }

    /** Copies of the large matrices: projections of the blocks and the head; int8 has a scale a row. */
    private static long packedBytes(LramConfig c, int weightBytes) {
        if (weightBytes == 0) {
            return 0;
        }
        XlstmConfig b = c.backbone();
        long slstms = b.slstmAt().size();
        long mlstm = 2 * packed(b.inner(), b.width(), weightBytes) + packed(b.width(), b.inner(), weightBytes);
        long slstm = slstms == 0
                ? 0
                : 2 * packed(b.feedForward(), b.width(), weightBytes) + packed(b.width(), b.feedForward(), weightBytes);
        return (b.blocks() - slstms) * mlstm
                + slstms * slstm
                + packed((long) c.actionDims() * c.vocabulary(), b.width(), weightBytes);
    }

    private static long packed(long rows, long columns, int weightBytes) {
        long padded = (rows + PackedWeight.TILE - 1) / PackedWeight.TILE * PackedWeight.TILE;
        return weightBytes * padded * columns + (weightBytes == 1 ? Float.BYTES * rows : 0);
    }

    /** The mLSTM blocks' projections once more, with a number a row. */
    private static long fp16Bytes(XlstmConfig b) {
        long block = 2 * packed(b.inner(), b.width(), BF16) + packed(b.width(), b.inner(), BF16);
        return (b.blocks() - b.slstmAt().size()) * (block + Float.BYTES * (2L * b.inner() + b.width()));
    }

    /** The state of a session. */
    private static long stateBytes(XlstmConfig b, DType state) {
        long d = b.headDim();
        long ring = ring(b);
        long mlstm = b.heads() * (d + 2 * ring + 3) + (XlstmConfig.CONV - 1L) * b.inner();
        long matrices = b.heads() * (d * d + 2 * d * ring) * state.bytes(); // with keys and values
        long slstm = (4L + XlstmConfig.CONV - 1) * b.width();
        long slstms = b.slstmAt().size();
        return slstms * Float.BYTES * slstm + (b.blocks() - slstms) * (Float.BYTES * mlstm + matrices);
    }

    /** Where narrow matrices, keys and values of a block are widened as a session is saved. */
    private static long saved(XlstmConfig b, DType state) {
        long rows = Math.max(b.headDim(), ring(b));
        return state == DType.F32 ? 0 : Float.BYTES * b.heads() * b.headDim() * rows;
    }

    private static long ring(XlstmConfig b) {
        return FoldSchedule.forHead(b.headDim(), b.headDim()).capacity();
    }

    /** What a step needs for each session that goes through it, on the engine and on the host. */
    private static long rowBytes(LramConfig c) {
        XlstmConfig b = c.backbone();
        long width = b.slstmAt().isEmpty() ? 1 : b.width();
        long feedForward = b.slstmAt().isEmpty() ? 1 : b.feedForward();
        long perToken =
                (long) WIDE * b.width() + (long) INNER * b.inner() + SLSTM * width + 2L * b.heads() + 2 * feedForward;
        long decision = 2L * c.actionDims() + 2;
        long once = 2L * b.width() + 2L * (c.stateDim() + 4) + 2L * c.actionDims() * c.vocabulary() + decision;
        return Float.BYTES * (Lram.TOKENS * perToken + once);
    }

    /** One pass over a sequence of so many steps without a way back. */
    static long passBytes(LramConfig config, int steps) {
        long logits = (long) config.actionDims() * config.vocabulary();
        return Float.BYTES
                * steps
                * (Lram.TOKENS * (long) PASS * config.backbone().inner() + 2 * logits);
    }
}
