package ai.lram.agent.export;

import ai.lram.agent.xlstm.MlstmBlock;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import java.util.List;

/**
 * An mLSTM block over L tokens as one exact chunk. With b_t the sum of log forget gates up to t, the weights of the old state and of token
 * s <= t at token t are
 *
 * <pre>
 * log w_t0 = b_t + m     log w_ts = b_t - b_s + i_s     m_t = max over both     h_t as {@link ai.lram.backend.ops.MlstmOps} says
 * </pre>
 *
 * Differences of sums are products of the gates with a matrix of zeros and ones, so that nothing cancels.
 */
final class MlstmNodes {
    private final GraphBuilder g;
    private final Linear linear;
    private final Chunk chunk;
    private final BlockState state;
    private final MlstmBlock block;
    private final XlstmConfig c;

    MlstmNodes(GraphBuilder g, Linear linear, Chunk chunk, BlockState state, MlstmBlock block, XlstmConfig c) {
        this.g = g;
        this.linear = linear;
        this.chunk = chunk;
        this.state = state;
        this.block = block;
        this.c = c;
    }

    /** x (B, L, D) to x + block(x). */
    String forward(String x) {
        int inner = c.inner();
        String x1 = g.layerNorm(x, linear.residualScale(block.norm), null, XlstmStack.NORM.eps());
        List<String> uz = g.split(linear.large(x1, block.up), 2, inner, inner);
        String u = uz.get(0);
        String conv = g.silu(new ConvNodes(g, linear, chunk, state).forward(u, block.conv, block.convBias));
        List<String> qk = linear.blockDiagonal(conv, List.of(block.q, block.k));
        String v = linear.blockDiagonal(u, List.of(block.v)).getFirst();
        String h = cell(qk.get(0), qk.get(1), v);
        String skip = g.mul(conv, linear.vector(block.skip));
        String y = g.mul(g.add(h, skip), g.silu(uz.get(1)));
        return g.add(x, linear.large(y, block.down));
    }

    private String cell(String q, String k, String v) {
        int l = chunk.tokens();
        int nh = c.heads();
        int d = c.headDim();
        String matC = state.input("C", "matrix memory, keys not scaled", nh, d, d);
        String vecN = state.input("n", "normaliser", nh, d);
        String scaM = state.input("m", "stabiliser", nh);

        List<String> gates = gates(q, k, v);
        String weights = chunk.maskSources(g.add(segments(g.logSigmoid(gates.get(1))), sources(scaM, gates.get(0))));
        String m = g.maxLast(weights);
        List<String> w = g.split(chunk.keepSources(g.exp(g.sub(weights, m))), 3, 1, l);
        String ofState = w.get(0);

        String qh = g.mul(heads(q, 0, 2, 1, 3), g.scalar(1 / Math.sqrt(d)));
        String kt = heads(k, 0, 2, 3, 1);
        String vh = heads(v, 0, 2, 1, 3);
        String s = g.mul(g.matMul(qh, kt), w.get(1));
        String numerator = g.add(g.mul(g.matMul(qh, matC), ofState), g.matMul(s, vh));
        String qn = g.matMul(qh, g.unsqueeze(vecN, 3));
        String denominator = g.add(g.mul(qn, ofState), g.sum(s, 3, true));
        String floor = g.max(g.op("Abs", denominator), g.exp(g.op("Neg", m)));
        String h = g.div(numerator, g.add(floor, g.scalar(block.spec().eps())));

        String decay = g.slice(ofState, 2, l - 1, l);
        String kw = g.mul(kt, g.slice(w.get(1), 2, l - 1, l));
        state.output("C", g.add(g.mul(matC, decay), g.matMul(kw, vh)));
        state.output("n", g.add(g.mul(vecN, g.pick(decay, 3, 0)), g.sum(kw, 3, false)));
        state.output("m", g.pick(g.pick(m, 3, 0), 2, l - 1));
        return new HeadNorm(g, linear).forward(g.transpose(h, 0, 2, 1, 3), block.headNorm(), block.outNorm);
    }

    /** {i, f} pre-activations, (B, NH, L) each. */
    private List<String> gates(String q, String k, String v) {
        int nh = c.heads();
        String qkv = g.concat(2, q, k, v);
        String i =
                g.add(g.matMul(qkv, linear.matrix(block.inputGate, 3 * c.inner())), linear.vector(block.inputGateBias));
        String f = g.add(
                g.matMul(qkv, linear.matrix(block.forgetGate, 3 * c.inner())), linear.vector(block.forgetGateBias));
        return g.split(g.transpose(g.concat(2, i, f), 0, 2, 1), 1, nh, nh);
    }

    /** (B, NH, L, 1 + L): of token t, b_t for the state and b_t - b_s for token s. */
    private String segments(String logForget) {
        int l = chunk.tokens();
        float[] ones = new float[l * l * (l + 1)];
        for (int r = 0; r < l; r++) {
            for (int t = r; t < l; t++) {
                for (int source = 0; source <= r; source++) {
                    ones[(r * l + t) * (l + 1) + source] = 1;
                }
            }
        }
        String sums = g.matMul(chunk.keepTokens(logForget), g.floats(ones, l, (long) l * (l + 1)));
        return g.reshape(sums, 0, c.heads(), l, l + 1);
    }

    /** (B, NH, 1, 1 + L): m of the state, i of the tokens. */
    private String sources(String scaM, String inputGate) {
        return g.unsqueeze(g.concat(2, chunk.keepState3(g.unsqueeze(scaM, 2)), inputGate), 2);
    }

    /** (B, L, I) as (B, L, NH, DH), then its dimensions in another order. */
    private String heads(String a, long... order) {
        return g.transpose(g.reshape(a, 0, chunk.tokens(), c.heads(), c.headDim()), order);
    }
}
