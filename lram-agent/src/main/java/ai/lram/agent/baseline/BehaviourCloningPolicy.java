package ai.lram.agent.baseline;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import ai.lram.agent.policy.SlotBindings;
import ai.lram.agent.policy.TaskCodec;
import ai.lram.backend.Backend;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MatmulOps;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** The control step of {@link BehaviourCloning}: stateless, so a saved session is zero bytes long. One thread; a step allocates nothing. */
final class BehaviourCloningPolicy implements Policy {
    /** Views for a batch of n rows over the shared step memory. */
    private record Frame(
            Tensor states, Tensor h1, Tensor h2, Tensor logits, MemorySegment hostStates, MemorySegment hostLogits) {}

    private final ModelCard card;
    private final LramConfig shape;
    private final int slots;
    private final int maxBatch;
    private final SlotBindings bindings;
    private final Backend backend;
    private final Stream stream;
    private final MatmulOps matmul;
    private final TensorArena arena;
    private final Arena host = Arena.ofShared();
    private final Tensor first;
    private final Tensor firstBias;
    private final Tensor second;
    private final Tensor secondBias;
    private final Tensor head;
    private final Tensor headBias;
    private final Frame[] frames;
    private final float[] logits;
    private boolean closed;

    BehaviourCloningPolicy(BehaviourCloning net, int slots, int maxBatch) {
        card = net.card();
        shape = net.shape();
        this.slots = slots;
        this.maxBatch = maxBatch;
        bindings = new SlotBindings(card, new ActionCodec(shape.discreteActions(), shape.bins()), slots, maxBatch);
        backend = net.parameters().backend();
        stream = backend.stream();
        matmul = backend.ops().matmul();
        first = net.first.value();
        firstBias = net.firstBias.value();
        second = net.second.value();
        secondBias = net.secondBias.value();
        head = net.head.value();
        headBias = net.headBias.value();
        arena = backend.arena("behaviour cloning policy");
        int hidden = net.first.dim(0);
        int out = net.head.dim(0);
        Tensor states = arena.f32(maxBatch, shape.stateDim());
        Tensor h1 = arena.f32(maxBatch, hidden);
        Tensor h2 = arena.f32(maxBatch, hidden);
        Tensor all = arena.f32(maxBatch, out);
        MemorySegment hostStates = host.allocate(4L * maxBatch * shape.stateDim(), 64);
        MemorySegment hostLogits = host.allocate(4L * maxBatch * out, 64);
        frames = new Frame[maxBatch + 1];
        for (int n = 1; n <= maxBatch; n++) {
            frames[n] = new Frame(
                    states.slice(0, n),
                    h1.slice(0, n),
                    h2.slice(0, n),
                    all.slice(0, n),
                    hostStates.asSlice(0, 4L * n * shape.stateDim()),
                    hostLogits.asSlice(0, 4L * n * out));
        }
        logits = new float[maxBatch * out];
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
    }

    @Override
    public void step(PolicyBatch batch) {
        bindings.check(batch);
        int n = batch.count;
        if (n == 0) {
            return;
        }
        Frame f = frames[n];
        encode(batch, f);
        matmul.linear(stream, f.states, first, firstBias, Activation.RELU, f.h1);
        matmul.linear(stream, f.h1, second, secondBias, Activation.RELU, f.h2);
        matmul.linear(stream, f.h2, head, headBias, Activation.NONE, f.logits);
        backend.download(stream, f.logits, f.hostLogits);
        stream.synchronize();
        decode(batch, f);
    }

    private void encode(PolicyBatch batch, Frame f) {
        int dim = shape.stateDim();
        for (int row = 0; row < batch.count; row++) {
            TaskCodec codec = bindings.codec(batch.slot[row]);
            float[] raw = batch.observation[row];
            int n = codec.observationSize();
            for (int i = 0; i < dim; i++) {
                f.hostStates.setAtIndex(
                        ValueLayout.JAVA_FLOAT, (long) row * dim + i, i < n ? codec.observation(i, raw[i]) : 0f);
            }
        }
        backend.upload(stream, f.states, f.hostStates);
    }

    private void decode(PolicyBatch batch, Frame f) {
        int perRow = shape.actionDims() * shape.vocabulary();
        MemorySegment.copy(f.hostLogits, ValueLayout.JAVA_FLOAT, 0, logits, 0, batch.count * perRow);
        for (int row = 0; row < batch.count; row++) {
            batch.status[row] = bindings.codec(batch.slot[row])
                    .decodeChecked(ActionCodec.Decoding.EXPECTATION, logits, row * perRow, batch, row);
        }
    }

    @Override
    public long stateBytes() {
        return 0;
    }

    @Override
    public void saveState(int slot, MemorySegment target) {
        bindings.requireSlot(slot);
    }

    @Override
    public void restoreState(int slot, MemorySegment source) {
        bindings.requireBound(slot);
        PolicyException.requireStateSize(source.byteSize(), stateBytes());
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            arena.close();
            host.close();
        }
    }
}
