package ai.lram.agent.export;

import ai.lram.agent.autodiff.Parameter;
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
        String qkv = linear.blockDiagonal(List.of(
                new Linear.Diagonal(conv, List.of(block.q, block.k)), new Linear.Diagonal(u, List.of(block.v))));
        String h = cell(qkv);
        String skip = g.mul(conv, linear.vector(block.skip));
        String y = g.mul(g.add(h, skip), g.silu(uz.get(1)));
        return g.add(x, linear.large(y, block.down));
    }

    /** q, k, v side by side, (B, L, 3 I), to the normed answer (B, L, I). */
    private String cell(String qkv) {
        int l = chunk.tokens();
        int nh = c.heads();
        int d = c.headDim();
        String matC = state.input("C", "matrix memory, keys not scaled", nh, d, d);
        String vecN = state.input("n", "normaliser", nh, d);
        String scaM = state.input("m", "stabiliser", nh);

        List<String> gates = gates(qkv);
        String logWeights = g.add(segments(gates.get(1)), sources(scaM, gates.get(0)));
        String masked = chunk.maskSources(logWeights);
        String m = g.maxLast(masked);
        List<String> w = g.split(chunk.keepSources(g.exp(g.sub(masked, m))), 3, 1, l);
        String ofState = w.get(0);

        String byHead = g.transpose(g.reshape(qkv, 0, l, 3L * nh, d), 0, 2, 1, 3);
        List<String> parts = g.split(byHead, 1, nh, nh, nh);
        String q = g.mul(parts.get(0), g.scalar(1 / Math.sqrt(d)));
        String k = parts.get(1);
        String v = parts.get(2);
        String s = g.mul(g.matMul(q, g.transpose(k, 0, 1, 3, 2)), w.get(1));
        String numerator = g.add(g.mul(g.matMul(q, matC), ofState), g.matMul(s, v));
        String qn = g.matMul(q, g.unsqueeze(vecN, 3));
        String denominator = g.add(g.mul(qn, ofState), g.sum(s, 3, true));
        String floor = g.max(g.op("Abs", denominator), g.exp(g.op("Neg", m)));
        String h = g.div(numerator, g.add(floor, g.scalar(block.spec().eps())));

        String decay = g.slice(ofState, 2, l - 1, l);
        String kept = g.reshape(g.slice(w.get(1), 2, l - 1, l), 0, nh, l, 1);
        String kw = g.mul(k, kept);
        state.output("C", g.add(g.mul(matC, decay), g.matMul(g.transpose(kw, 0, 1, 3, 2), v)));
        state.output("n", g.add(g.mul(vecN, g.pick(decay, 3, 0)), g.sum(kw, 2, false)));
        state.output("m", g.pick(g.pick(m, 3, 0), 2, l - 1));
        return new HeadNorm(g, linear).forward(g.transpose(h, 0, 2, 1, 3), block.headNorm(), block.outNorm);
    }

    /** {i, -log forget gate}, (B, NH, L) each. */
    private List<String> gates(String qkv) {
        int nh = c.heads();
        String name = block.inputGate.name() + ".i_minus_f";
        String weight = g.weight(name, () -> sideBySide(block.inputGate, block.forgetGate), 3L * c.inner(), 2L * nh);
        String bias = g.weight(name + ".bias", () -> sideBySide(block.inputGateBias, block.forgetGateBias), 2L * nh);
        String both = g.transpose(g.add(g.matMul(qkv, weight), bias), 0, 2, 1);
        List<String> gates = g.split(both, 1, nh, nh);
        return List.of(gates.get(0), g.op("Softplus", gates.get(1)));
    }

    /** Rows of i and negated rows of f, (NH, n) each, as columns (n, 2 NH). */
    private float[] sideBySide(Parameter i, Parameter f) {
        float[] a = linear.values(i).get();
        float[] b = linear.values(f).get();
        int nh = c.heads();
        int n = a.length / nh;
        float[] t = new float[2 * a.length];
        for (int h = 0; h < nh; h++) {
            for (int j = 0; j < n; j++) {
                t[j * 2 * nh + h] = a[h * n + j];
                t[j * 2 * nh + nh + h] = -b[h * n + j];
            }
        }
        return t;
    }

    /** (B, NH, L, 1 + L): of token t, b_t for the state and b_t - b_s for token s. */
    private String segments(String minusLogForget) {
        int l = chunk.tokens();
        float[] ones = new float[l * l * (l + 1)];
        for (int r = 0; r < l; r++) {
            for (int t = r; t < l; t++) {
                for (int source = 0; source <= r; source++) {
                    ones[(r * l + t) * (l + 1) + source] = -1;
                }
            }
        }
        String sums = g.matMul(chunk.keepTokens(minusLogForget), g.floats(ones, l, (long) l * (l + 1)));
        return g.reshape(sums, 0, c.heads(), l, l + 1);
    }

    /** (B, NH, 1, 1 + L): m of the state, i of the tokens. */
    private String sources(String scaM, String inputGate) {
        return g.unsqueeze(g.concat(2, chunk.keepState3(g.unsqueeze(scaM, 2)), inputGate), 2);
    }
}
