package ai.lram.agent.lram;

import ai.lram.agent.autodiff.Init;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.vision.ImpalaCnn;
import ai.lram.agent.xlstm.CarriedState;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.NormSpec;
import java.util.List;

/**
 * A Large Recurrent Action Model. Three tokens per environment step, in order state s_t, return-to-go g_t, reward r_t, each through its own
 * linear layer (images through the {@link ImpalaCnn}) and one shared LayerNorm; the xLSTM stack; one linear head that reads all action
 * dimensions of a_t at g_t. The reward r_t is caused by a_t, so it is seen from step t+1 on.
 *
 * <p>Owns its parameters. Threads: as its backend.
 *
 * @see "Schmied et al. 2025, A Large Recurrent Action Model, arXiv:2410.22391, Sec. 3"
 */
public final class Lram implements AutoCloseable {
    /** Tokens per environment step. */
    public static final int TOKENS = 3;
    /** Position of the return-to-go token, at which the action is read. */
    public static final int ACTION_TOKEN = 1;
    /** The shared LayerNorm over embedded tokens: plain weight, bias, eps 1e-5. */
    public static final NormSpec EMBED_NORM = new NormSpec(1, 1e-5f, true, false);

    private final LramConfig config;
    private final ParameterSet parameters = new ParameterSet();
    public final Parameter stateWeight;
    public final Parameter stateBias;
    public final Parameter returnWeight;
    public final Parameter returnBias;
    public final Parameter rewardWeight;
    public final Parameter rewardBias;
    public final Parameter embedNorm;
    public final Parameter embedNormBias;
    public final Parameter head;
    public final Parameter headBias;
    private final ImpalaCnn imageEncoder;
    private final XlstmStack stack;

    public Lram(LramConfig config) {
        this(config, MlstmSpec.exponential());
    }

    public Lram(LramConfig config, MlstmSpec spec) {
        this.config = config;
        int d = config.backbone().width();
        Init std = Init.normal(0.02);
        ParameterSet set = parameters;
        stateWeight = set.add("embed_state.weight", true, std, d, config.stateDim());
        stateBias = set.add("embed_state.bias", false, std, d);
        returnWeight = set.add("embed_return.weight", true, std, d, 1);
        returnBias = set.add("embed_return.bias", false, std, d);
        rewardWeight = set.add("embed_rewards.weight", true, std, d, 1);
        rewardBias = set.add("embed_rewards.bias", false, std, d);
        embedNorm = set.add("embed_ln.weight", false, Init.constant(1), d);
        embedNormBias = set.add("embed_ln.bias", false, std, d);
        head = set.add("action_net.0.weight", true, std, config.actionDims() * config.vocabulary(), d);
        headBias = set.add("action_net.0.bias", false, Init.zeros(), config.actionDims() * config.vocabulary());
        imageEncoder = config.images() ? new ImpalaCnn(d, set, "embed_image.") : null;
        stack = new XlstmStack(config.backbone(), spec, set, "encoder.layers.");
        if (config.publishedExtras()) {
            set.add("embed_timestep.weight", false, std, 1000, d);
            set.add("embed_action_disc.weight", false, std, config.vocabulary() + 1, d);
            set.add("predict_state.weight", true, std, config.stateDim(), d);
            set.add("predict_state.bias", false, Init.zeros(), config.stateDim());
            set.add("predict_return.weight", true, std, 1, d);
            set.add("predict_return.bias", false, Init.zeros(), 1);
            set.add("predict_reward.weight", true, std, 1, d);
            set.add("predict_reward.bias", false, Init.zeros(), 1);
        }
    }

    public LramConfig config() {
        return config;
    }

    public ParameterSet parameters() {
        return parameters;
    }

    public XlstmStack stack() {
        return stack;
    }

    public ImpalaCnn imageEncoder() {
        return imageEncoder;
    }

    /** Places the parameters on an engine. */
    public Lram allocate(Backend backend, boolean training) {
        parameters.allocate(backend, training);
        return this;
    }

    /**
     * Values of one recorded pass. B sequences of T steps.
     *
     * @param states input: (B, T, stateDim) F32, or (B*T, 3, 64, 64) U8 for images
     * @param returnsToGo input: (B, T, 1), divided by the domain's scale
     * @param rewards input: (B, T, 1), likewise; row t holds the reward of a_t
     * @param tokens after the shared norm, (B, 3T, D)
     * @param blocks output of every block, (B, 3T, D)
     * @param backbone after the final norm, (B, 3T, D)
     * @param logits (B, T, actionDims * vocabulary)
     */
    public record Pass(
            Value states,
            Value returnsToGo,
            Value rewards,
            Value tokens,
            List<Value> blocks,
            Value backbone,
            Value logits) {}

    /**
     * Records a pass over B sequences of T environment steps.
     *
     * @param images the state tokens are images
     * @param carried state before the first token and after the last one; null starts fresh
     */
    public Pass forward(Tape tape, int batch, int steps, boolean images, CarriedState carried) {
        int d = config.backbone().width();
        Value states;
        Value s;
        if (images) {
            states = tape.input("images", DType.U8, batch * steps, ImpalaCnn.CHANNELS, ImpalaCnn.SIZE, ImpalaCnn.SIZE);
            s = tape.reshape(imageEncoder.forward(tape, states), batch, steps, d);
        } else {
            states = tape.input("states", DType.F32, batch, steps, config.stateDim());
            s = tape.linear(states, stateWeight, stateBias);
        }
        Value returns = tape.input("returns to go", DType.F32, batch, steps, 1);
        Value rewards = tape.input("rewards", DType.F32, batch, steps, 1);
        Value g = tape.linear(returns, returnWeight, returnBias);
        Value r = tape.linear(rewards, rewardWeight, rewardBias);
        Value tokens = tape.norm(EMBED_NORM, tape.interleave(s, g, r), embedNorm, embedNormBias);
        XlstmStack.Output out = stack.forward(tape, tokens, carried);
        Value atReturn = tape.everyToken(out.normed(), TOKENS, ACTION_TOKEN);
        Value logits = tape.linear(atReturn, head, headBias);
        return new Pass(states, returns, rewards, tokens, out.blocks(), out.normed(), logits);
    }

    @Override
    public void close() {
        parameters.close();
    }
}
