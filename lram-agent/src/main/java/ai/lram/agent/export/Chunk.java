package ai.lram.agent.export;

import ai.lram.agent.xlstm.XlstmConfig;
import java.util.Arrays;

/**
 * The tokens of one call, and what an episode's first call leaves out: the reward token, which comes first, and everything before it. They
 * are left out by weights of zero, which is exact where what they multiply is finite.
 */
final class Chunk {
    /** Logarithm of such a weight: far below any gate, and a few of them add up to a finite number. */
    private static final float NEVER = -1e30f;

    private final GraphBuilder g;
    private final int tokens;
    /** 1, or 0 where an episode begins: (B, 1, 1) and (B, 1, 1, 1). Null where the graph does not know of episodes. */
    private final String going3;

    private final String going4;
    private final String logMask;
    private final String sourceKeep;
    private final String tokenKeep;
    private final String windowKeep;

    /** @param first bool (B), or null where every token counts */
    Chunk(GraphBuilder g, int tokens, String first) {
        this.g = g;
        this.tokens = tokens;
        String causal = tokens == 1 ? null : g.floats(causal(tokens), tokens, tokens + 1);
        if (first == null) {
            going3 = null;
            going4 = null;
            logMask = causal;
            sourceKeep = null;
            tokenKeep = null;
            windowKeep = null;
            return;
        }
        String going = g.toFloat(g.op("Not", first));
        going3 = g.unsqueeze(going, 1, 2);
        going4 = g.unsqueeze(going, 1, 2, 3);
        float[] reward = new float[tokens + 1];
        reward[1] = NEVER;
        String begins = g.unsqueeze(g.toFloat(first), 1, 2, 3);
        logMask = g.add(g.mul(begins, g.floats(reward, tokens + 1)), causal);
        sourceKeep = g.max(going4, g.floats(allBut(1, tokens + 1), tokens + 1));
        tokenKeep = g.max(going3, g.floats(allBut(1, tokens), tokens));
        int window = tokens + XlstmConfig.CONV - 1;
        windowKeep = g.max(going3, g.floats(allBut(XlstmConfig.CONV, window), window, 1));
    }

    /** No token sees a later one; column 0 is the state. */
    private static float[] causal(int tokens) {
        float[] mask = new float[tokens * (tokens + 1)];
        for (int t = 0; t < tokens; t++) {
            Arrays.fill(mask, t * (tokens + 1) + t + 2, (t + 1) * (tokens + 1), NEVER);
        }
        return mask;
    }

    private static float[] allBut(int zeros, int n) {
        float[] a = new float[n];
        Arrays.fill(a, zeros, n, 1);
        return a;
    }

    int tokens() {
        return tokens;
    }

    /** Logarithms of weights (B, NH, L, 1 + L). */
    String maskSources(String logWeights) {
        return logMask == null ? logWeights : g.add(logWeights, logMask);
    }

    /** The weights themselves, (B, NH, L, 1 + L), column 0 the state's. */
    String keepSources(String weights) {
        return sourceKeep == null ? weights : g.mul(weights, sourceKeep);
    }

    /** Logarithms of forget gates (B, NH, L), of either sign. */
    String keepTokens(String logForget) {
        return tokenKeep == null ? logForget : g.mul(logForget, tokenKeep);
    }

    /** State of three dimensions, or what the reward token made of it. */
    String keepState3(String state) {
        return going3 == null ? state : g.mul(state, going3);
    }

    /** Likewise of four dimensions. */
    String keepState4(String state) {
        return going4 == null ? state : g.mul(state, going4);
    }

    /** Old inputs of a convolution and this call's, (B, CONV - 1 + L, W). */
    String keepWindow(String window) {
        return windowKeep == null ? window : g.mul(window, windowKeep);
    }
}
