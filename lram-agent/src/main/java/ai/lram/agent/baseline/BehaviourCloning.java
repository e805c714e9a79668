package ai.lram.agent.baseline;

import ai.lram.agent.ConfigException;
import ai.lram.agent.autodiff.Init;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.train.ActionLoss;
import ai.lram.agent.train.BatchStream;
import ai.lram.agent.train.Exchange;
import ai.lram.agent.train.LearningRate;
import ai.lram.agent.train.Optimizer;
import ai.lram.agent.train.TrainingDivergedException;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.ops.Activation;
import ai.lram.dataset.store.TrajectoryStore;
import java.util.function.DoubleConsumer;

/**
 * Behaviour cloning: two hidden ReLU layers from the standardised, zero-padded observation to the same action bins as the model's. It sees
 * neither history, reward nor return, and not which task it plays. The baseline that a sequence model must beat.
 *
 * <p>Owns its parameters. Threads: as its backend.
 */
public final class BehaviourCloning implements AutoCloseable {
    /**
     * @param hidden width of both hidden layers
     * @param batch rows per update
     * @param updates optimiser updates
     * @param peakLearningRate AdamW's rate after a warm-up over a fiftieth of the updates; a cosine takes it down to a hundredth
     * @param weightDecay decoupled weight decay of matrices
     * @param binSigma deviation of the soft target over action bins, in bins; 0 for one-hot targets
     * @param observationNoise deviation of normal noise added to standardised observations
     * @param seed seed of initial weights, batches and noise
     */
    public record Config(
            int hidden,
            int batch,
            long updates,
            double peakLearningRate,
            double weightDecay,
            double binSigma,
            double observationNoise,
            long seed) {
        public Config {
            require(
                    hidden >= 1 && batch >= 1 && updates >= 1,
                    "hidden=" + hidden + " batch=" + batch + " updates=" + updates,
                    "all must be >= 1");
            require(peakLearningRate > 0, "peakLearningRate=" + peakLearningRate, "must be > 0");
            require(
                    weightDecay >= 0 && binSigma >= 0 && observationNoise >= 0,
                    "weightDecay=" + weightDecay + " binSigma=" + binSigma + " observationNoise=" + observationNoise,
                    "all must be >= 0");
        }

        private static void require(boolean ok, String what, String why) {
            if (!ok) {
                throw new ConfigException("behaviour cloning: " + what, why, "correct the value in the config file");
            }
        }

        /** 128 wide, 3000 updates of 128 rows at 2e-3, soft targets of 1.5 bins. */
        public static Config defaults() {
            return new Config(128, 128, 3000, 2e-3, 0.01, 1.5, 0, 1);
        }
    }

    private static final double CLIP_NORM = 1;
    private static final double BETA1 = 0.9;
    private static final double BETA2 = 0.99;

    private final ModelCard card;
    private final LramConfig shape;
    private final ParameterSet parameters = new ParameterSet();
    final Parameter first;
    final Parameter firstBias;
    final Parameter second;
    final Parameter secondBias;
    final Parameter head;
    final Parameter headBias;

    private BehaviourCloning(ModelCard card, Config config, Backend backend) {
        this.card = card;
        shape = shape(card);
        int h = config.hidden();
        int out = shape.actionDims() * shape.vocabulary();
        first = parameters.add("mlp.0.weight", true, he(shape.stateDim()), h, shape.stateDim());
        firstBias = parameters.add("mlp.0.bias", false, Init.zeros(), h);
        second = parameters.add("mlp.1.weight", true, he(h), h, h);
        secondBias = parameters.add("mlp.1.bias", false, Init.zeros(), h);
        head = parameters.add("action_net.weight", true, Init.normal(0.02), out, h);
        headBias = parameters.add("action_net.bias", false, Init.zeros(), out);
        parameters.allocate(backend, true);
        parameters.initialize(config.seed());
    }

    private static Init he(int in) {
        return Init.normal(Math.sqrt(2.0 / in));
    }

    /** Input and output sizes as the model's for the same card; the backbone plays no part. */
    private static LramConfig shape(ModelCard card) {
        int observations = 1;
        int actions = 1;
        for (TaskCard t : card.tasks()) {
            if (t.hasImage()) {
                throw new ConfigException(
                        "behaviour cloning of task " + t.id(),
                        "it is observed by images, this baseline reads vectors",
                        "leave the task out");
            }
            observations = Math.max(observations, t.observationSize());
            actions = Math.max(actions, t.actionSize());
        }
        return new LramConfig(
                observations,
                actions,
                LramConfig.DISCRETE_ACTIONS,
                LramConfig.BINS,
                false,
                false,
                XlstmConfig.mlstm(1, 1, 1));
    }

    /**
     * Trains a policy on rows of the given episodes; tasks take equal shares.
     *
     * @param taskEpisodes training episodes per task, in the order of {@code card.tasks()}
     * @param loss receives the loss of every update
     * @throws TrainingDivergedException if the loss or a gradient is no longer finite
     */
    public static BehaviourCloning train(
            TrajectoryStore store,
            ModelCard card,
            int[][] taskEpisodes,
            Config config,
            Backend backend,
            DoubleConsumer loss) {
        BehaviourCloning net = new BehaviourCloning(card, config, backend);
        try {
            net.fit(store, taskEpisodes, config, backend, loss);
            return net;
        } catch (RuntimeException e) {
            net.close();
            throw e;
        }
    }

    private void fit(
            TrajectoryStore store, int[][] taskEpisodes, Config config, Backend backend, DoubleConsumer listener) {
        int b = config.batch();
        BatchStream stream = new BatchStream(
                store,
                card,
                shape,
                taskEpisodes,
                b,
                1,
                false,
                new BatchStream.Noise(config.observationNoise(), 0),
                config.seed());
        long warmup = config.updates() / 50;
        LearningRate schedule = new LearningRate(
                config.peakLearningRate(),
                config.peakLearningRate() / 100,
                warmup,
                Math.max(1, config.updates() - warmup));
        Tape tape = new Tape(backend, true);
        Value states = tape.input("states", DType.F32, b, shape.stateDim());
        Value hidden = tape.activation(Activation.RELU, tape.linear(states, first, firstBias));
        hidden = tape.activation(Activation.RELU, tape.linear(hidden, second, secondBias));
        Value logits = tape.linear(hidden, head, headBias);
        int entries = b * shape.actionDims();
        ActionLoss loss = new ActionLoss(tape, shape, card, logits, entries, config.binSigma(), true);
        tape.backward(logits, loss.gradient());
        try (Plan plan = tape.plan("behaviour cloning");
                Optimizer optimizer = new Optimizer(parameters, BETA1, BETA2, config.weightDecay(), CLIP_NORM, false);
                Exchange exchange = new Exchange(backend)) {
            for (long update = 0; update < config.updates(); update++) {
                stream.next();
                exchange.send(states, stream.states);
                loss.send(exchange, stream);
                optimizer.zeroGrad();
                plan.run();
                loss.fetch(exchange);
                double norm = optimizer.gradientNorm();
                double now = loss.result(exchange).loss();
                if (!Double.isFinite(norm) || !Double.isFinite(now)) {
                    throw new TrainingDivergedException(update, now, norm);
                }
                optimizer.step(schedule.at(update));
                listener.accept(now);
            }
            backend.stream().synchronize();
        }
    }

    public ModelCard card() {
        return card;
    }

    public ParameterSet parameters() {
        return parameters;
    }

    LramConfig shape() {
        return shape;
    }

    /** Takes the net into use, decoding expected bin centres; closing the policy does not close the net. */
    public Policy policy(int slots, int maxBatch) {
        return new BehaviourCloningPolicy(this, slots, maxBatch);
    }

    @Override
    public void close() {
        parameters.close();
    }
}
