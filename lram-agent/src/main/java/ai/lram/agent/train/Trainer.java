package ai.lram.agent.train;

import ai.lram.agent.ConfigException;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.autodiff.Profile;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.CarriedState;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Replay;
import ai.lram.backend.Tensor;
import ai.lram.dataset.store.TrajectoryStore;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;

/**
 * Trains a Large Recurrent Action Model on a trajectory store: cross-entropy over action tokens, AdamW. An update, from zeroed gradients to
 * the new parameters, is one recording; while a device replays it, the next batch is drawn and sent. Single thread, the backend's.
 *
 * <p>Two runs with the same configuration, data and engine give the same numbers, interrupted or not, as long as the update counter and not
 * the clock ends them.
 */
public final class Trainer implements AutoCloseable {
    private static final int VALIDATION_BATCHES = 8;

    private final TrainConfig config;
    private final Backend backend;
    private final Lram model;
    private final ModelCard card;
    private final BatchStream stream;
    private final BatchStream validation;
    private final long[] validationStart;
    private final Graph training;
    private final Graph evaluating;
    private final Optimizer optimizer;
    private final LearningRate schedule;
    private final Precision precision;
    private double elapsedBefore;
    private long update;
    /** The stream before the batch that waits on the device was drawn; null where none waits. */
    private long[] beforeWaiting;

    private int waitingSteps;
    /** Replays the training step once it has run unrecorded, which lets the engine prepare. */
    private Replay step;

    private boolean stepped;

    /** A recorded pass with its inputs, for training or for validation. */
    private final class Graph implements AutoCloseable {
        final Lram.Pass pass;
        final ActionLoss loss;
        final Plan plan;
        final Exchange exchange = new Exchange(backend);
        final BatchParts parts;
        private final Value states;
        private final Value returns;
        private final Value rewards;
        /** What the pass starts from and leaves; null where nothing is carried. */
        private final CarriedState running;
        /** The state of every part between batches; {@link #running} itself where there is one part. */
        private final List<CarriedState> kept = new ArrayList<>();

        Graph(boolean differentiate) {
            LramConfig c = model.config();
            int b = config.batch() / config.accumulate();
            int t = config.steps();
            int entries = b * t * c.actionDims();
            boolean images = card.tasks().getFirst().hasImage();
            Tape tape = new Tape(backend, differentiate, precision);
            parts = new BatchParts(backend, tape, config.accumulate());
            running = config.carryState() ? new CarriedState(backend, c.backbone(), b) : null;
            for (int k = 0; running != null && k < parts.count(); k++) {
                kept.add(parts.count() == 1 ? running : new CarriedState(backend, c.backbone(), b));
            }
            pass = model.forward(tape, b, t, images, running);
            states = parts.input(pass.states());
            returns = parts.input(pass.returnsToGo());
            rewards = parts.input(pass.rewards());
            loss = new ActionLoss(tape, c, card, pass.logits(), entries, config.binSigma(), differentiate, parts);
            if (differentiate) {
                tape.backward(pass.logits(), loss.gradient());
            }
            plan = tape.plan(differentiate ? "training" : "validation");
        }

        /** Queues a batch; the stream has been waited for since the last one. */
        void send(BatchStream from) {
            for (int row = 0; row < config.batch(); row++) {
                if (from.fresh[row]) {
                    reset(row);
                }
            }
            if (states.dtype() == DType.U8) {
                exchange.send(states, from.images);
            } else {
                exchange.send(states, from.states);
            }
            exchange.send(returns, from.returns);
            exchange.send(rewards, from.rewards);
            loss.send(exchange, from);
        }

        /** Empties the carried state of a sequence. */
        void reset(int row) {
            if (running != null) {
                int rows = config.batch() / parts.count();
                kept.get(row / rows).reset(row % rows);
            }
        }

        /** Every tensor that is carried from batch to batch, in a fixed order. */
        List<Tensor> carried() {
            return kept.stream().flatMap(k -> k.tensors().stream()).toList();
        }

        /** Queues the pass over the batch that was sent, part by part. */
        void queue() {
            for (int k = 0; k < parts.count(); k++) {
                enter(k);
                plan.queue();
                parts.leave(k);
                if (running != null && parts.count() > 1) {
                    copy(kept.get(k).tensors(), running.tensors());
                }
            }
        }

        /** Queues what a part starts from. */
        void enter(int k) {
            parts.enter(k);
            if (running != null && parts.count() > 1) {
                copy(running.tensors(), kept.get(k).tensors());
            }
        }

        private void copy(List<Tensor> to, List<Tensor> from) {
            for (int i = 0; i < to.size(); i++) {
                backend.copy(backend.stream(), to.get(i), from.get(i));
            }
        }

        /** As {@link #queue}, replayed where a single pass is all there is. */
        void run() {
            if (parts.count() == 1) {
                plan.run();
            } else {
                queue();
            }
        }

        @Override
        public void close() {
            plan.close();
            if (running != null) {
                running.close();
            }
            if (parts.count() > 1) {
                kept.forEach(CarriedState::close);
            }
            parts.close();
            exchange.close();
        }
    }

    /** In fp32. */
    public Trainer(
            TrajectoryStore store,
            ModelCard card,
            Lram model,
            Backend backend,
            TrainConfig config,
            int[][] trainEpisodes,
            int[][] validationEpisodes) {
        this(store, card, model, backend, config, trainEpisodes, validationEpisodes, Precision.FP32);
    }

    /**
     * @param trainEpisodes episodes per task, in the order of {@code card.tasks()}
     * @param validationEpisodes likewise; may be empty arrays, then there is no validation
     * @param model unallocated, or allocated for training on {@code backend} with the parameters to go on from
     * @param precision of what passes between layers; parameters, gradients and moments are fp32 in both
     * @throws ai.lram.backend.UnsupportedKernelException if the engine cannot train in that precision
     */
    public Trainer(
            TrajectoryStore store,
            ModelCard card,
            Lram model,
            Backend backend,
            TrainConfig config,
            int[][] trainEpisodes,
            int[][] validationEpisodes,
            Precision precision) {
        this.config = config;
        this.precision = precision;
        this.backend = backend;
        this.model = model;
        this.card = card;
        if (card.tasks().stream().anyMatch(TaskCard::hasImage)
                && !card.tasks().stream().allMatch(TaskCard::hasImage)) {
            throw new ConfigException(
                    "a batch with image and vector tasks",
                    "a training pass encodes one kind of state",
                    "train on image tasks or on vector tasks");
        }
        if (model.parameters().backend() == null) {
            model.allocate(backend, true);
            model.parameters().initialize(config.seed());
        }
        model.parameters().keepIn(precision);
        stream = new BatchStream(
                store,
                card,
                model.config(),
                trainEpisodes,
                config.batch(),
                config.steps(),
                config.carryState(),
                new BatchStream.Noise(config.observationNoise(), config.returnNoise()),
                config.seed());
        boolean validate = config.validateEvery() > 0;
        for (int[] e : validationEpisodes) {
            validate &= e.length > 0;
        }
        validation = validate
                ? new BatchStream(
                        store,
                        card,
                        model.config(),
                        validationEpisodes,
                        config.batch(),
                        config.steps(),
                        config.carryState(),
                        BatchStream.Noise.NONE,
                        config.seed() + 1)
                : null;
        validationStart = validate ? validation.state() : null;
        training = new Graph(true);
        evaluating = validate ? new Graph(false) : null;
        optimizer =
                new Optimizer(model.parameters(), 0.9, config.beta2(), config.weightDecay(), config.clipNorm(), false);
        schedule = new LearningRate(
                config.peakLearningRate(),
                config.peakLearningRate() * 0.01,
                config.warmupUpdates(),
                Math.max(1, config.updates() - config.warmupUpdates()));
    }

    /** A card for every task of a store, from its training episodes. */
    public static ModelCard card(
            TrajectoryStore store,
            String name,
            TrainConfig config,
            int[][] trainEpisodes,
            Map<String, String> provenance) {
        List<TaskCard> tasks = new ArrayList<>();
        for (int i = 0; i < store.taskIds().size(); i++) {
            tasks.add(TaskCards.of(store, store.taskIds().get(i), trainEpisodes[i], config));
        }
        return new ModelCard(ModelCard.FORMAT_VERSION, name, tasks, provenance);
    }

    /** The smallest published-style model configuration that holds every task of a card. */
    public static LramConfig modelConfig(ModelCard card, TrainConfig config) {
        int obs = 1;
        int act = 1;
        boolean images = false;
        for (TaskCard t : card.tasks()) {
            obs = Math.max(obs, t.observationSize());
            act = Math.max(act, t.actionSize());
            images |= t.hasImage();
        }
        return new LramConfig(obs, act, LramConfig.DISCRETE_ACTIONS, LramConfig.BINS, images, false, config.backbone());
    }

    public TrainConfig config() {
        return config;
    }

    public Lram model() {
        return model;
    }

    public ModelCard card() {
        return card;
    }

    public long update() {
        return update;
    }

    /** Runs until the counter or the clock ends it, or {@code stop} says so between two updates. */
    public void run(TrainingListener listener, BooleanSupplier stop) {
        long start = System.nanoTime();
        double elapsed = elapsedBefore;
        while (!stop.getAsBoolean()) {
            double byCount = (double) update / config.updates();
            double byClock = config.maxMinutes() > 0 ? elapsed / (60 * config.maxMinutes()) : 0;
            if (Math.max(byCount, byClock) >= 1) {
                break;
            }
            long t0 = System.nanoTime();
            if (beforeWaiting == null) {
                draw();
                backend.stream().synchronize();
            }
            int validSteps = waitingSteps;
            double lr = schedule.at(byClock > byCount ? byClock * config.updates() : update);
            if (update < config.warmupUpdates()) {
                lr = Math.min(lr, schedule.at(update));
            }
            optimizer.prepare(lr);
            runStep();
            optimizer.queueNormDownload();
            training.loss.fetch(training.exchange);
            draw();
            backend.stream().synchronize();
            double norm = optimizer.downloadedNorm();
            ActionLoss.Result result = training.loss.result(training.exchange);
            if (!Double.isFinite(norm) || !Double.isFinite(result.loss())) {
                throw new TrainingDivergedException(update, result.loss(), norm);
            }
            update++;
            double seconds = (System.nanoTime() - t0) / 1e9;
            double validationLoss = Double.NaN;
            if (evaluating != null && update % config.validateEvery() == 0) {
                validationLoss = validate();
            }
            elapsed = elapsedBefore + (System.nanoTime() - start) / 1e9;
            lastElapsed = elapsed;
            listener.updated(new TrainingMetrics(
                    update,
                    result.loss(),
                    result.accuracy(),
                    lr,
                    norm,
                    Lram.TOKENS * validSteps / seconds,
                    elapsed,
                    Math.min(1, Math.max(byClock, (double) update / config.updates())),
                    validationLoss));
            if (config.checkpointEvery() > 0 && update % config.checkpointEvery() == 0) {
                listener.checkpointDue(this);
            }
        }
        elapsedBefore = elapsed;
        lastElapsed = elapsed;
    }

    private double lastElapsed;

    /** Draws the next batch and queues it behind the step under way. */
    private void draw() {
        beforeWaiting = stream.state();
        stream.next();
        waitingSteps = stream.validSteps;
        training.send(stream);
    }

    private void runStep() {
        if (!stepped) {
            stepped = true;
            queueStep();
            return;
        }
        if (step == null) {
            step = backend.stream().record(this::queueStep);
        }
        step.run();
    }

    private void queueStep() {
        optimizer.zeroGrad();
        training.queue();
        optimizer.queueNorm();
        optimizer.queueStep();
    }

    /** Mean loss over the same validation batches every time. */
    public double validate() {
        if (evaluating == null) {
            return Double.NaN;
        }
        validation.restore(validationStart);
        double sum = 0;
        for (int i = 0; i < VALIDATION_BATCHES; i++) {
            validation.next();
            evaluating.send(validation);
            if (i == 0) {
                for (int row = 0; row < config.batch(); row++) {
                    evaluating.reset(row);
                }
            }
            evaluating.run();
            evaluating.loss.fetch(evaluating.exchange);
            backend.stream().synchronize();
            sum += evaluating.loss.result(evaluating.exchange).loss();
        }
        return sum / VALIDATION_BATCHES;
    }

    /** Device memory for what a training pass keeps between its kernels. */
    public long activationBytes() {
        return training.plan.slabBytes();
    }

    /** Time per kernel over {@code replays} of the training plan with the next batches, of each its first part; parameters do not change. */
    public Profile profile(int replays) {
        Profile p = new Profile();
        for (int i = 0; i < replays; i++) {
            draw();
            backend.stream().synchronize();
            optimizer.zeroGrad();
            training.enter(0);
            training.plan.run(p);
        }
        return p;
    }

    /** Device time of every kernel of the training plan; the gradients it leaves belong to no batch. */
    public List<Plan.KernelTime> kernelTimes(int replays) {
        return training.plan.kernelTimes(replays);
    }

    /** State to resume from, belonging to the parameters at this moment. */
    public TrainingSnapshot snapshot() {
        Map<String, float[]> tensors = new HashMap<>();
        ParameterSet p = model.parameters();
        tensors.put("first", p.read(p.firstMoments()));
        tensors.put("second", p.read(p.secondMoments()));
        List<Tensor> carried = training.carried();
        for (int i = 0; i < carried.size(); i++) {
            tensors.put("carried." + i, p.read(carried.get(i)));
        }
        return new TrainingSnapshot(
                update, lastElapsed, beforeWaiting == null ? stream.state() : beforeWaiting, tensors);
    }

    /** Goes on from a snapshot of the same configuration; the parameters must be those saved with it. */
    public void restore(TrainingSnapshot s) {
        ParameterSet p = model.parameters();
        write(p, p.firstMoments(), s, "first");
        write(p, p.secondMoments(), s, "second");
        List<Tensor> carried = training.carried();
        for (int i = 0; i < carried.size(); i++) {
            write(p, carried.get(i), s, "carried." + i);
        }
        stream.restore(s.streams());
        beforeWaiting = null;
        update = s.update();
        optimizer.restoreSteps(update);
        elapsedBefore = s.elapsedSeconds();
        lastElapsed = elapsedBefore;
    }

    private static void write(ParameterSet p, Tensor to, TrainingSnapshot s, String name) {
        float[] a = s.tensors().get(name);
        if (a == null || a.length != to.size()) {
            throw new ConfigException(
                    "training snapshot without a usable tensor " + name,
                    (a == null ? "it is missing" : a.length + " numbers") + ", this run needs " + to.size(),
                    "resume with the configuration of the saved run");
        }
        p.write(to, a);
    }

    @Override
    public void close() {
        if (step != null) {
            step.close();
        }
        training.close();
        if (evaluating != null) {
            evaluating.close();
        }
        optimizer.close();
    }
}
