package ai.lram.agent.xlstm;

import ai.lram.agent.autodiff.Init;
import ai.lram.agent.autodiff.MlstmBlockParameters;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.NormSpec;

/**
 * The original mLSTM block, pre-norm residual, no feed-forward: x + L(norm(x)) with
 *
 * <pre>
 * [u | z] = W_up norm(x)     c = silu(conv(u))     q, k from c, v from u (block-diagonal 4x4)
 * h = norm_heads(mLSTM(q, k, v, gates(q, k, v)))   L = W_down((h + skip * c) * silu(z))
 * </pre>
 *
 * @see "Beck et al. 2024, xLSTM, arXiv:2405.04517, Sec. 2.4 and Fig. 11"
 */
public final class MlstmBlock implements Block {
    static final float NORM_EPS = 1e-5f;

    private final int heads;
    private final MlstmSpec spec;
    private final NormSpec headNorm;
    public final Parameter norm;
    public final Parameter up;
    public final Parameter q;
    public final Parameter k;
    public final Parameter v;
    public final Parameter conv;
    public final Parameter convBias;
    public final Parameter inputGate;
    public final Parameter inputGateBias;
    public final Parameter forgetGate;
    public final Parameter forgetGateBias;
    public final Parameter outNorm;
    public final Parameter skip;
    public final Parameter down;

    MlstmBlock(XlstmConfig c, MlstmSpec spec, ParameterSet set, String prefix) {
        int d = c.width();
        int inner = c.inner();
        int groups = inner / XlstmConfig.QKV_BLOCK;
        heads = c.heads();
        this.spec = spec;
        headNorm = new NormSpec(heads, NORM_EPS, true, true);
        Init small = Init.normal(Math.sqrt(2.0 / (5.0 * d)));
        norm = set.add(prefix + "xlstm_norm.weight", false, Init.zeros(), d);
        up = set.add(prefix + "xlstm.proj_up.weight", true, small, 2 * inner, d);
        q = set.add(prefix + "xlstm.q_proj.weight", true, small, groups, XlstmConfig.QKV_BLOCK, XlstmConfig.QKV_BLOCK);
        k = set.add(prefix + "xlstm.k_proj.weight", true, small, groups, XlstmConfig.QKV_BLOCK, XlstmConfig.QKV_BLOCK);
        v = set.add(prefix + "xlstm.v_proj.weight", true, small, groups, XlstmConfig.QKV_BLOCK, XlstmConfig.QKV_BLOCK);
        Init convInit = Init.uniform(1 / Math.sqrt(XlstmConfig.CONV));
        conv = set.add(prefix + "xlstm.conv1d.conv.weight", true, convInit, inner, 1, XlstmConfig.CONV);
        convBias = set.add(prefix + "xlstm.conv1d.conv.bias", false, convInit, inner);
        inputGate = set.add(prefix + "xlstm.mlstm_cell.igate.weight", true, Init.zeros(), heads, 3 * inner);
        inputGateBias = set.add(prefix + "xlstm.mlstm_cell.igate.bias", false, Init.normal(0.1), heads);
        forgetGate = set.add(prefix + "xlstm.mlstm_cell.fgate.weight", true, Init.zeros(), heads, 3 * inner);
        forgetGateBias = set.add(prefix + "xlstm.mlstm_cell.fgate.bias", false, Init.linspace(3, 6), heads);
        outNorm = set.add(prefix + "xlstm.mlstm_cell.outnorm.weight", false, Init.zeros(), inner);
        skip = set.add(prefix + "xlstm.learnable_skip", false, Init.constant(1), inner);
        down = set.add(prefix + "xlstm.proj_down.weight", true, Init.normal(2 / (c.blocks() * Math.sqrt(d))), d, inner);
    }

    public MlstmSpec spec() {
        return spec;
    }

    public NormSpec headNorm() {
        return headNorm;
    }

    @Override
    public Value forward(Tape tape, Value x, CarriedState.Layer carried) {
        int inner = down.dim(1);
        Value fused = tape.mlstmBlock(
                parameters(),
                x,
                carried == null ? null : carried.history(tape),
                carried == null ? null : carried.mlstm());
        if (fused != null) {
            return fused;
        }
        Value x1 = tape.norm(XlstmStack.NORM, x, norm, null);
        Value u = tape.linear(x1, up.rows(0, inner), null);
        Value z = tape.linear(x1, up.rows(inner, inner), null);
        Value history = carried == null ? null : carried.history(tape);
        Value c = tape.activation(Activation.SILU, tape.causalConv1d(u, conv, convBias, history, history));
        Value qs = tape.headwise(c, q, null);
        Value ks = tape.headwise(c, k, null);
        Value vs = tape.headwise(u, v, null);
        Tape.Gates gates = tape.mlstmGates(qs, ks, vs, inputGate, inputGateBias, forgetGate, forgetGateBias);
        Value h = tape.mlstm(spec, heads, qs, ks, vs, gates, carried == null ? null : carried.mlstm());
        Value hn = tape.norm(headNorm, h, outNorm, null);
        return tape.add(x, tape.linear(tape.skipGate(hn, skip, c, z), down, null));
    }

    private MlstmBlockParameters parameters() {
        return new MlstmBlockParameters(
                norm,
                up,
                conv,
                convBias,
                q,
                k,
                v,
                inputGate,
                inputGateBias,
                forgetGate,
                forgetGateBias,
                outNorm,
                skip,
                down,
                XlstmStack.NORM,
                headNorm,
                spec,
                heads);
    }
}
