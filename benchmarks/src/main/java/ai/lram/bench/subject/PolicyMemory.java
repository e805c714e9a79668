package ai.lram.bench.subject;

import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.DType;
import ai.lram.backend.ops.FoldSchedule;

/** Native memory of a model and its policy, before they take it. */
public final class PolicyMemory {
    /** Tensors of a step as wide as the model, or as its blocks within, a token. */
    private static final int WIDE = 8;

    private static final int INNER = 9;
    private static final int SLSTM = 4;
    /** Every tensor begins at a multiple of this. */
    private static final int ALIGNMENT = 64;
    /** Tensors of a policy beside those of its blocks. */
    private static final int TENSORS = 64;

    private static final int TENSORS_PER_BLOCK = 24;
    /** Floats as wide as the blocks within that a pass without a way back keeps a token, at most. */
    private static final int PASS = 14;

    private PolicyMemory() {}

    /**
     * A model with its policy, as {@code LramPolicy} lays it out: never less, and more only by what copies of weights leave out. The matrix
     * states are fp32.
     *
     * @param weightBytes of a weight as the step reads it
     * @param slots sessions, all of which may go through one step
     */
    public static long bytes(LramConfig config, int weightBytes, int slots) {
        return bytes(config, weightBytes, DType.F32, slots);
    }

    /** As {@link #bytes(LramConfig, int, int)}, with the matrix states in {@code state}. */
    public static long bytes(LramConfig config, int weightBytes, DType state, int slots) {
        long parameters;
        try (Lram model = new Lram(config)) {
            parameters = model.parameters().count();
        }
        boolean copied = weightBytes < Float.BYTES || LramPolicy.copies(DType.F32, parameters);
        long packed = copied ? weightBytes * parameters : 0;
        XlstmConfig b = config.backbone();
        long padding = ALIGNMENT * (TENSORS + (long) TENSORS_PER_BLOCK * b.blocks());
        return Float.BYTES * parameters
                + packed
                + slots * (stateBytes(b, state) + rowBytes(config))
                + saved(b, state)
                + padding;
    }

    /** The state of a session. */
    private static long stateBytes(XlstmConfig b, DType state) {
        long d = b.headDim();
        long ring = FoldSchedule.forHead(b.headDim(), b.headDim(), state).capacity();
        long mlstm = b.heads() * (d + 2 * d * ring + 2 * ring + 3) + (XlstmConfig.CONV - 1L) * b.inner();
        long matrices = b.heads() * d * d * state.bytes();
        long slstm = (4L + XlstmConfig.CONV - 1) * b.width();
        long slstms = b.slstmAt().size();
        return slstms * Float.BYTES * slstm + (b.blocks() - slstms) * (Float.BYTES * mlstm + matrices);
    }

    /** Where narrow matrices of a block are widened as a session is saved. */
    private static long saved(XlstmConfig b, DType state) {
        return state == DType.F32 ? 0 : (long) Float.BYTES * b.heads() * b.headDim() * b.headDim();
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
