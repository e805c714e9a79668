package ai.lram.agent.xlstm;

import ai.lram.agent.ConfigException;
import java.util.List;

/**
 * Shape of an xLSTM stack as in the original package.
 *
 * @param width D, width of the residual stream
 * @param blocks number of blocks
 * @param heads NH of every block; divides the inner width and, where sLSTM blocks exist, the width
 * @param slstmAt indices of sLSTM blocks, ascending; all others are mLSTM. [1:0] is the empty list
 */
public record XlstmConfig(int width, int blocks, int heads, List<Integer> slstmAt) {
    /** Taps of the causal convolution. */
    public static final int CONV = 4;
    /** Size of the square blocks of the q, k and v maps. */
    public static final int QKV_BLOCK = 4;

    public XlstmConfig {
        slstmAt = List.copyOf(slstmAt);
        if (width < 1 || blocks < 1 || heads < 1) {
            throw new ConfigException(
                    "xLSTM stack of width " + width + " with " + blocks + " blocks and " + heads + " heads",
                    "all three must be >= 1",
                    "correct the model config");
        }
        int inner = inner(width);
        if (inner % heads != 0) {
            throw new ConfigException(
                    "xLSTM stack of width " + width,
                    "inner width " + inner + " is no multiple of " + heads + " heads",
                    "choose heads that divide it");
        }
        for (int i : slstmAt) {
            if (i < 0 || i >= blocks) {
                throw new ConfigException(
                        "slstmAt names block " + i, "the stack has blocks 0.." + (blocks - 1), "name existing blocks");
            }
        }
        if (!slstmAt.isEmpty() && width % heads != 0) {
            throw new ConfigException(
                    "sLSTM blocks of width " + width,
                    "no multiple of " + heads + " heads",
                    "choose heads that divide it");
        }
    }

    /** All mLSTM. */
    public static XlstmConfig mlstm(int width, int blocks, int heads) {
        return new XlstmConfig(width, blocks, heads, List.of());
    }

    private static int inner(int width) {
        return ceil64(2.0 * width);
    }

    /** I, width inside an mLSTM block: 2D rounded up to a multiple of 64. */
    public int inner() {
        return inner(width);
    }

    /** Width per head inside an mLSTM block. */
    public int headDim() {
        return inner() / heads;
    }

    /** U, width of the gated feed-forward of an sLSTM block: 1.3 D rounded up to a multiple of 64. */
    public int feedForward() {
        return ceil64(1.3 * width);
    }

    public boolean isSlstm(int block) {
        return slstmAt.contains(block);
    }

    private static int ceil64(double x) {
        return 64 * (int) Math.ceil(x / 64);
    }
}
