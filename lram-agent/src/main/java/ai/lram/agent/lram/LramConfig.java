package ai.lram.agent.lram;

import ai.lram.agent.ConfigException;
import ai.lram.agent.xlstm.XlstmConfig;
import java.util.List;

/**
 * Shape of a Large Recurrent Action Model.
 *
 * @param stateDim width of the vector state token's input; tasks with fewer numbers are padded with zeros (published: 204)
 * @param actionDims action dimensions predicted at once (published: 8)
 * @param discreteActions action ids 0..n-1 that come before the bins (published: 18, the full Atari set)
 * @param bins bins per continuous action dimension (published: 256)
 * @param images true where the model encodes 3x64x64 images
 * @param publishedExtras declare the parameters of the published checkpoints that never train (timestep and action tables, three extra heads)
 * @param backbone the xLSTM stack
 */
public record LramConfig(
        int stateDim,
        int actionDims,
        int discreteActions,
        int bins,
        boolean images,
        boolean publishedExtras,
        XlstmConfig backbone) {
    public static final int STATE_DIM = 204;
    public static final int ACTION_DIMS = 8;
    public static final int DISCRETE_ACTIONS = 18;
    public static final int BINS = 256;

    public LramConfig {
        if (stateDim < 1 || actionDims < 1 || discreteActions < 0 || bins < 2) {
            throw new ConfigException(
                    "model with stateDim=" + stateDim + " actionDims=" + actionDims + " discreteActions="
                            + discreteActions + " bins=" + bins,
                    "sizes are out of range",
                    "use stateDim >= 1, actionDims >= 1, discreteActions >= 0, bins >= 2");
        }
    }

    /** Published input and output sizes around a backbone. */
    public static LramConfig of(XlstmConfig backbone) {
        return new LramConfig(STATE_DIM, ACTION_DIMS, DISCRETE_ACTIONS, BINS, false, false, backbone);
    }

    /**
     * A published size: {@code 16M}, {@code 48M}, {@code 110M}, {@code 206M} or {@code 408M}, with images and the extras of the published
     * checkpoints.
     *
     * @param slstm true for the [7:1] layout, false for [1:0]
     */
    public static LramConfig published(String size, boolean slstm) {
        int blocks;
        int width;
        List<Integer> at;
        switch (size) {
            case "16M" -> {
                blocks = 8;
                width = 512;
                at = List.of(1);
            }
            case "48M" -> {
                blocks = 12;
                width = 768;
                at = List.of(1, 3);
            }
            case "110M" -> {
                blocks = 16;
                width = 1024;
                at = List.of(1, 3);
            }
            case "206M" -> {
                blocks = 20;
                width = 1280;
                at = List.of(1, 3, 5);
            }
            case "408M" -> {
                blocks = 28;
                width = 1536;
                at = List.of();
                if (slstm) {
                    throw new ConfigException(
                            "408M with sLSTM blocks",
                            "no such layout was published",
                            "use [1:0], or give your own XlstmConfig");
                }
            }
            default ->
                throw new ConfigException(
                        "unknown model size " + size,
                        "published sizes are 16M, 48M, 110M, 206M, 408M",
                        "name one of them");
        }
        XlstmConfig backbone = new XlstmConfig(width, blocks, 4, slstm ? at : List.of());
        return new LramConfig(STATE_DIM, ACTION_DIMS, DISCRETE_ACTIONS, BINS, true, true, backbone);
    }

    /** Logits per action dimension: discrete ids, then bins. */
    public int vocabulary() {
        return discreteActions + bins;
    }

    public LramConfig withActionDims(int dims) {
        return new LramConfig(stateDim, dims, discreteActions, bins, images, publishedExtras, backbone);
    }

    public LramConfig withImages(boolean on) {
        return new LramConfig(stateDim, actionDims, discreteActions, bins, on, publishedExtras, backbone);
    }
}
