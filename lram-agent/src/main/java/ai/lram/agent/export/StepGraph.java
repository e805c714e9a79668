package ai.lram.agent.export;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.export.OnnxOptions.Form;
import ai.lram.agent.export.OnnxPort.Type;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.Block;
import ai.lram.agent.xlstm.MlstmBlock;
import ai.lram.agent.xlstm.SlstmBlock;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.ops.MlstmSpec;
import java.util.ArrayList;
import java.util.List;

/** A model's control step as a graph: state and inputs in raw units to logits, actions and the new state. */
final class StepGraph {
    static final String OBSERVATION = "observation";
    static final String RETURN_TO_GO = "return_to_go";
    static final String REWARD = "reward";
    static final String FIRST = "first";
    static final String TOKEN = "token";
    static final String TASK = "task";
    static final String LOGITS = "logits";
    static final String ACTION = "action";

    private final GraphBuilder g = new GraphBuilder();
    private final Lram model;
    private final LramConfig config;
    private final OnnxOptions options;
    private final List<TaskCard> cards;

    private StepGraph(Lram model, List<TaskCard> cards, OnnxOptions options) {
        this.model = model;
        this.cards = cards;
        this.options = options;
        config = model.config();
    }

    /** @throws ExportException if the model or a task has what a graph does not */
    static GraphBuilder of(Lram model, List<TaskCard> cards, OnnxOptions options) {
        cards.forEach(t -> requireFits(t, model.config()));
        return new StepGraph(model, cards, options).build();
    }

    private static void requireFits(TaskCard t, LramConfig config) {
        if (t.hasImage()) {
            throw new ExportException(
                    "task " + t.id() + " is observed by images",
                    "the exported graph takes vector observations only",
                    "name the tasks to export, without this one, or run the model with this runtime");
        }
        if (t.observationSize() > config.stateDim()
                || t.actionSize() > config.actionDims()
                || t.discreteActions() > config.discreteActions()) {
            throw new ExportException(
                    "task " + t.id() + " has " + t.observationSize() + " observations, " + t.actionSize()
                            + " action dimensions and " + t.discreteActions() + " discrete actions",
                    "the model has " + config.stateDim() + ", " + config.actionDims() + " and "
                            + config.discreteActions(),
                    "use the card that was trained with this model");
        }
    }

    private GraphBuilder build() {
        g.scope("tokens");
        boolean step = options.form() == Form.STEP;
        String index = cards.size() == 1 ? null : port(TASK, Type.INT64, "position of the task in the metadata's list");
        Tasks tasks = new Tasks(g, cards, index);
        String observation = port(
                OBSERVATION,
                Type.FLOAT,
                "the task's observation, in its units; zero beyond its own",
                tasks.observations());
        String returnToGo = port(
                RETURN_TO_GO, Type.FLOAT, "return asked for from this step on, raw units; limited to the card's range");
        String reward = port(REWARD, Type.FLOAT, "reward of the previous action, raw units");
        Linear linear = new Linear(g, model.parameters(), options.weights());
        Inputs inputs = new Inputs(g, linear, model, tasks);
        Chunk chunk;
        String x;
        if (step) {
            String first = port(FIRST, Type.BOOL, "an episode begins: reward and state are ignored");
            chunk = new Chunk(g, Lram.TOKENS, first);
            x = inputs.step(observation, returnToGo, reward, first);
        } else {
            String token = port(TOKEN, Type.INT64, "kind of this token: 0 reward, 1 state, 2 return to go");
            chunk = new Chunk(g, 1, null);
            x = inputs.token(observation, returnToGo, reward, token);
        }
        List<Block> blocks = model.stack().blocks();
        for (int i = 0; i < blocks.size(); i++) {
            g.scope("block." + i);
            x = block(blocks.get(i), x, linear, chunk, new BlockState(g, i, options.batch()));
        }
        g.scope("head");
        String last = g.pick(x, 1, chunk.tokens() - 1);
        String normed = g.layerNorm(last, linear.residualScale(model.stack().postNorm()), null, XlstmStack.NORM.eps());
        int vocabulary = config.vocabulary();
        int rows = tasks.actions() * vocabulary;
        Parameter head = model.head.rows(0, rows);
        String flat = g.add(linear.large(normed, head), linear.vector(model.headBias.rows(0, rows)));
        String logits = g.reshape(flat, 0, tasks.actions(), vocabulary);
        String when = step ? "" : "; of use after a return-to-go token";
        g.output(
                logits,
                new OnnxPort(
                        LOGITS,
                        Type.FLOAT,
                        List.of(options.batch(), tasks.actions(), vocabulary),
                        "per action dimension: discrete actions, then bins" + when));
        g.scope("action");
        ActionCodec bins = new ActionCodec(config.discreteActions(), config.bins());
        g.output(
                new Actions(g, tasks, bins).decode(logits, observation),
                new OnnxPort(
                        ACTION,
                        Type.FLOAT,
                        List.of(options.batch(), tasks.actions()),
                        "the task's action, in its units, not limited by any safety stage; zero beyond its own"
                                + when));
        return g;
    }

    private String port(String name, Type type, String meaning, Integer... dims) {
        List<Integer> shape = new ArrayList<>(List.of(options.batch()));
        shape.addAll(List.of(dims));
        return g.input(new OnnxPort(name, type, shape, meaning));
    }

    private String block(Block block, String x, Linear linear, Chunk chunk, BlockState state) {
        XlstmConfig b = config.backbone();
        return switch (block) {
            case MlstmBlock m -> {
                requireExponential(m.spec());
                yield new MlstmNodes(g, linear, chunk, state, m, b).forward(x);
            }
            case SlstmBlock s -> new SlstmNodes(g, linear, chunk, state, s, b).forward(x);
        };
    }

    private static void requireExponential(MlstmSpec spec) {
        if (spec.inputGate() != MlstmSpec.InputGate.EXPONENTIAL) {
            throw new ExportException(
                    "a model with " + spec.inputGate() + " input gates",
                    "the exported graph has the exponential gate of the paper's cell only",
                    "export a model whose config.json says inputGate EXPONENTIAL");
        }
    }
}
