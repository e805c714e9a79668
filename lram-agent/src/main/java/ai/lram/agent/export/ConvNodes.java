package ai.lram.agent.export;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.xlstm.XlstmConfig;

/** The causal depthwise convolution of a block and the window of inputs it carries. */
record ConvNodes(GraphBuilder g, Linear linear, Chunk chunk, BlockState state) {
    private static final int TAPS = XlstmConfig.CONV;

    /** x (B, L, W) to (B, L, W). */
    String forward(String x, Parameter weight, Parameter bias) {
        int l = chunk.tokens();
        int width = bias.size();
        String history = state.input("conv", "last inputs of the convolution, oldest first", TAPS - 1, width);
        String window = chunk.keepWindow(g.concat(1, history, x));
        state.output("conv", g.slice(window, 1, l, l + TAPS - 1));
        long[] seen = new long[l * TAPS];
        for (int t = 0; t < l; t++) {
            for (int j = 0; j < TAPS; j++) {
                seen[t * TAPS + j] = t + j;
            }
        }
        String w = g.weight(weight.name(), () -> byTap(linear.values(weight).get(), width), TAPS, width);
        String products = g.mul(g.gather(window, g.longs(seen, l, TAPS), 1), w);
        return g.add(g.sum(products, 2, false), linear.vector(bias));
    }

    private static float[] byTap(float[] w, int width) {
        float[] t = new float[w.length];
        for (int c = 0; c < width; c++) {
            for (int j = 0; j < TAPS; j++) {
                t[j * width + c] = w[c * TAPS + j];
            }
        }
        return t;
    }
}
