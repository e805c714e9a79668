package ai.lram.bench.subject;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.bench.BenchException;
import ai.lram.bench.WrongAnswerException;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

/** Our control step with drawn weights, stored as one of {@link #WEIGHTS}. */
public final class LramSubject extends PolicySubject {
    /** Of the drawn weights and of the inputs. */
    static final long SEED = 7;

    static final long INPUT_SEED = SEED;
    /** Steps that {@link #check} goes beyond the second folds. */
    private static final int BEYOND_FOLDS = 8;

    /**
     * How a policy stores its weights.
     *
     * @param name in case names and options
     * @param type of the large matrices
     * @param tolerance how far the logits may be from those of the fp32 weights, of the largest
     * @param policy makes the policy
     */
    public record Weights(String name, DType type, double tolerance, Maker policy) {
        /** Of a weight. */
        public int bytes() {
            return type.bytes();
        }
    }

    /** Makes a policy of a model whose weights are fp32. */
    @FunctionalInterface
    public interface Maker {
        LramPolicy make(Lram model, ModelCard card, LramPolicy.Options options);
    }

    /** Every storage the policy supports. */
    public static final List<Weights> WEIGHTS = List.of(
            new Weights("fp32", DType.F32, Agreement.ROUNDING, LramPolicy::new),
            new Weights(
                    "bf16",
                    DType.BF16,
                    0.05,
                    (model, card, options) -> new LramPolicy(model, card, options.withWeights(DType.BF16))),
            new Weights(
                    "int8",
                    DType.I8,
                    0.1,
                    (model, card, options) -> new LramPolicy(model, card, options.withWeights(DType.I8))));

    /** A type of matrix states, keys and values by name. @throws BenchException if there is none of that name; the message lists those there are */
    public static DType state(String name) {
        return switch (name) {
            case "fp32" -> DType.F32;
            case "bf16" -> DType.BF16;
            default ->
                throw new BenchException(
                        "a recurrent state cannot be kept as " + name,
                        "the control step supports [fp32, bf16]",
                        "name one of them");
        };
    }

    /** A storage by name. @throws BenchException if there is none of that name; the message lists those there are */
    public static Weights weights(String name) {
        return WEIGHTS.stream()
                .filter(w -> w.name().equals(name))
                .findFirst()
                .orElseThrow(() -> new BenchException(
                        "weights cannot be stored as " + name,
                        "the control step supports "
                                + WEIGHTS.stream().map(Weights::name).toList(),
                        "name some of them"));
    }

    private final Backend backend;
    private final Lram model;
    private final LramPolicy lram;
    private final Weights weights;
    private final DType state;
    private final String what;

    private LramSubject(
            Backend backend, Lram model, ModelCard card, LramPolicy policy, Weights weights, DType state, String what) {
        super(card, policy, INPUT_SEED);
        this.backend = backend;
        this.model = model;
        this.lram = policy;
        this.weights = weights;
        this.state = state;
        this.what = what;
    }

    /** Allocates the model on {@code backend}, which stays the caller's; the state is fp32. */
    public static LramSubject open(Backend backend, ModelSize size, Weights weights, ModelCard card, int sessions) {
        return open(backend, size, weights, DType.F32, card, sessions);
    }

    /** The same with matrix states, keys and values in {@code state}. */
    public static LramSubject open(
            Backend backend, ModelSize size, Weights weights, DType state, ModelCard card, int sessions) {
        LramConfig config = config(size, card);
        Lram model = new Lram(config);
        boolean kept = false;
        try {
            draw(model, backend);
            LramPolicy.Options options =
                    LramPolicy.Options.of(sessions, sessions).withState(state);
            LramPolicy policy = weights.policy().make(model, card, options);
            kept = true;
            String what = size.name() + " " + weights.name() + (state == DType.F32 ? "" : ", state " + state);
            return new LramSubject(backend, model, card, policy, weights, state, what);
        } finally {
            if (!kept) {
                model.close();
            }
        }
    }

    /** The model configuration that holds a card's only task. */
    public static LramConfig config(ModelSize size, ModelCard card) {
        return size.config(
                card.tasks().getFirst().actionSize(), card.tasks().getFirst().hasImage());
    }

    /** First values as training begins with, and gates that depend on their inputs, as training makes them. */
    public static void draw(Lram model, Backend backend) {
        model.allocate(backend, false);
        model.parameters().initialize(SEED);
        for (Parameter p : model.parameters().all()) {
            if (p.name().contains("gate.weight")) {
                float[] values = new float[p.size()];
                Random random = new Random(p.name().hashCode());
                for (int i = 0; i < values.length; i++) {
                    values[i] = (float) (0.02 * random.nextGaussian());
                }
                model.parameters().write(p.value(), values);
            }
        }
    }

    /** Native memory that {@link #open} and {@link #check} take, before they do. */
    public static long bytes(ModelSize size, Weights weights, ModelCard card, int sessions) {
        LramConfig config = config(size, card);
        return PolicyMemory.bytes(config, weights.bytes(), sessions)
                + PolicyMemory.passBytes(config, checkedSteps(size.backbone()));
    }

    /** Prepares steps of so many sessions, as a server does before it is ready. */
    public void prepare(int sessions) {
        lram.warmUp(sessions);
    }

    /** Bytes that the model and its policy hold on their engine. */
    public long liveBytes() {
        return model.parameters().liveBytes() + lram.liveBytes();
    }

    /** The same by the documented formula, on a device. */
    public long toldBytes() {
        return deviceBytes(backend, model.config(), weights, state, lram.slots());
    }

    /** That of a subject before it is opened on {@code backend}. */
    public static long deviceBytes(
            Backend backend, ModelSize size, Weights weights, DType state, ModelCard card, int sessions) {
        return deviceBytes(backend, config(size, card), weights, state, sessions);
    }

    private static long deviceBytes(Backend backend, LramConfig config, Weights weights, DType state, int sessions) {
        boolean fp16 = backend.ops().session().readsFp16(state, sessions);
        return PolicyMemory.deviceBytes(config, weights.bytes(), fp16, state, sessions);
    }

    /** Number of a model's parameters. */
    public static long parameters(ModelSize size, ModelCard card) {
        try (Lram model = new Lram(config(size, card))) {
            return model.parameters().count();
        }
    }

    @Override
    public double check() {
        float[][] expected = trainingPass(checkedSteps(model.config().backbone()));
        return Agreement.require(this, expected, "the training pass", lram::logits, what, weights.tolerance());
    }

    /**
     * What the first and the last of many sessions are answered, step by step from the beginning of their episodes.
     *
     * @param engine that answered
     * @param logits of each step, the last session's behind the first one's; one session has them once
     */
    public record Answers(String engine, int sessions, float[][] logits) {}

    /** The answers to the first and the last of {@code sessions} sessions, for which two of its own are enough. */
    public Answers answers(int sessions, int steps) {
        int rows = Math.min(2, sessions);
        int width = lram.logitsPerRow();
        float[][] logits = new float[steps][];
        begin(rows, 0);
        for (int t = 0; t < steps; t++) {
            fill();
            float[] observed = inputs.observation(t + sessions - 1);
            System.arraycopy(observed, 0, batch.observation[rows - 1], 0, observed.length);
            step();
            logits[t] = Arrays.copyOf(lram.logits(), rows * width);
        }
        return new Answers(backend.name(), sessions, logits);
    }

    /**
     * Compares the logits of the first and the last of so many sessions with those of another engine. The sessions go on from there.
     *
     * @param others of the same size and weights
     * @param tolerance of the largest of the other's logits
     * @return the largest difference, likewise
     * @throws WrongAnswerException if one is larger, or an answer cannot be used
     */
    public double check(Answers others, double tolerance) {
        int sessions = others.sessions();
        int last = sessions - 1;
        begin(sessions, 0);
        int width = lram.logitsPerRow();
        double largest = 0;
        double worst = 0;
        for (int t = 0; t < others.logits().length; t++) {
            fill();
            step();
            float[] wanted = others.logits()[t];
            for (int i = 0; i < wanted.length; i++) {
                float got = lram.logits()[i < width ? i : last * width + i - width];
                largest = Math.max(largest, Math.abs(wanted[i]));
                worst = Math.max(worst, Float.isNaN(got) ? Double.POSITIVE_INFINITY : Math.abs(got - wanted[i]));
            }
            if (!usable() || worst > tolerance * largest) {
                throw new WrongAnswerException(
                        what + " gives wrong answers on " + backend.name() + " with " + sessions + " sessions",
                        "step " + t + " differs from " + others.engine() + " by " + worst / largest
                                + " of the largest logit",
                        "do not trust this build or device; run lram test");
            }
        }
        return worst / largest;
    }

    /** Steps after which every head of a size has folded its ring at least twice. */
    public static int checkedSteps(XlstmConfig b) {
        FoldSchedule schedule = FoldSchedule.forHead(b.headDim(), b.headDim());
        return (schedule.first() + schedule.period()) / Lram.TOKENS + BEYOND_FOLDS;
    }

    /** Logits of a policy's first steps under the inputs of {@link #INPUT_SEED}, beyond the second folds. */
    static float[][] answers(LramPolicy policy, ModelCard card, ModelSize size) {
        TaskCard task = card.tasks().getFirst();
        Inputs inputs = new Inputs(task, INPUT_SEED);
        PolicyBatch batch = new PolicyBatch(card, 1);
        batch.count = 1;
        policy.reset(0, task);
        float[][] answers = new float[checkedSteps(size.backbone())][];
        for (int t = 0; t < answers.length; t++) {
            inputs.fill(batch, 0, 0, t);
            policy.step(batch);
            answers[t] = Arrays.copyOf(policy.logits(), policy.logitsPerRow());
        }
        return answers;
    }

    private int headDim() {
        return model.config().backbone().headDim();
    }

    /** Logits of session 0's first steps, computed in one pass over the whole sequence. */
    private float[][] trainingPass(int steps) {
        Tape tape = new Tape(backend, false);
        Lram.Pass pass = model.forward(tape, 1, steps, false, null);
        tape.keep(pass.logits());
        try (Plan plan = tape.plan("check")) {
            sendInputs(backend, model.config(), steps, pass.states(), pass.returnsToGo(), pass.rewards());
            plan.run();
            float[] all = model.parameters().read(pass.logits().tensor());
            return rows(all, steps, lram.logitsPerRow());
        }
    }

    /** Weights that a step reads. */
    private double usedWeights() {
        LramConfig c = model.config();
        long unusedHead = (long) c.actionDims() * c.vocabulary() - lram.logitsPerRow();
        return model.parameters().count() - (double) unusedHead * (c.backbone().width() + 1);
    }

    /**
     * Weights once; of each head's state either the ring alone, while nothing has been folded, or the matrix once, half a ring, and the
     * matrix written and read again at every fold.
     */
    @Override
    public double stepBytes(int sessions, int context) {
        XlstmConfig b = model.config().backbone();
        FoldSchedule schedule = FoldSchedule.forHead(headDim(), headDim());
        double d = headDim();
        double tokens = (double) Lram.TOKENS * context;
        double matrix = state.bytes() * d * d;
        double bytes = tokens < schedule.first()
                ? state.bytes() * 2 * d * tokens
                : matrix + state.bytes() * d * schedule.period() + 2 * matrix * Lram.TOKENS / schedule.period();
        return weights.bytes() * usedWeights() + sessions * b.blocks() * b.heads() * bytes;
    }

    @Override
    public double stepFlop(int sessions) {
        double width = model.config().backbone().width();
        double oncePerStep = width * (lram.logitsPerRow() + model.config().stateDim());
        return 2.0 * sessions * (Lram.TOKENS * (usedWeights() - oncePerStep) + oncePerStep);
    }

    @Override
    public void close() {
        lram.close();
        model.close();
    }
}
