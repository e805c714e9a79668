package ai.lram.agent.xlstm;

import ai.lram.agent.autodiff.Init;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.NormSpec;
import java.util.ArrayList;
import java.util.List;

/** Blocks in a row and a final LayerNorm. Parameter names are the published ones under {@code prefix}. */
public final class XlstmStack {
    /** LayerNorm of the original blocks: eps 1e-5, scale 1 + w, no bias. */
    public static final NormSpec NORM = new NormSpec(1, MlstmBlock.NORM_EPS, true, true);

    private final XlstmConfig config;
    private final List<Block> blocks;
    private final Parameter postNorm;

    public XlstmStack(XlstmConfig config, MlstmSpec spec, ParameterSet set, String prefix) {
        this.config = config;
        List<Block> list = new ArrayList<>();
        for (int i = 0; i < config.blocks(); i++) {
            String p = prefix + "blocks." + i + ".";
            list.add(config.isSlstm(i) ? new SlstmBlock(config, i, set, p) : new MlstmBlock(config, spec, set, p));
        }
        blocks = List.copyOf(list);
        postNorm = set.add(prefix + "post_blocks_norm.weight", false, Init.zeros(), config.width());
    }

    public XlstmConfig config() {
        return config;
    }

    public List<Block> blocks() {
        return blocks;
    }

    public Parameter postNorm() {
        return postNorm;
    }

    /** Values of one recorded pass: the output of every block and of the final norm, all (B, S, D). */
    public record Output(List<Value> blocks, Value normed) {}

    /** Records the stack over x (B, S, D); {@code carried} may be null. */
    public Output forward(Tape tape, Value x, CarriedState carried) {
        List<Value> out = new ArrayList<>();
        Value at = x;
        for (int i = 0; i < blocks.size(); i++) {
            at = blocks.get(i).forward(tape, at, carried == null ? null : carried.layer(i));
            out.add(at);
        }
        return new Output(List.copyOf(out), tape.norm(NORM, at, postNorm, null));
    }
}
