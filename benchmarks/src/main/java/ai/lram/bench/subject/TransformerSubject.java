package ai.lram.bench.subject;

import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.baseline.DecisionTransformer;
import ai.lram.agent.baseline.DecisionTransformerPolicy;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.backend.Backend;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;

/**
 * A decision transformer of equal size with cached keys and values, one session. Its cache is filled with drawn numbers rather than by taking
 * the steps; what a step costs depends on their number only. It is put back to the context after every few steps, so that it is always as
 * long as a case says.
 */
public final class TransformerSubject extends PolicySubject {
    private static final long SEED = 11;
    private static final int CHECKED = 40;
    /** The context grows by at most this share, and a few steps, before the cache is put back. */
    private static final double GROWTH = 0.05;

    private static final int FEW = 8;

    private final Backend backend;
    private final DecisionTransformer model;
    private final DecisionTransformerPolicy transformer;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment state;
    private final LramSubject.Weights weights;
    private final int capacity;
    private int context;
    private int taken;

    private TransformerSubject(
            Backend backend,
            DecisionTransformer model,
            ModelCard card,
            DecisionTransformerPolicy policy,
            LramSubject.Weights weights,
            int capacity) {
        super(card, policy, SEED);
        this.backend = backend;
        this.model = model;
        this.transformer = policy;
        this.weights = weights;
        this.capacity = capacity;
        state = arena.allocate(policy.stateBytes(), 64);
        Random random = new Random(SEED);
        for (long i = 0; i < state.byteSize() / Float.BYTES; i++) {
            state.setAtIndex(ValueLayout.JAVA_FLOAT, i, random.nextFloat() - 0.5f);
        }
    }

    /** The counterpart of an xLSTM size on {@code backend}, which stays the caller's, for contexts up to {@code longest} steps. */
    public static TransformerSubject open(Backend backend, ModelSize size, ModelCard card, int longest) {
        return open(backend, size, LramSubject.WEIGHTS.getFirst(), card, longest);
    }

    /** The same with weights stored in another way. */
    public static TransformerSubject open(
            Backend backend, ModelSize size, LramSubject.Weights weights, ModelCard card, int longest) {
        DecisionTransformer model = model(size, card);
        boolean kept = false;
        try {
            model.allocate(backend, false);
            model.parameters().initialize(SEED);
            int capacity = capacity(longest);
            DecisionTransformerPolicy policy =
                    model.policy(card, 1, 1, DecisionTransformer.Context.GROWING, capacity, weights.type());
            kept = true;
            return new TransformerSubject(backend, model, card, policy, weights, capacity);
        } finally {
            if (!kept) {
                model.close();
            }
        }
    }

    private static DecisionTransformer model(ModelSize size, ModelCard card) {
        return new DecisionTransformer(
                LramSubject.config(size, card), DecisionTransformer.Config.like(size.backbone()));
    }

    private static int growth(int context) {
        return FEW + (int) (GROWTH * context);
    }

    private static int capacity(int longest) {
        return Math.max(CHECKED, longest + growth(longest));
    }

    /** Native memory that {@link #open} takes, before it does: parameters, cache, and the numbers the cache is filled with. */
    public static long bytes(ModelSize size, ModelCard card, int longest) {
        DecisionTransformer.Config c = DecisionTransformer.Config.like(size.backbone());
        try (DecisionTransformer model = model(size, card)) {
            long cache = 2L * 4 * c.layers() * c.width() * Lram.TOKENS * capacity(longest);
            return 4 * model.parameters().count() + 2 * cache;
        }
    }

    @Override
    public double check() {
        Tape tape = new Tape(backend, false);
        DecisionTransformer.Pass pass = model.forward(tape, 1, CHECKED);
        tape.keep(pass.logits());
        float[][] expected;
        try (Plan plan = tape.plan("check")) {
            sendInputs(backend, model.shape(), CHECKED, pass.states(), pass.returnsToGo(), pass.rewards());
            plan.run();
            float[] all = model.parameters().read(pass.logits().tensor());
            expected = rows(all, CHECKED, transformer.logitsPerRow());
        }
        return Agreement.require(
                this,
                expected,
                "the training pass",
                transformer::logits,
                "the decision transformer",
                weights.tolerance());
    }

    @Override
    public void begin(int sessions, int steps) {
        if (sessions != 1 || steps + growth(steps) > capacity) {
            throw new IllegalArgumentException(
                    sessions + " sessions after " + steps + " steps; this subject has one of up to " + capacity);
        }
        context = steps;
        reset(1);
        // Without steps behind there is nothing to put into the cache.
        if (context > 0) {
            long perLayer = state.byteSize() / model.config().layers();
            for (int layer = 1; layer <= model.config().layers(); layer++) {
                state.set(ValueLayout.JAVA_INT_UNALIGNED, layer * perLayer - Integer.BYTES, Lram.TOKENS * context);
            }
            policy.restoreState(0, state);
        }
        standsAfter(context);
        taken = 0;
    }

    /** What lies behind is still in the cache; only what came since is forgotten. */
    private void putBack() {
        transformer.rewind(0, Lram.TOKENS * context);
        standsAfter(context);
        taken = 0;
    }

    @Override
    public void fill() {
        if (taken++ == (context == 0 ? capacity : growth(context))) {
            putBack();
            taken = 1;
        }
        super.fill();
    }

    private double usedWeights() {
        long unusedHead = (long) model.shape().actionDims() * model.shape().vocabulary() - transformer.logitsPerRow();
        return model.parameters().count()
                - (double) unusedHead * (model.config().width() + 1);
    }

    /** Weights once, keys and values of all tokens once. */
    @Override
    public double stepBytes(int sessions, int steps) {
        DecisionTransformer.Config c = model.config();
        return weights.bytes() * usedWeights()
                + Float.BYTES * (sessions * 2.0 * c.layers() * c.width() * Lram.TOKENS * (steps + 1));
    }

    @Override
    public double stepFlop(int sessions) {
        double width = model.config().width();
        double oncePerStep = width * (transformer.logitsPerRow() + model.shape().stateDim());
        return 2.0 * sessions * (Lram.TOKENS * (usedWeights() - oncePerStep) + oncePerStep);
    }

    @Override
    public void close() {
        transformer.close();
        model.close();
        arena.close();
    }
}
