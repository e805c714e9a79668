package ai.lram.agent.policy;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.vision.ImpalaCnn;
import ai.lram.agent.xlstm.Block;
import ai.lram.agent.xlstm.MlstmBlock;
import ai.lram.agent.xlstm.SlstmBlock;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.ComposedSteps;
import ai.lram.backend.ops.EmbedMemory;
import ai.lram.backend.ops.EmbedWeights;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.HeadMemory;
import ai.lram.backend.ops.HeadWeights;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.Ops;
import ai.lram.backend.ops.PackedWeight;
import ai.lram.backend.ops.StepWeight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * The control step of a Large Recurrent Action Model. The tokens r_{t-1}, s_t, g_t of one environment step go through the stack in one
 * pass: weights and matrix state are read once, recent tokens are folded into the matrix state when the schedule says so, or sooner. The answer
 * is the training pass's over the same tokens, for any number of steps.
 *
 * <p>On an engine that records, the step of each number of rows becomes one recording, read from and written to host-visible memory: on a GPU a
 * step is a graph launch and a wait. It is made at the second step of that many rows, or by {@link #warmUp}. Where tasks are observed by images
 * there are two for each number of rows: a step in which no row has an image does without the encoder, any other has it for all rows in the same
 * launch. Which logits an action is read from depends on the tasks, too: the engine holds that for each slot, and decides.
 *
 * <p>mLSTM blocks that follow each other are one operation. An sLSTM block is in the same recording, but as sixteen operations one after the other on
 * every engine: it splits the mLSTM blocks around it into two runs, and costs a GPU some twenty launches where those cost one.
 *
 * <p>{@link #step} allocates nothing on the heap once warm, but for a few kilobytes for each image that a host engine encodes. One thread owns an
 * instance.
 */
public final class LramPolicy implements Policy {
    private static final int L = Lram.TOKENS;

    /** Parameters up to which fp32 weights are copied in the engine's order: they come from caches, where that order counts, and are few. */
    private static final long COPIED = 4_000_000;

    /**
     * How a policy is set up.
     *
     * @param weights type the large weight matrices are stored in for the step: {@link DType#F32}, {@link DType#BF16} or {@link DType#I8}
     *     (a scale per row). Gates, norms and convolutions stay fp32
     * @param state type of the mLSTM's matrix states, and of the keys and values that are not in them yet: {@link DType#F32}, or {@link DType#BF16}
     *     on an engine that steps with it, which halves what a step of many sessions reads and is not exact. The rest of the state, and a saved
     *     state, are fp32
     */
    public record Options(
            int slots,
            int maxBatch,
            ActionCodec.Decoding decoding,
            FoldSchedule schedule,
            boolean zeroRewards,
            DType weights,
            DType state) {
        public Options {
            requireWeights(weights);
            if (state != DType.F32 && state != DType.BF16) {
                throw new PolicyException(
                        "policy with a recurrent state in " + state,
                        "a control step keeps it in F32 or BF16",
                        "choose one of them");
            }
            if (slots < 1 || maxBatch < 1 || maxBatch > slots) {
                throw new PolicyException(
                        "policy with " + slots + " slots and batches of " + maxBatch,
                        "both must be >= 1 and a batch holds each slot once",
                        "use 1 <= maxBatch <= slots");
            }
        }

        /** @throws PolicyException unless control steps can read weights of that type */
        public static void requireWeights(DType weights) {
            if (weights != DType.F32 && weights != DType.BF16 && weights != DType.I8) {
                throw new PolicyException(
                        "policy with weights in " + weights,
                        "a control step reads F32, BF16 or I8",
                        "choose one of them");
            }
        }

        /** Expected bin centre, schedule by byte counts, true rewards, weights and state in fp32. */
        public static Options of(int slots, int maxBatch) {
            return new Options(slots, maxBatch, ActionCodec.Decoding.EXPECTATION, null, false, DType.F32, DType.F32);
        }

        public Options withSchedule(FoldSchedule s) {
            return new Options(slots, maxBatch, decoding, s, zeroRewards, weights, state);
        }

        public Options withDecoding(ActionCodec.Decoding d) {
            return new Options(slots, maxBatch, d, schedule, zeroRewards, weights, state);
        }

        public Options withWeights(DType type) {
            return new Options(slots, maxBatch, decoding, schedule, zeroRewards, type, state);
        }

        public Options withState(DType type) {
            return new Options(slots, maxBatch, decoding, schedule, zeroRewards, weights, type);
        }
    }

    private sealed interface Layer permits MlstmRun, SlstmLayer {}

    /** mLSTM blocks that follow each other. */
    private record MlstmRun(List<MlstmLayer> blocks) implements Layer {}

    private record SlstmLayer(SlstmBlock block, SlstmWeights w, Tensor state, Tensor history) implements Layer {}

    private record SlstmWeights(
            Tensor norm,
            Tensor conv,
            Tensor convBias,
            Tensor i,
            Tensor f,
            Tensor z,
            Tensor o,
            Tensor r,
            Tensor bias,
            Tensor groupNorm,
            Tensor ffnNorm,
            StepWeight ffnGate,
            StepWeight ffnUp,
            StepWeight ffnDown) {}

    /** Views for a batch of n rows over the shared step memory. */
    private record Frame(
            int n,
            StepExchange.Rows io,
            StepDecisions.Rows answer,
            EmbedMemory embed,
            Tensor x,
            Tensor x1,
            Tensor y,
            MlstmBlockMemory block,
            Tensor d1,
            Tensor d2,
            Tensor d3,
            Tensor d4,
            Tensor f1,
            Tensor f2,
            HeadMemory head,
            StepImages.Rows images) {}

    /** A frame's kernels for batches without an image and for those with one; null where the card's tasks make no such batch. */
    private record Kernels(StepRecording vectors, StepRecording images) {
        /** Those there are. */
        List<StepRecording> all() {
            return vectors == null ? List.of(images) : images == null ? List.of(vectors) : List.of(vectors, images);
        }
    }

    private final Lram model;
    private final ModelCard card;
    private final Options options;
    private final Backend backend;
    private final Ops ops;
    private final Stream stream;
    private final TensorArena arena;
    private final Arena host;
    private final FoldSchedule schedule;
    private final Layer[] layerArray;
    private final SessionState state;
    private final StepExchange exchange;
    private final StepDecisions decisions;
    private final Frame[] frames;
    private final Kernels[] kernels;
    private final SlotBindings bindings;
    private final EmbedWeights embedding;
    private final HeadWeights head;
    private final StepImages images;
    private boolean closed;

    /**
     * Takes the model, allocated on its backend, into use; closing the policy does not close the model, which must not change meanwhile: with
     * narrow weights, or few of them, the policy holds copies of its large matrices.
     *
     * @throws ai.lram.backend.NonFiniteException if a weight is NaN or infinite
     */
    public LramPolicy(Lram model, ModelCard card, Options options) {
        this.model = model;
        this.card = card;
        this.options = options;
        backend = model.parameters().backend();
        ops = backend.ops();
        stream = backend.stream();
        LramConfig config = model.config();
        for (TaskCard t : card.tasks()) {
            requireFits(t, config);
        }
        for (Parameter p : model.parameters().all()) {
            backend.requireFinite(stream, p.name(), p.value());
        }
        arena = backend.arena("policy");
        host = Arena.ofShared();
        try {
            XlstmConfig b = config.backbone();
            schedule = options.schedule() != null ? options.schedule() : FoldSchedule.forHead(b.headDim(), b.headDim());
            int rows = Math.max(b.headDim(), schedule.capacity());
            Tensor wide = options.state() == DType.F32 ? null : arena.f32(b.heads(), rows, b.headDim());
            ActionCodec bins = new ActionCodec(config.discreteActions(), config.bins());
            int actions = 1;
            for (TaskCard t : card.tasks()) {
                actions = Math.max(actions, t.actionSize());
            }
            int headRows = actions * config.vocabulary();
            embedding = new EmbedWeights(
                    List.of(
                            encoder(model.rewardWeight, model.rewardBias),
                            encoder(model.stateWeight, model.stateBias),
                            encoder(model.returnWeight, model.returnBias)),
                    Lram.EMBED_NORM,
                    model.embedNorm.value(),
                    model.embedNormBias.value());
            head = new HeadWeights(
                    XlstmStack.NORM,
                    model.stack().postNorm().value(),
                    null,
                    pack(model.head.rows(0, headRows).value()),
                    model.headBias.rows(0, headRows).value());
            bindings = new SlotBindings(card, bins, options.slots(), options.maxBatch());
            layerArray = layers(model.stack().blocks(), b);
            state = state(wide);
            exchange = new StepExchange(arena, options.maxBatch(), config.stateDim());
            images = card.tasks().stream().anyMatch(TaskCard::hasImage)
                    ? new StepImages(backend, arena, model.imageEncoder(), options.maxBatch(), b.width())
                    : null;
            decisions = new StepDecisions(
                    backend, arena, host, bins, options.decoding(), options.slots(), options.maxBatch(), actions);
            frames = frames(config);
            kernels = kernels();
        } catch (RuntimeException | Error e) {
            arena.close();
            host.close();
            throw e;
        }
    }

    private static void requireFits(TaskCard t, LramConfig config) {
        if (t.observationSize() > config.stateDim()) {
            throw new PolicyException(
                    "task " + t.id() + " observes " + t.observationSize() + " numbers",
                    "the model's state token holds " + config.stateDim(),
                    "use the card that was trained with this model");
        }
        if (t.actionSize() > config.actionDims() || t.discreteActions() > config.discreteActions()) {
            throw new PolicyException(
                    "task " + t.id() + " has " + t.actionSize() + " action dimensions and " + t.discreteActions()
                            + " discrete actions",
                    "the model's head has " + config.actionDims() + " and " + config.discreteActions(),
                    "use the card that was trained with this model");
        }
        if (t.hasImage() && !config.images()) {
            throw new PolicyException(
                    "task " + t.id() + " is observed by images",
                    "the model has no image encoder",
                    "use a model trained with images");
        }
        if (t.hasImage() && !t.imageShape().equals(ImpalaCnn.SHAPE)) {
            throw new PolicyException(
                    "task " + t.id() + " is observed by images of " + t.imageShape(),
                    "the model's encoder reads " + ImpalaCnn.SHAPE,
                    "scale the images of that task");
        }
    }

    private static EmbedWeights.Encoder encoder(Parameter weight, Parameter bias) {
        return new EmbedWeights.Encoder(weight.value(), bias.value());
    }

    /**
     * Whether a policy on the CPU holds its own copies of the large matrices.
     *
     * @param parameters of the model
     */
    public static boolean copies(DType weights, long parameters) {
        return weights != DType.F32 || parameters <= COPIED;
    }

    /** Of an mLSTM block: once more as the kernels of many sessions read it, where the engine says so. */
    private StepWeight packOfBlock(Tensor w) {
        return options.weights() == DType.BF16 && ops.session().readsFp16(options.state(), options.maxBatch())
                ? StepWeight.copyTwice(w, arena, ops.matmul(), stream)
                : pack(w);
    }

    private StepWeight pack(Tensor w) {
        if (!copies(options.weights(), model.parameters().count())
                || !ops.matmul().packs(options.weights())) {
            return StepWeight.of(w);
        }
        return StepWeight.copy(w, options.weights(), arena, ops.matmul(), stream);
    }

    /** Two weights that lie one behind the other, where they can: an engine may make one product of both. */
    private List<StepWeight> halves(Parameter both, int n) {
        if (n % PackedWeight.TILE != 0) {
            return List.of(
                    packOfBlock(both.rows(0, n).value()),
                    packOfBlock(both.rows(n, n).value()));
        }
        StepWeight all = packOfBlock(both.value());
        return List.of(all.part(0, n), all.part(n, n));
    }

    private void product(Tensor x, StepWeight w, Tensor bias, Tensor y) {
        w.linear(ops.matmul(), stream, x, bias, y);
    }

    private Layer[] layers(List<Block> blocks, XlstmConfig c) {
        List<Layer> all = new ArrayList<>();
        List<MlstmLayer> run = new ArrayList<>();
        for (int i = 0; i < blocks.size(); i++) {
            switch (blocks.get(i)) {
                case MlstmBlock m -> run.add(mlstm(m, c, i));
                case SlstmBlock s -> {
                    if (!run.isEmpty()) {
                        all.add(new MlstmRun(List.copyOf(run)));
                        run.clear();
                    }
                    all.add(slstm(s, c));
                }
            }
        }
        if (!run.isEmpty()) {
            all.add(new MlstmRun(List.copyOf(run)));
        }
        return all.toArray(Layer[]::new);
    }

    private MlstmLayer mlstm(MlstmBlock m, XlstmConfig c, int index) {
        int p = options.slots();
        int d = c.headDim();
        int r = schedule.capacity();
        int inner = c.inner();
        MlstmSlots s = new MlstmSlots(
                arena.allocate(options.state(), p, c.heads(), d, d),
                arena.f32(p, c.heads(), d),
                arena.f32(p, c.heads()),
                arena.allocate(options.state(), p, c.heads(), r, d),
                arena.allocate(options.state(), p, c.heads(), r, d),
                arena.f32(p, c.heads(), r),
                arena.f32(p, c.heads(), r),
                arena.i32(p, c.heads()),
                arena.i32(p, c.heads()));
        List<StepWeight> up = halves(m.up, inner);
        MlstmBlockWeights w = new MlstmBlockWeights(
                XlstmStack.NORM,
                m.norm.value(),
                up.get(0),
                up.get(1),
                m.conv.value().reshape(inner, XlstmConfig.CONV),
                m.convBias.value(),
                m.q.value(),
                m.k.value(),
                m.v.value(),
                m.inputGate.value(),
                m.inputGateBias.value(),
                m.forgetGate.value(),
                m.forgetGateBias.value(),
                m.spec(),
                m.headNorm(),
                m.outNorm.value(),
                m.skip.value(),
                packOfBlock(m.down.value()));
        if (options.state() != DType.F32) {
            ops.session().mlstmReset(stream, s, 0); // an engine without that type says so here
        }
        Tensor history = arena.f32(p, XlstmConfig.CONV - 1, inner);
        return new MlstmLayer(w, new MlstmBlockState(s, history, schedule, index));
    }

    private SlstmLayer slstm(SlstmBlock b, XlstmConfig c) {
        int p = options.slots();
        int f = b.feedForward();
        SlstmWeights w = new SlstmWeights(
                b.norm.value(),
                b.conv.value().reshape(c.width(), XlstmConfig.CONV),
                b.convBias.value(),
                b.inputMap.value(),
                b.forgetMap.value(),
                b.zMap.value(),
                b.outputMap.value(),
                b.recurrent.value(),
                b.bias.value(),
                b.groupNorm.value(),
                b.ffnNorm.value(),
                pack(b.ffnUp.rows(0, f).value()),
                pack(b.ffnUp.rows(f, f).value()),
                pack(b.ffnDown.value()));
        return new SlstmLayer(b, w, arena.f32(p, 4, c.width()), arena.f32(p, XlstmConfig.CONV - 1, c.width()));
    }

    private Frame[] frames(LramConfig config) {
        int max = options.maxBatch();
        XlstmConfig b = config.backbone();
        int d = b.width();
        int inner = b.inner();
        boolean slstm = !b.slstmAt().isEmpty();
        int ffn = slstm ? b.feedForward() : 1;
        int sd = slstm ? d : 1;
        Tensor[] width = new Tensor[2];
        for (int i = 0; i < width.length; i++) {
            width[i] = arena.f32(max, L, d);
        }
        EmbedMemory embed = EmbedMemory.allocate(arena, max, L, d);
        MlstmBlockMemory block = MlstmBlockMemory.allocate(arena, max, L, d, inner, b.heads());
        Tensor[] four = new Tensor[4];
        for (int i = 0; i < four.length; i++) {
            four[i] = arena.f32(max, L, sd);
        }
        Tensor f1 = arena.f32(max, L, ffn);
        Tensor f2 = arena.f32(max, L, ffn);
        Tensor last = arena.f32(max, d);
        Tensor lastNormed = arena.f32(max, d);
        Frame[] all = new Frame[max + 1];
        for (int n = 1; n <= max; n++) {
            StepExchange.Rows io = exchange.rows(n);
            StepDecisions.Rows answer = decisions.rows(n, io.input().slots());
            Tensor x = width[0].slice(0, n);
            EmbedMemory tokens = embed.rows(n);
            all[n] = new Frame(
                    n,
                    io,
                    answer,
                    tokens,
                    x,
                    width[1].slice(0, n),
                    tokens.joined(),
                    block.rows(n),
                    four[0].slice(0, n),
                    four[1].slice(0, n),
                    four[2].slice(0, n),
                    four[3].slice(0, n),
                    f1.slice(0, n),
                    f2.slice(0, n),
                    HeadMemory.of(x, StepExchange.RETURN, last, lastNormed.slice(0, n), answer.logits()),
                    images == null ? null : images.rows(tokens));
        }
        return all;
    }

    private Kernels[] kernels() {
        boolean vectors = card.tasks().stream().anyMatch(t -> !t.hasImage());
        Kernels[] all = new Kernels[frames.length];
        for (int n = 1; n < all.length; n++) {
            Frame f = frames[n];
            all[n] = new Kernels(
                    vectors
                            ? new StepRecording(stream, () -> {
                                ops.session().embed(stream, embedding, f.io.written(), f.io.input(), f.embed, f.x);
                                backbone(f);
                                ops.session().decide(stream, head, f.head, f.answer.choice());
                            })
                            : null,
                    images == null
                            ? null
                            : new StepRecording(stream, () -> {
                                ComposedSteps.encode(
                                        ops, stream, embedding, f.io.written(), f.io.input(), f.images.vectors());
                                f.images.encode();
                                ComposedSteps.join(ops, stream, embedding, f.embed, f.x);
                                backbone(f);
                                ops.session().decide(stream, head, f.head, f.answer.choice());
                            }));
        }
        return all;
    }

    @Override
    public ModelCard card() {
        return card;
    }

    @Override
    public int slots() {
        return options.slots();
    }

    @Override
    public int maxBatch() {
        return options.maxBatch();
    }

    @Override
    public void reset(int slot, TaskCard task) {
        bindings.bind(slot, task);
        decisions.bind(slot, bindings.codec(slot));
        for (Layer layer : layerArray) {
            switch (layer) {
                case MlstmRun run -> {
                    for (MlstmLayer m : run.blocks()) {
                        ops.session().mlstmReset(stream, m.state().slots(), slot);
                        ops.elementwise().fill(stream, 0f, m.state().history().slice(slot, 1));
                    }
                }
                case SlstmLayer s -> {
                    ops.elementwise().fill(stream, 0f, s.state().slice(slot, 1));
                    ops.elementwise().fill(stream, 0f, s.history().slice(slot, 1));
                }
            }
        }
    }

    @Override
    public void step(PolicyBatch batch) {
        bindings.check(batch);
        int n = batch.count;
        if (n == 0) {
            return;
        }
        Frame f = frames[n];
        f.io.fill(batch, bindings, L, options.zeroRewards());
        boolean seen = f.images != null && f.images.fill(batch, bindings);
        (seen ? kernels[n].images() : kernels[n].vectors()).finish();
        f.answer.read(batch, bindings);
    }

    /**
     * Prepares steps of {@code rows} rows, so that the next one is as fast as all that follow; changes no session. On an engine that does not
     * record there is nothing to prepare.
     *
     * @throws PolicyException if {@code rows} is not in 1..{@link #maxBatch()}
     */
    public void warmUp(int rows) {
        if (rows < 1 || rows > options.maxBatch()) {
            throw new PolicyException(
                    "preparing steps of " + rows + " rows",
                    "this policy takes 1 to " + options.maxBatch(),
                    "stay within");
        }
        for (StepRecording k : kernels[rows].all()) {
            k.warmUp(frames[rows].io);
        }
    }

    /** {@link #warmUp(int)} for every number of rows up to {@value StepRecording#MOST_PREPARED}. */
    @Override
    public void warmUp() {
        for (int rows = 1; rows <= Math.min(options.maxBatch(), StepRecording.MOST_PREPARED); rows++) {
            warmUp(rows);
        }
    }

    /** All blocks. */
    private void backbone(Frame f) {
        for (int i = 0; i < layerArray.length; i++) {
            switch (layerArray[i]) {
                case MlstmRun run ->
                    ops.session()
                            .mlstmBlocks(
                                    stream,
                                    run.blocks(),
                                    f.io.input().slots(),
                                    f.io.input().counts(),
                                    f.block,
                                    f.x);
                case SlstmLayer s -> slstm(f, s);
            }
        }
    }

    private void normHeads(NormSpec spec, Tensor x, Tensor weight, Tensor y) {
        ops.norm().forward(stream, spec, x, weight, null, y, null, null);
    }

    private void slstm(Frame f, SlstmLayer s) {
        SlstmWeights w = s.w();
        SlstmBlock b = s.block();
        int heads = model.config().backbone().heads();
        ops.norm().forward(stream, XlstmStack.NORM, f.x, w.norm, null, f.x1, null, null);
        ops.session()
                .causalConv1dStep(
                        stream,
                        f.io.input().slots(),
                        f.io.input().counts(),
                        f.x1,
                        w.conv,
                        w.convBias,
                        s.history(),
                        f.y);
        ops.elementwise().activation(stream, Activation.SILU, f.y, f.y);
        ops.matmul().headwise(stream, f.y, w.i, null, f.d1);
        ops.matmul().headwise(stream, f.y, w.f, null, f.d2);
        ops.matmul().headwise(stream, f.x1, w.z, null, f.d3);
        ops.matmul().headwise(stream, f.x1, w.o, null, f.d4);
        ops.session()
                .slstmStep(
                        stream,
                        heads,
                        f.io.input().slots(),
                        f.io.input().counts(),
                        f.d1,
                        f.d2,
                        f.d3,
                        f.d4,
                        w.r,
                        w.bias,
                        s.state(),
                        f.y);
        normHeads(b.headNorm(), f.y, w.groupNorm, f.x1);
        ops.elementwise().axpy(stream, 1f, f.x1, f.x);
        ops.norm().forward(stream, XlstmStack.NORM, f.x, w.ffnNorm, null, f.x1, null, null);
        product(f.x1, w.ffnGate, null, f.f1);
        product(f.x1, w.ffnUp, null, f.f2);
        ops.elementwise().gate(stream, Activation.GELU, f.f1, f.f2, f.f1);
        product(f.f1, w.ffnDown, null, f.y);
        ops.elementwise().axpy(stream, 1f, f.y, f.x);
    }

    /**
     * Logits of the rows of the last step, [action dimension * vocabulary] each, fetched from the engine when asked for; the array is reused. For
     * tests and evaluation, before steps are prepared or taken again.
     */
    public float[] logits() {
        return decisions.logits();
    }

    /** Logits per row in {@link #logits}. */
    public int logitsPerRow() {
        return decisions.perRow();
    }

    private SessionState state(Tensor wide) {
        SessionState all = new SessionState(backend, wide);
        for (Layer layer : layerArray) {
            switch (layer) {
                case MlstmRun run -> {
                    for (MlstmLayer m : run.blocks()) {
                        all.add(m.state().slots(), m.state().history());
                    }
                }
                case SlstmLayer s -> all.add(s.state(), s.history());
            }
        }
        return all;
    }

    @Override
    public long stateBytes() {
        return state.bytes();
    }

    @Override
    public void saveState(int slot, MemorySegment target) {
        bindings.requireSlot(slot);
        state.save(slot, target);
    }

    @Override
    public void restoreState(int slot, MemorySegment source) {
        bindings.requireBound(slot);
        state.restore(slot, source);
    }

    /** Bytes of memory that this policy holds on its engine, the model's parameters left out. */
    public long liveBytes() {
        return arena.liveBytes();
    }

    /** Memory of this policy by name. */
    public String memory() {
        return arena.dump();
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            for (int n = 1; n < kernels.length; n++) {
                kernels[n].all().forEach(StepRecording::close);
            }
            arena.close();
            host.close();
        }
    }
}
