package ai.lram.agent.train;

import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;

/**
 * Device memory of a training step in bf16 of a stack of fused mLSTM blocks, reckoned from its sizes: what arenas take, in bytes. T = batch
 * times tokens, D width, I inner width, NH heads, N blocks, P parameters.
 *
 * <pre>
 * parameters   18 P                        value, gradient, two moments in F32, the copy in BF16
 * kept         N (T (6 D + 16 I + 16 NH + 8) + 4 saved)
 *              a block, until its backward pass: input F32 and normed BF16 (6 D), up-projection, convolution, q, k, v, h and gated in
 *              BF16 (16 I), gates and statistics of both norms (16 NH + 8), what the cell saves
 * passing      T (8 D + 10 I) + 4 scratch  while the last block's cell goes back: the output and its gradient in F32 (8 D), the gradients
 *              of h, q, k, v, convolution and up-projection (14 I) less gated, convolution and statistics, which are gone by then
 * </pre>
 *
 * <p>Values are placed one above the other without a gap where they fit, in steps of 64 bytes, so this is a lower bound; what the placing
 * loses is below 2 % (tested). The engine's own memory comes on top once a process, two work spaces of 32 MiB on CUDA: one for the sums of
 * kernels, one for cuBLASLt.
 *
 * @param parameters bytes
 * @param kept bytes
 * @param passing bytes
 */
public record TrainingMemory(long parameters, long kept, long passing) {
    /** @param count trainable numbers */
    public static TrainingMemory of(
            Backend engine, XlstmConfig config, MlstmSpec spec, int batch, int tokens, long count) {
        if (!config.slstmAt().isEmpty()) {
            throw new IllegalArgumentException(
                    "blocks " + config.slstmAt() + " are sLSTM, whose memory is not reckoned");
        }
        MlstmDims dims = new MlstmDims(batch, tokens, config.heads(), config.headDim(), config.headDim());
        long all = (long) batch * tokens;
        long d = config.width();
        long i = config.inner();
        long saved = engine.ops().mlstm().savedFloats(dims, spec, DType.BF16, false);
        long scratch = engine.ops().mlstm().scratchFloats(dims, spec, DType.BF16, false);
        return new TrainingMemory(
                18 * count,
                config.blocks() * (all * (6 * d + 16 * i + 16L * config.heads() + 8) + 4 * saved),
                all * (8 * d + 10 * i) + 4 * scratch);
    }

    /** Of the plan's slab: what a step keeps between its kernels. */
    public long plan() {
        return kept + passing;
    }

    public long total() {
        return parameters + plan();
    }
}
