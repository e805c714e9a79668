package ai.lram.agent.baseline;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import ai.lram.agent.policy.SlotBindings;
import ai.lram.agent.policy.StepDecisions;
import ai.lram.agent.policy.StepExchange;
import ai.lram.agent.policy.StepRecording;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.EmbedMemory;
import ai.lram.backend.ops.EmbedWeights;
import ai.lram.backend.ops.HeadMemory;
import ai.lram.backend.ops.HeadWeights;
import ai.lram.backend.ops.Ops;
import ai.lram.backend.ops.StepWeight;
import ai.lram.backend.ops.TransformerBlockMemory;
import ai.lram.backend.ops.TransformerBlockWeights;
import ai.lram.backend.ops.TransformerLayer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/**
 * The control step of {@link DecisionTransformer} with cached keys and values: the tokens r_{t-1}, s_t, g_t in one pass, as the model's own
 * control step. While nothing has been forgotten the answer is the training pass's over the same tokens; afterwards keys and values of the
 * tokens kept still depend on those that are gone, as in every sliding cache.
 *
 * <p>A saved state is, layer by layer: keys, values ({@code 3 * steps} rows of {@code width} floats each), number of tokens (one int).
 *
 * <p>On an engine that records, the step of each number of rows becomes one recording, as in {@link LramPolicy}: how long a
 * cache is, kernels read from the device, so that one recording serves every context.
 *
 * <p>{@link #step} allocates nothing on the heap once warm. One thread owns an instance.
 */
public final class DecisionTransformerPolicy implements Policy {
    private static final int L = Lram.TOKENS;
    /** Views for a batch of n rows over the shared step memory. */
    private record Frame(
            StepExchange.Rows io,
            StepDecisions.Rows answer,
            EmbedMemory embed,
            Tensor x,
            TransformerBlockMemory blocks,
            HeadMemory head) {}

    private final DecisionTransformer model;
    private final ModelCard card;
    private final LramConfig shape;
    private final DecisionTransformer.Context context;
    private final DType weights;
    private final int slots;
    private final int maxBatch;
    private final int capacity;
    private final SlotBindings bindings;
    private final Backend backend;
    private final Ops ops;
    private final Stream stream;
    private final TensorArena arena;
    private final Arena host;
    private final MemorySegment length;
    private final List<TransformerLayer> layers;
    private final StepExchange exchange;
    private final StepDecisions decisions;
    private final Frame[] frames;
    private final StepRecording[] kernels;
    private final EmbedWeights embedding;
    private final HeadWeights head;
    /** Tokens in each slot's cache, those forgotten included. */
    private final long[] tokens;

    private boolean closed;

    DecisionTransformerPolicy(
            DecisionTransformer model,
            ModelCard card,
            int slots,
            int maxBatch,
            DecisionTransformer.Context context,
            int steps,
            DType weights) {
        LramPolicy.Options.requireWeights(weights);
        if (steps < 1 || steps > Integer.MAX_VALUE / L) {
            throw new PolicyException(
                    "a cache of " + steps + " steps", "it must hold at least one", "use a context of 1 step or more");
        }
        this.model = model;
        this.card = card;
        this.slots = slots;
        this.maxBatch = maxBatch;
        this.context = context;
        this.weights = weights;
        shape = model.shape();
        capacity = L * steps;
        int actions = 1;
        for (TaskCard t : card.tasks()) {
            requireFits(t);
            actions = Math.max(actions, t.actionSize());
        }
        ActionCodec bins = new ActionCodec(shape.discreteActions(), shape.bins());
        bindings = new SlotBindings(card, bins, slots, maxBatch);
        backend = model.parameters().backend();
        ops = backend.ops();
        stream = backend.stream();
        for (Parameter p : model.parameters().all()) {
            backend.requireFinite(stream, p.name(), p.value());
        }
        arena = backend.arena("decision transformer policy");
        host = Arena.ofShared();
        try {
            length = host.allocate(ValueLayout.JAVA_INT);
            int headRows = actions * shape.vocabulary();
            embedding = new EmbedWeights(
                    List.of(
                            encoder(model.rewardWeight, model.rewardBias),
                            encoder(model.stateWeight, model.stateBias),
                            encoder(model.returnWeight, model.returnBias)),
                    Lram.EMBED_NORM,
                    model.embedNorm.value(),
                    model.embedNormBias.value());
            head = new HeadWeights(
                    DecisionTransformer.NORM,
                    model.postNorm.value(),
                    model.postNormBias.value(),
                    pack(model.head.rows(0, headRows).value()),
                    model.headBias.rows(0, headRows).value());
            List<TransformerLayer> all = new ArrayList<>();
            for (DecisionTransformer.Block b : model.blocks()) {
                all.add(layer(b));
            }
            layers = List.copyOf(all);
            exchange = new StepExchange(arena, maxBatch, shape.stateDim());
            decisions = new StepDecisions(
                    backend, arena, host, bins, ActionCodec.Decoding.EXPECTATION, slots, maxBatch, actions);
            frames = frames();
            kernels = kernels();
            tokens = new long[slots];
        } catch (RuntimeException | Error e) {
            arena.close();
            host.close();
            throw e;
        }
    }

    private void requireFits(TaskCard t) {
        if (t.hasImage() || t.observationSize() > shape.stateDim()) {
            throw new PolicyException(
                    "task " + t.id() + " observes " + (t.hasImage() ? "images" : t.observationSize() + " numbers"),
                    "this model reads vectors of up to " + shape.stateDim() + " numbers",
                    "use a card of tasks it was made for");
        }
        if (t.actionSize() > shape.actionDims() || t.discreteActions() > shape.discreteActions()) {
            throw new PolicyException(
                    "task " + t.id() + " has " + t.actionSize() + " action dimensions and " + t.discreteActions()
                            + " discrete actions",
                    "the model's head has " + shape.actionDims() + " and " + shape.discreteActions(),
                    "use a card of tasks it was made for");
        }
    }

    private static EmbedWeights.Encoder encoder(Parameter weight, Parameter bias) {
        return new EmbedWeights.Encoder(weight.value(), bias.value());
    }

    private StepWeight pack(Tensor w) {
        return StepWeight.of(w, weights, arena, ops.matmul(), stream);
    }

    private TransformerLayer layer(DecisionTransformer.Block b) {
        int heads = model.config().heads();
        int dim = model.config().width() / heads;
        TransformerBlockWeights w = new TransformerBlockWeights(
                DecisionTransformer.NORM,
                b.norm().value(),
                b.normBias().value(),
                pack(b.q().value()),
                b.qBias().value(),
                pack(b.k().value()),
                b.kBias().value(),
                pack(b.v().value()),
                b.vBias().value(),
                pack(b.out().value()),
                b.outBias().value(),
                DecisionTransformer.NORM,
                b.ffnNorm().value(),
                b.ffnNormBias().value(),
                pack(b.up().value()),
                b.upBias().value(),
                pack(b.down().value()),
                b.downBias().value());
        return new TransformerLayer(
                w, arena.f32(slots, capacity, heads, dim), arena.f32(slots, capacity, heads, dim), arena.i32(slots));
    }

    private Frame[] frames() {
        DecisionTransformer.Config c = model.config();
        int d = c.width();
        Tensor tokens = arena.f32(maxBatch, L, d);
        EmbedMemory embed = EmbedMemory.allocate(arena, maxBatch, L, d);
        TransformerBlockMemory blocks =
                TransformerBlockMemory.allocate(arena, maxBatch, L, d, c.heads(), c.feedForward());
        Tensor last = arena.f32(maxBatch, d);
        Tensor lastNormed = arena.f32(maxBatch, d);
        Frame[] all = new Frame[maxBatch + 1];
        for (int n = 1; n <= maxBatch; n++) {
            StepExchange.Rows io = exchange.rows(n);
            StepDecisions.Rows answer = decisions.rows(n, io.input().slots());
            Tensor x = tokens.slice(0, n);
            all[n] = new Frame(
                    io,
                    answer,
                    embed.rows(n),
                    x,
                    blocks.rows(n),
                    HeadMemory.of(x, StepExchange.RETURN, last, lastNormed.slice(0, n), answer.logits()));
        }
        return all;
    }

    private StepRecording[] kernels() {
        StepRecording[] all = new StepRecording[frames.length];
        for (int n = 1; n < all.length; n++) {
            Frame f = frames[n];
            all[n] = new StepRecording(stream, () -> queue(f));
        }
        return all;
    }

    @Override
    public ModelCard card() {
        return card;
    }

    @Override
    public int slots() {
        return slots;
    }

    @Override
    public int maxBatch() {
        return maxBatch;
    }

    @Override
    public void reset(int slot, TaskCard task) {
        bindings.bind(slot, task);
        decisions.bind(slot, bindings.codec(slot));
        setLength(slot, 0);
    }

    private void setLength(int slot, int count) {
        length.set(ValueLayout.JAVA_INT, 0, count);
        for (TransformerLayer layer : layers) {
            backend.upload(stream, layer.length().slice(slot, 1), length);
        }
        stream.synchronize();
        tokens[slot] = count;
    }

    /**
     * Forgets all but the first {@code count} tokens of a slot's episode.
     *
     * @throws PolicyException if the cache holds fewer, or has begun to forget
     */
    public void rewind(int slot, int count) {
        bindings.requireBound(slot);
        if (count < 0 || count > tokens[slot] || tokens[slot] > capacity) {
            throw new PolicyException(
                    "slot " + slot + " cannot go back to " + count + " tokens",
                    "it has seen " + tokens[slot] + " and its cache holds " + capacity,
                    "keep at most as many as the cache still holds from the episode's beginning");
        }
        setLength(slot, count);
    }

    /** @throws PolicyException also if a row's cache is full and its context {@link DecisionTransformer.Context#GROWING} */
    @Override
    public void step(PolicyBatch batch) {
        bindings.check(batch);
        int n = batch.count;
        if (n == 0) {
            return;
        }
        requireRoom(batch);
        frames[n].io.fill(batch, bindings, L, false);
        kernels[n].finish();
        frames[n].answer.read(batch, bindings);
    }

    @Override
    public void warmUp() {
        for (int rows = 1; rows <= Math.min(maxBatch, StepRecording.MOST_PREPARED); rows++) {
            kernels[rows].warmUp(frames[rows].io);
        }
    }

    private void queue(Frame f) {
        ops.session().embed(stream, embedding, f.io.written(), f.io.input(), f.embed, f.x);
        ops.attention()
                .transformerBlocks(
                        stream, layers, f.io.input().slots(), f.io.input().counts(), f.blocks, f.x);
        ops.session().decide(stream, head, f.head, f.answer.choice());
    }

    private void requireRoom(PolicyBatch batch) {
        for (int row = 0; row < batch.count; row++) {
            long after = tokens[batch.slot[row]] + tokensOf(batch, row);
            if (context == DecisionTransformer.Context.GROWING && after > capacity) {
                throw new PolicyException(
                        "slot " + batch.slot[row] + " cannot go on",
                        "its cache holds " + capacity / L + " steps and is full",
                        "reset it, or make the policy for longer episodes");
            }
        }
        for (int row = 0; row < batch.count; row++) {
            tokens[batch.slot[row]] += tokensOf(batch, row);
        }
    }

    private static int tokensOf(PolicyBatch batch, int row) {
        return batch.first[row] ? L - 1 : L;
    }

    /** Logits of a row of the last step, [action dimension * vocabulary]; the array is reused. For tests and benchmarks. */
    public float[] logits() {
        return decisions.logits();
    }

    /** Logits per row in {@link #logits}. */
    public int logitsPerRow() {
        return decisions.perRow();
    }

    @Override
    public long stateBytes() {
        return layers.size() * (2L * Float.BYTES * capacity * model.config().width() + Integer.BYTES);
    }

    @Override
    public void saveState(int slot, MemorySegment target) {
        bindings.requireSlot(slot);
        PolicyException.requireRoom(target.byteSize(), stateBytes());
        long at = 0;
        for (TransformerLayer layer : layers) {
            for (Tensor t : List.of(layer.keys(), layer.values(), layer.length())) {
                Tensor s = t.slice(slot, 1);
                backend.download(stream, s, target.asSlice(at, s.bytes()));
                at += s.bytes();
            }
        }
        stream.synchronize();
    }

    @Override
    public void restoreState(int slot, MemorySegment source) {
        bindings.requireBound(slot);
        PolicyException.requireStateSize(source.byteSize(), stateBytes());
        long perLayer = stateBytes() / layers.size();
        int length = source.get(ValueLayout.JAVA_INT_UNALIGNED, perLayer - Integer.BYTES);
        for (int i = 1; i < layers.size(); i++) {
            int other = source.get(ValueLayout.JAVA_INT_UNALIGNED, (i + 1) * perLayer - Integer.BYTES);
            requireLength(other == length, other);
        }
        requireLength(length >= 0 && (length <= capacity || context == DecisionTransformer.Context.WINDOW), length);
        long at = 0;
        for (TransformerLayer layer : layers) {
            for (Tensor t : List.of(layer.keys(), layer.values(), layer.length())) {
                Tensor s = t.slice(slot, 1);
                backend.upload(stream, s, source.asSlice(at, s.bytes()));
                at += s.bytes();
            }
        }
        stream.synchronize();
        tokens[slot] = length;
    }

    private void requireLength(boolean ok, int length) {
        if (!ok) {
            throw new PolicyException(
                    "a session state of " + length + " tokens",
                    "this policy's caches hold " + capacity + ", the same number in every layer",
                    "save and restore with the same model and context");
        }
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            for (int n = 1; n < kernels.length; n++) {
                kernels[n].close();
            }
            arena.close();
            host.close();
        }
    }
}
