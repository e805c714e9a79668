package ai.lram.agent.xlstm;

import ai.lram.agent.autodiff.Init;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.NormSpec;

/**
 * The original sLSTM block: x + norm_heads(sLSTM(norm(x))), then x + FFN(norm(x)), FFN = W_down(gelu(g) * u), [g | u] = W_up x. Gates i
 * and f are fed by silu(conv(x)), z and o by x.
 *
 * <p>Naming trap of the published checkpoints, kept here: the map called {@code fgate} feeds the cell's input gate and {@code igate} its
 * forget gate.
 *
 * @see "Beck et al. 2024, xLSTM, arXiv:2405.04517, Sec. 2.4 and Fig. 10"
 */
public final class SlstmBlock implements Block {
    private final int heads;
    private final int feedForward;
    private final NormSpec headNorm;
    public final Parameter norm;
    public final Parameter conv;
    public final Parameter convBias;
    /** Feeds the input gate; published as {@code fgate}. */
    public final Parameter inputMap;
    /** Feeds the forget gate; published as {@code igate}. */
    public final Parameter forgetMap;

    public final Parameter zMap;
    public final Parameter outputMap;
    /** (NH, DH_in, 4, DH_out), gates i, f, z, o. */
    public final Parameter recurrent;
    /** (4, NH * DH), gates i, f, z, o. */
    public final Parameter bias;

    public final Parameter groupNorm;
    public final Parameter ffnNorm;
    public final Parameter ffnUp;
    public final Parameter ffnDown;

    SlstmBlock(XlstmConfig c, int index, ParameterSet set, String prefix) {
        int d = c.width();
        heads = c.heads();
        int dh = d / heads;
        feedForward = c.feedForward();
        headNorm = new NormSpec(heads, MlstmBlock.NORM_EPS, true, true);
        Init small = Init.normal(Math.sqrt(2.0 / (5.0 * d)));
        Init convInit = Init.uniform(1 / Math.sqrt(XlstmConfig.CONV));
        norm = set.add(prefix + "xlstm_norm.weight", false, Init.zeros(), d);
        conv = set.add(prefix + "xlstm.conv1d.conv.weight", true, convInit, d, 1, XlstmConfig.CONV);
        convBias = set.add(prefix + "xlstm.conv1d.conv.bias", false, convInit, d);
        inputMap = set.add(prefix + "xlstm.fgate.weight", true, small, heads, dh, dh);
        forgetMap = set.add(prefix + "xlstm.igate.weight", true, small, heads, dh, dh);
        zMap = set.add(prefix + "xlstm.zgate.weight", true, small, heads, dh, dh);
        outputMap = set.add(prefix + "xlstm.ogate.weight", true, small, heads, dh, dh);
        recurrent = set.add(prefix + "xlstm.slstm_cell._recurrent_kernel_", false, Init.zeros(), heads, dh, 4, dh);
        double ratio = c.blocks() == 1 ? 0 : (double) index / (c.blocks() - 1);
        bias = set.add(prefix + "xlstm.slstm_cell._bias_", false, powerLawForgetBias(heads, dh, ratio), 4 * d);
        groupNorm = set.add(prefix + "xlstm.group_norm.weight", false, Init.zeros(), d);
        ffnNorm = set.add(prefix + "ffn_norm.weight", false, Init.zeros(), d);
        ffnUp = set.add(prefix + "ffn.proj_up.weight", true, small, 2 * feedForward, d);
        ffnDown = set.add(
                prefix + "ffn.proj_down.weight", true, Init.normal(2 / (c.blocks() * Math.sqrt(d))), d, feedForward);
    }

    /** Forget bias 5 - 12 (j / (DH-1))^(0.3 + 1.3 r) for unit j of each head, all other gates zero. */
    private static Init powerLawForgetBias(int heads, int dh, double ratio) {
        return (r, a, s) -> {
            java.util.Arrays.fill(a, 0f);
            int h = heads * dh;
            for (int head = 0; head < heads; head++) {
                for (int j = 0; j < dh; j++) {
                    double at = dh == 1 ? 0 : (double) j / (dh - 1);
                    a[h + head * dh + j] = (float) (5 - 12 * Math.pow(at, 0.3 + 1.3 * ratio));
                }
            }
        };
    }

    public NormSpec headNorm() {
        return headNorm;
    }

    public int feedForward() {
        return feedForward;
    }

    @Override
    public Value forward(Tape tape, Value x, CarriedState.Layer carried) {
        Value x1 = tape.norm(XlstmStack.NORM, x, norm, null);
        Value history = carried == null ? null : carried.history(tape);
        Value c = tape.activation(Activation.SILU, tape.causalConv1d(x1, conv, convBias, history, history));
        Value y = tape.slstm(
                heads,
                tape.headwise(c, inputMap, null),
                tape.headwise(c, forgetMap, null),
                tape.headwise(x1, zMap, null),
                tape.headwise(x1, outputMap, null),
                recurrent,
                bias,
                carried == null ? null : carried.slstm());
        Value x2 = tape.add(x, tape.norm(headNorm, y, groupNorm, null));
        Value n = tape.norm(XlstmStack.NORM, x2, ffnNorm, null);
        Value g = tape.linear(n, ffnUp.rows(0, feedForward), null);
        Value u = tape.linear(n, ffnUp.rows(feedForward, feedForward), null);
        return tape.add(x2, tape.linear(tape.gate(Activation.GELU, g, u), ffnDown, null));
    }
}
