package ai.lram.agent.baseline;

import ai.lram.agent.ConfigException;
import ai.lram.agent.autodiff.Init;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.NormSpec;
import java.util.ArrayList;
import java.util.List;

/**
 * A decision transformer over the same tokens, with the same embeddings and the same head as {@link Lram}: state, return-to-go and reward of
 * each step, actions read at the return-to-go. Pre-norm blocks, causal softmax attention, GELU feed-forward; no position embeddings, as the
 * recurrent models have none. What a recurrent model of equal size is compared with.
 *
 * <p>Vector observations only. Owns its parameters. Threads: as its backend.
 *
 * @see "Chen et al. 2021, Decision Transformer, arXiv:2106.01345; sizes as in Schmied et al. 2025, arXiv:2410.22391, Appendix"
 */
public final class DecisionTransformer implements AutoCloseable {
    /** LayerNorm of every block: plain weight, bias, eps 1e-5. */
    static final NormSpec NORM = new NormSpec(1, 1e-5f, true, false);

    /**
     * Shape of the transformer.
     *
     * @param width of the residual stream
     * @param layers number of blocks
     * @param heads of every block; divides the width
     * @param feedForward width inside the feed-forward
     */
    public record Config(int width, int layers, int heads, int feedForward) {
        private static final int HEAD = 64;

        public Config {
            if (width < 1 || layers < 1 || heads < 1 || feedForward < 1 || width % heads != 0) {
                throw new ConfigException(
                        "decision transformer with width=" + width + " layers=" + layers + " heads=" + heads
                                + " feedForward=" + feedForward,
                        "all must be >= 1 and heads divide the width",
                        "correct the model config");
            }
        }

        /**
         * The published counterpart of an xLSTM stack with about as many parameters: half as many blocks of the same width, heads of 64
         * where they divide the width, feed-forward four times as wide.
         */
        public static Config like(XlstmConfig b) {
            int heads = b.width() % HEAD == 0 ? b.width() / HEAD : b.heads();
            return new Config(b.width(), Math.max(1, b.blocks() / 2), heads, 4 * b.width());
        }
    }

    /** One block's parameters. */
    record Block(
            Parameter norm,
            Parameter normBias,
            Parameter q,
            Parameter qBias,
            Parameter k,
            Parameter kBias,
            Parameter v,
            Parameter vBias,
            Parameter out,
            Parameter outBias,
            Parameter ffnNorm,
            Parameter ffnNormBias,
            Parameter up,
            Parameter upBias,
            Parameter down,
            Parameter downBias) {}

    private final LramConfig shape;
    private final Config config;
    private final ParameterSet parameters = new ParameterSet();
    final Parameter stateWeight;
    final Parameter stateBias;
    final Parameter returnWeight;
    final Parameter returnBias;
    final Parameter rewardWeight;
    final Parameter rewardBias;
    final Parameter embedNorm;
    final Parameter embedNormBias;
    final Parameter postNorm;
    final Parameter postNormBias;
    final Parameter head;
    final Parameter headBias;
    private final List<Block> blocks;

    /** @param shape sizes of inputs and head; its backbone plays no part */
    public DecisionTransformer(LramConfig shape, Config config) {
        if (shape.images()) {
            throw new ConfigException(
                    "decision transformer with images",
                    "this baseline reads vectors",
                    "use a shape without images: LramConfig.withImages(false)");
        }
        this.shape = shape;
        this.config = config;
        int d = config.width();
        Init std = Init.normal(0.02);
        stateWeight = parameters.add("embed_state.weight", true, std, d, shape.stateDim());
        stateBias = parameters.add("embed_state.bias", false, std, d);
        returnWeight = parameters.add("embed_return.weight", true, std, d, 1);
        returnBias = parameters.add("embed_return.bias", false, std, d);
        rewardWeight = parameters.add("embed_rewards.weight", true, std, d, 1);
        rewardBias = parameters.add("embed_rewards.bias", false, std, d);
        embedNorm = parameters.add("embed_ln.weight", false, Init.constant(1), d);
        embedNormBias = parameters.add("embed_ln.bias", false, std, d);
        List<Block> all = new ArrayList<>();
        for (int i = 0; i < config.layers(); i++) {
            all.add(block("encoder.layers." + i + "."));
        }
        blocks = List.copyOf(all);
        postNorm = parameters.add("encoder.post_norm.weight", false, Init.constant(1), d);
        postNormBias = parameters.add("encoder.post_norm.bias", false, Init.zeros(), d);
        int out = shape.actionDims() * shape.vocabulary();
        head = parameters.add("action_net.0.weight", true, std, out, d);
        headBias = parameters.add("action_net.0.bias", false, Init.zeros(), out);
    }

    private Block block(String prefix) {
        int d = config.width();
        Init std = Init.normal(0.02);
        Init residual = Init.normal(0.02 / Math.sqrt(2.0 * config.layers()));
        return new Block(
                parameters.add(prefix + "norm.weight", false, Init.constant(1), d),
                parameters.add(prefix + "norm.bias", false, Init.zeros(), d),
                parameters.add(prefix + "attention.q.weight", true, std, d, d),
                parameters.add(prefix + "attention.q.bias", false, Init.zeros(), d),
                parameters.add(prefix + "attention.k.weight", true, std, d, d),
                parameters.add(prefix + "attention.k.bias", false, Init.zeros(), d),
                parameters.add(prefix + "attention.v.weight", true, std, d, d),
                parameters.add(prefix + "attention.v.bias", false, Init.zeros(), d),
                parameters.add(prefix + "attention.out.weight", true, residual, d, d),
                parameters.add(prefix + "attention.out.bias", false, Init.zeros(), d),
                parameters.add(prefix + "ffn_norm.weight", false, Init.constant(1), d),
                parameters.add(prefix + "ffn_norm.bias", false, Init.zeros(), d),
                parameters.add(prefix + "ffn.up.weight", true, std, config.feedForward(), d),
                parameters.add(prefix + "ffn.up.bias", false, Init.zeros(), config.feedForward()),
                parameters.add(prefix + "ffn.down.weight", true, residual, d, config.feedForward()),
                parameters.add(prefix + "ffn.down.bias", false, Init.zeros(), d));
    }

    /** Sizes of inputs and head. */
    public LramConfig shape() {
        return shape;
    }

    public Config config() {
        return config;
    }

    public ParameterSet parameters() {
        return parameters;
    }

    List<Block> blocks() {
        return blocks;
    }

    /** Places the parameters on an engine. */
    public DecisionTransformer allocate(Backend backend, boolean training) {
        parameters.allocate(backend, training);
        return this;
    }

    /**
     * Values of one recorded pass, B sequences of T steps.
     *
     * @param states input: (B, T, stateDim)
     * @param returnsToGo input: (B, T, 1), divided by the domain's scale
     * @param rewards input: (B, T, 1), likewise; row t holds the reward of a_t
     * @param logits (B, T, actionDims * vocabulary)
     */
    public record Pass(Value states, Value returnsToGo, Value rewards, Value logits) {}

    /** Records a pass over B sequences of T environment steps. */
    public Pass forward(Tape tape, int batch, int steps) {
        Value states = tape.input("states", DType.F32, batch, steps, shape.stateDim());
        Value returns = tape.input("returns to go", DType.F32, batch, steps, 1);
        Value rewards = tape.input("rewards", DType.F32, batch, steps, 1);
        Value s = tape.linear(states, stateWeight, stateBias);
        Value g = tape.linear(returns, returnWeight, returnBias);
        Value r = tape.linear(rewards, rewardWeight, rewardBias);
        Value x = tape.norm(Lram.EMBED_NORM, tape.interleave(s, g, r), embedNorm, embedNormBias);
        for (Block b : blocks) {
            Value n = tape.norm(NORM, x, b.norm, b.normBias);
            Value attended = tape.causalAttention(
                    config.heads(),
                    tape.linear(n, b.q, b.qBias),
                    tape.linear(n, b.k, b.kBias),
                    tape.linear(n, b.v, b.vBias));
            x = tape.add(x, tape.linear(attended, b.out, b.outBias));
            Value up = tape.linear(tape.norm(NORM, x, b.ffnNorm, b.ffnNormBias), b.up, b.upBias);
            x = tape.add(x, tape.linear(tape.activation(Activation.GELU, up), b.down, b.downBias));
        }
        Value atReturn = tape.everyToken(tape.norm(NORM, x, postNorm, postNormBias), Lram.TOKENS, Lram.ACTION_TOKEN);
        return new Pass(states, returns, rewards, tape.linear(atReturn, head, headBias));
    }

    /** What happens when an episode is longer than the cache. */
    public enum Context {
        /** The cache is as long as the longest episode; a step beyond it is refused. */
        GROWING,
        /** The oldest tokens are forgotten: attention sees the last steps only. */
        WINDOW
    }

    /**
     * A policy over this model, which must outlive it. Its keys and values take 8 * layers * width bytes a token and slot.
     *
     * @param card tasks to act for; vectors only
     * @param slots sessions it can hold
     * @param maxBatch sessions per step
     * @param steps environment steps in the cache
     * @throws ai.lram.agent.policy.PolicyException if a task does not fit the model
     */
    public DecisionTransformerPolicy policy(ModelCard card, int slots, int maxBatch, Context context, int steps) {
        return policy(card, slots, maxBatch, context, steps, DType.F32);
    }

    /**
     * The same with large weight matrices stored as {@code weights} for the step: {@link DType#F32}, or copies in {@link DType#BF16} or {@link
     * DType#I8}. Biases, norms and the cache stay fp32.
     */
    public DecisionTransformerPolicy policy(
            ModelCard card, int slots, int maxBatch, Context context, int steps, DType weights) {
        return new DecisionTransformerPolicy(this, card, slots, maxBatch, context, steps, weights);
    }

    @Override
    public void close() {
        parameters.close();
    }
}
