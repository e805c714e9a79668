package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.StepWeight;
import java.util.List;

/**
 * Launches {@code mlstm_block_step.cu}: mLSTM blocks of the control step in three phases each, as kernels of their own or, where the device
 * can keep a grid together, all blocks in one launch.
 */
final class BlockSteps {
    /** {@code resident} for one launch, {@code phases} for three a block, {@code off} for a kernel a part. */
    static final String PROPERTY = "lram.cuda.step";

    private static final int TOKENS = 3;
    private static final int TAPS = 4;
    private static final int LAYERS = 32;
    private static final int MOST_WIDTH = 2048;
    private static final int MOST_HEAD = 768;

    private final Engine engine;
    private final int mostShared;
    private final Kernel up;
    private final Kernel cell;
    private final Kernel down;
    private final Kernel resident;
    private final long arrived;
    private final String form;

    BlockSteps(Engine engine) {
        this.engine = engine;
        mostShared = engine.device().sharedBytes() - 1024; // the kernels' own reductions take some
        KernelModule module = new KernelModule(engine, "mlstm_block_step");
        up = module.kernel("block_up", mostShared);
        cell = module.kernel("block_cell", mostShared);
        down = module.kernel("block_down", mostShared);
        boolean cooperative = engine.device().cooperative();
        resident = cooperative ? module.kernel("block_steps", mostShared) : null;
        arrived = cooperative ? engine.lasting(Long.BYTES) : 0;
        form = System.getProperty(PROPERTY, "resident");
    }

    /** Blocks of the grid: one a multiprocessor. */
    private int blocks() {
        return engine.device().multiprocessors();
    }

    private static int type(StepWeight w) {
        if (w.full() != null) {
            return 0;
        }
        return w.packed().data().dtype() == DType.BF16 ? 1 : 2;
    }

    private static int up(int n, int by) {
        return (n + by - 1) / by * by;
    }

    /** Shared memory of a launch, as the constants of the source: what a block copies of the weights, then what a phase works with. */
    private record Memory(int keptFloats, boolean kept, int bytes) {}

    private static int elementBytes(int type) {
        return type == 0 ? Float.BYTES : type == 1 ? Short.BYTES : 1;
    }

    /** @return null where a block has too little shared memory */
    private Memory memory(MlstmBlockWeights w, MlstmBlockState state, int all) {
        int padded = up(all, TOKENS);
        int channels = 4 * ((w.inner() / 4 + blocks() - 1) / blocks());
        int rows = (w.width() + blocks() - 1) / blocks();
        int ring = state.slots().ringK().dim(2);
        long upFloats = (long) padded * w.width() + 5L * channels * padded;
        long cellFloats = 5L * (ring + TOKENS)
                + 2L * TOKENS * (ring + TOKENS + 1)
                + 20
                + (long) TOKENS * (w.inner() / w.heads())
                + Engine.THREADS * 4L * TOKENS;
        long downFloats = (long) padded * w.inner() + 8L * rows * TOKENS;
        long work = 4 * Math.max(upFloats, Math.max(cellFloats, downFloats));
        long small = 4 * (w.width() + channels * (17L + 6L * w.heads()) + 2L * w.inner());
        long element = elementBytes(type(w.down()));
        long large = (2L * channels * w.width() + (long) rows * w.inner()) * element;
        boolean kept = w.inner() * element % 16 == 0 && small + large + work <= mostShared;
        long weights = kept ? small + (large + 15) / 16 * 16 : small;
        return weights + work > mostShared ? null : new Memory((int) (weights / 4), kept, (int) (weights + work));
    }

    /** Whether the kernels take a block of these sizes; the others are put together from plain kernels. */
    boolean takes(MlstmBlockWeights w, MlstmBlockState state, Tensor x) {
        int inner = w.inner();
        int all = x.dim(0) * x.dim(1);
        return !form.equals("off")
                && all > 0
                && x.dim(1) <= TOKENS
                && w.conv().dim(1) == TAPS
                && w.q().dim(1) == 4
                && w.width() % 4 == 0
                && inner % w.heads() == 0
                && inner / w.heads() % 4 == 0
                && w.headNorm().groups() == w.heads()
                && w.norm().groups() == 1
                && type(w.upU()) == type(w.down())
                && type(w.upZ()) == type(w.down())
                && 8L * all * w.heads() * blocks() <= Engine.WORKSPACE
                && all <= 8 * TOKENS
                && w.width() <= MOST_WIDTH
                && inner / w.heads() <= MOST_HEAD
                && memory(w, state, all) != null;
    }

    /** Value columns of a unit of the cell: as few as give each block of the grid one, at most 128. */
    private int columns(int rows, int inner, int heads) {
        int dim = inner / heads;
        int chunks = Math.max(1, blocks() / (rows * heads));
        int columns = up((dim + chunks - 1) / chunks, 4);
        return Math.min(Math.min(columns, 128), dim);
    }

    private void check(
            MlstmBlockWeights w, MlstmBlockState state, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        String kernel = "session.mlstmBlock";
        int rows = x.dim(0);
        int tokens = x.dim(1);
        long inner = w.inner();
        int heads = w.heads();
        int dim = (int) (inner / heads);
        MlstmSlots s = state.slots();
        int pool = s.matC().dim(0);
        int ring = s.ringK().dim(2);
        FoldSchedule schedule = state.schedule();
        if (ring < schedule.capacity() || ring < tokens) {
            throw Check.mismatch(
                    kernel + ": the ring holds " + ring + " tokens",
                    schedule + " needs " + schedule.capacity() + " and a step may bring " + tokens,
                    "allocate the ring with schedule.capacity() tokens");
        }
        long cells = (long) pool * heads;
        Check.f32(kernel, "matC", s.matC(), cells * dim * dim);
        Check.f32(kernel, "vecN", s.vecN(), cells * dim);
        Check.f32(kernel, "scaM", s.scaM(), cells);
        Check.f32(kernel, "ringK", s.ringK(), cells * ring * dim);
        Check.f32(kernel, "ringV", s.ringV(), cells * ring * dim);
        Check.f32(kernel, "ringI", s.ringI(), cells * ring);
        Check.f32(kernel, "ringF", s.ringF(), cells * ring);
        Check.size(kernel, "ringLength", s.ringLength(), DType.I32, cells);
        Check.size(kernel, "folded", s.folded(), DType.I32, cells);
        Check.f32(kernel, "history", state.history(), (long) pool * (TAPS - 1) * inner);
        Check.size(kernel, "slots", slots, DType.I32, rows);
        Check.size(kernel, "counts", counts, DType.I32, rows);
        long all = (long) rows * tokens;
        Check.f32(kernel, "x", x, all * w.width());
        for (Tensor t : new Tensor[] {m.z(), m.c(), m.q(), m.k(), m.v(), m.h()}) {
            Check.f32(kernel, "working memory", t, all * inner);
        }
        Check.f32(kernel, "input gate", m.inputGate(), all * heads);
        Check.f32(kernel, "forget gate", m.forgetGate(), all * heads);
        Check.f32(kernel, "norm", w.normWeight(), w.width());
        Check.f32(kernel, "conv", w.conv(), TAPS * inner);
        Check.optional(kernel, "conv's bias", w.convBias(), Math.toIntExact(inner));
        for (Tensor t : new Tensor[] {w.q(), w.k(), w.v()}) {
            Check.f32(kernel, "q, k or v", t, 4 * inner);
        }
        Check.f32(kernel, "input gate's weights", w.inputGate(), 3 * inner * heads);
        Check.f32(kernel, "forget gate's weights", w.forgetGate(), 3 * inner * heads);
        Check.f32(kernel, "input gate's bias", w.inputGateBias(), heads);
        Check.f32(kernel, "forget gate's bias", w.forgetGateBias(), heads);
        Check.f32(kernel, "head norm", w.headNormWeight(), inner);
        Check.f32(kernel, "skip", w.skip(), inner);
    }

    private void shape(
            Engine.Launch launch,
            MlstmBlockWeights w,
            MlstmBlockState state,
            Tensor slots,
            Tensor counts,
            MlstmBlockMemory m,
            Tensor x,
            Memory memory) {
        int dim = w.inner() / w.heads();
        FoldSchedule schedule = state.schedule();
        MlstmSpec spec = w.cell();
        launch.put(slots)
                .put(counts)
                .put(x)
                .put(m.z())
                .put(m.c())
                .put(m.q())
                .put(m.k())
                .put(m.v())
                .put(m.inputGate())
                .put(m.forgetGate())
                .put(m.h())
                .put(engine.partials())
                .put(x.dim(0))
                .put(x.dim(1))
                .put(state.slots().matC().dim(0))
                .put(w.width())
                .put(w.inner())
                .put(w.heads())
                .put(state.slots().ringK().dim(2))
                .put(schedule.first())
                .put(schedule.period())
                .put(schedule.stagger())
                .put(columns(x.dim(0), w.inner(), w.heads()))
                .put(type(w.down()))
                .put(elementBytes(type(w.down())))
                .put(memory.keptFloats())
                .put(memory.kept())
                .put((float) (1 / Math.sqrt(dim)))
                .put(spec.eps())
                .put(w.norm().eps())
                .put(w.headNorm().eps())
                .put(w.norm().centred())
                .put(w.norm().residualScale())
                .put(w.headNorm().centred())
                .put(w.headNorm().residualScale())
                .put(spec.inputGate() == MlstmSpec.InputGate.SIGMOID)
                .put(spec.normalize())
                .faults();
    }

    private static Tensor data(StepWeight w) {
        return w.full() != null ? w.full() : w.packed().data();
    }

    private static Tensor scale(StepWeight w) {
        return w.full() != null ? null : w.packed().scale();
    }

    private static void layer(Engine.Launch launch, MlstmBlockWeights w, MlstmBlockState state) {
        MlstmSlots s = state.slots();
        launch.put(w.normWeight())
                .put(data(w.upU()))
                .put(scale(w.upU()))
                .put(data(w.upZ()))
                .put(scale(w.upZ()))
                .put(w.conv())
                .put(w.convBias())
                .put(w.q())
                .put(w.k())
                .put(w.v())
                .put(w.inputGate())
                .put(w.inputGateBias())
                .put(w.forgetGate())
                .put(w.forgetGateBias())
                .put(w.headNormWeight())
                .put(w.skip())
                .put(data(w.down()))
                .put(scale(w.down()))
                .put(s.matC())
                .put(s.vecN())
                .put(s.scaM())
                .put(s.ringK())
                .put(s.ringV())
                .put(s.ringI())
                .put(s.ringF())
                .put(s.ringLength())
                .put(s.folded())
                .put(state.history())
                .put((long) state.layer());
    }

    /** Three launches; {@link #takes} must have said yes. */
    void run(MlstmBlockWeights w, MlstmBlockState state, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        check(w, state, slots, counts, m, x);
        Memory memory = memory(w, state, x.dim(0) * x.dim(1));
        for (Kernel phase : new Kernel[] {up, cell, down}) {
            Engine.Launch launch = engine.launch(phase);
            shape(launch, w, state, slots, counts, m, x, memory);
            layer(launch, w, state);
            launch.run(blocks(), 1, 1, Engine.THREADS, memory.bytes());
        }
    }

    /** Whether these blocks run in one launch; all must be of one shape. */
    boolean takesTogether(List<MlstmLayer> layers, Tensor x) {
        if (resident == null || !form.equals("resident") || layers.isEmpty()) {
            return false;
        }
        MlstmLayer first = layers.getFirst();
        for (MlstmLayer l : layers) {
            if (!alike(first, l) || !takes(l.weights(), l.state(), x)) {
                return false;
            }
        }
        return true;
    }

    private static boolean alike(MlstmLayer a, MlstmLayer b) {
        MlstmBlockWeights v = a.weights();
        MlstmBlockWeights w = b.weights();
        return v.width() == w.width()
                && v.inner() == w.inner()
                && v.heads() == w.heads()
                && v.norm().equals(w.norm())
                && v.headNorm().equals(w.headNorm())
                && v.cell().equals(w.cell())
                && type(v.down()) == type(w.down())
                && a.state().schedule().equals(b.state().schedule())
                && a.state().slots().ringK().dim(0) == b.state().slots().ringK().dim(0)
                && a.state().slots().ringK().dim(2) == b.state().slots().ringK().dim(2);
    }

    /** One launch for up to 32 blocks; {@link #takesTogether} must have said yes. */
    void runTogether(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        for (MlstmLayer l : layers) {
            check(l.weights(), l.state(), slots, counts, m, x);
        }
        for (int from = 0; from < layers.size(); from += LAYERS) {
            int n = Math.min(LAYERS, layers.size() - from);
            MlstmLayer first = layers.get(from);
            Memory memory = memory(first.weights(), first.state(), x.dim(0) * x.dim(1));
            Engine.Launch launch = engine.launch(resident);
            shape(launch, first.weights(), first.state(), slots, counts, m, x, memory);
            launch.put(arrived).put(n);
            for (int l = 0; l < n; l++) {
                MlstmLayer layer = layers.get(from + l);
                layer(launch, layer.weights(), layer.state());
            }
            launch.together(blocks(), Engine.THREADS, memory.bytes());
        }
    }
}
