package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.NormSpec;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Launches {@code mlstm_block_step.cu}: mLSTM blocks of the control step in three phases each, as kernels of their own or, where the device
 * can keep a grid together, all blocks in one launch.
 */
final class BlockSteps {
    private static final int THREADS = 512;
    private static final int TOKENS = 3;
    private static final int TAPS = 4;
    private static final int LAYERS = 32;

    /** Words of four bytes that the addresses of these blocks take in shared memory. */
    private static final int LAYERS_WORDS = LAYERS * 28 * Long.BYTES / 4;

    private static final int WARPS = THREADS / 32;

    /** Value columns that are a line of the second-level cache, and most columns and bands of a unit of the cell. */
    private static final int LINE = 32;

    private static final int MOST_COLUMNS = 128;
    private static final int MOST_BANDS = 4;

    /**
     * Elements of C that a block handles in the time that adding up a band of answers takes: a wait for all blocks, whatever the head's size. A
     * third band saves 1,344 elements of four heads of 256 and was timed slower; two more bands save 6,784 of four heads of 640 and were faster.
     */
    private static final int BAND_COST = 2048;

    /** Sessions that the kernels can take: a lane looks at each. */
    private static final int MOST_ROWS = 32;

    private final Engine engine;
    private final int mostShared;
    private final boolean cooperative;
    private final long arrived;
    private final Map<Sizes, Form> forms = new HashMap<>();

    /** What the kernels are compiled for. */
    private record Sizes(
            int rows,
            int tokens,
            int width,
            int inner,
            int heads,
            int ring,
            int type,
            NormSpec norm,
            NormSpec headNorm,
            MlstmSpec.InputGate inputGate,
            boolean normalize) {}

    /** The kernels of one shape. */
    private record Form(Kernel up, Kernel cell, Kernel down, Kernel resident, int sharedBytes) {}

    BlockSteps(Engine engine) {
        this.engine = engine;
        mostShared = engine.device().sharedBytes() - 1024; // the kernels' own reductions take some
        cooperative = engine.device().cooperative();
        arrived = cooperative ? engine.lasting(Long.BYTES) : 0;
    }

    private static Sizes sizes(MlstmBlockWeights w, MlstmBlockState state, Tensor x) {
        return new Sizes(
                x.dim(0),
                x.dim(1),
                w.width(),
                w.inner(),
                w.heads(),
                state.slots().ringK().dim(2),
                LargeWeights.type(w.down()),
                w.norm(),
                w.headNorm(),
                w.cell().inputGate(),
                w.cell().normalize());
    }

    /** Compiles on the first use of a shape, and finds the result in the cache on disk afterwards. */
    private Form form(Sizes z) {
        return forms.computeIfAbsent(z, s -> {
            Memory memory = memory(s);
            Cut cut = cut(s.rows(), s.inner(), s.heads());
            KernelModule module = new KernelModule(
                    engine,
                    "mlstm_block_step",
                    "LRAM_THREADS=" + THREADS,
                    "STEP_WIDTH=" + s.width(),
                    "STEP_INNER=" + s.inner(),
                    "STEP_HEADS=" + s.heads(),
                    "STEP_ROWS=" + s.rows(),
                    "STEP_TOKENS=" + s.tokens(),
                    "STEP_BLOCKS=" + blocks(),
                    "STEP_RING=" + s.ring(),
                    "STEP_COLUMNS=" + cut.columns(),
                    "STEP_BANDS=" + cut.bands(),
                    "STEP_TYPE=" + s.type(),
                    KernelModule.define("STEP_MMA", memory.mma()),
                    KernelModule.define("STEP_KEPT", memory.kept()),
                    KernelModule.define("STEP_COPIED", memory.copied()),
                    "STEP_SHARED=" + memory.bytes(),
                    KernelModule.define("STEP_SIGMOID", s.inputGate() == MlstmSpec.InputGate.SIGMOID),
                    KernelModule.define("STEP_NORMALIZE", s.normalize()),
                    KernelModule.define("STEP_CENTRED", s.norm().centred()),
                    KernelModule.define("STEP_RESIDUAL", s.norm().residualScale()),
                    KernelModule.define("STEP_HEAD_CENTRED", s.headNorm().centred()),
                    KernelModule.define("STEP_HEAD_RESIDUAL", s.headNorm().residualScale()));
            int bytes = memory.bytes();
            return new Form(
                    module.kernel("block_up", bytes),
                    module.kernel("block_cell", bytes),
                    module.kernel("block_down", bytes),
                    cooperative ? module.kernel("block_steps", bytes) : null,
                    bytes);
        });
    }

    /** Blocks of the grid: one a multiprocessor. */
    private int blocks() {
        return engine.device().multiprocessors();
    }

    private static int up(int n, int by) {
        return (n + by - 1) / by * by;
    }

    /**
     * Shared memory of a launch, as the constants of the source.
     *
     * @param mma whether products run on tensor cores, their weights in registers
     * @param kept whether a block copies its large weights
     * @param copied whether it keeps the gates of heads for {@code down}
     */
    private record Memory(boolean mma, boolean kept, boolean copied, int bytes) {}

    /** Most channels of a block of the grid. */
    private int channels(int inner) {
        return 4 * ((inner / 4 + blocks() - 1) / blocks());
    }

    private static int elementBytes(int type) {
        return type == 0 ? Float.BYTES : type == 1 ? Short.BYTES : 1;
    }

    /** Floats of a product on tensor cores: x in three parts, and partial sums; as Tiles of the source. */
    private static long tileFloats(int tokens, int n, int k) {
        int warps = THREADS / 32;
        int tiles = (n + 7) / 8;
        int steps = k / 32;
        int groups = 1;
        for (int g = 2; g <= warps; g *= 2) {
            if (held(tiles, steps, g) <= held(tiles, steps, groups)) {
                groups = g;
            }
        }
        int pitch = k % 64 == 0 ? k + 32 : k;
        return up(3 * tokens * pitch, 8) / 2 + warps / groups * (16L * 8 * (tiles | 1) + 4);
    }

    private static int held(int tiles, int steps, int groups) {
        int splits = THREADS / 32 / groups;
        return (tiles + groups - 1) / groups * ((steps + splits - 1) / splits);
    }

    /** @return null where a block has too little shared memory */
    private Memory memory(Sizes s) {
        boolean whole = s.type() == 1 && s.width() % 32 == 0 && s.inner() % 32 == 0;
        boolean oneEach = (long) s.rows() * s.tokens() * s.heads() <= WARPS; // a warp a token's head
        Memory m = whole && oneEach && !held(s, true) ? memory(s, true, true) : null;
        if (m == null && whole) {
            m = memory(s, true, false);
        }
        return m != null ? m : memory(s, false, false);
    }

    /** Whether {@code down} has the gates of heads in registers. */
    private static boolean held(Sizes s, boolean mma) {
        int all = s.rows() * s.tokens();
        return (long) (mma ? all : up(all, TOKENS)) * s.heads() <= WARPS && s.inner() / s.heads() <= 256;
    }

    private Memory memory(Sizes s, boolean mma, boolean copied) {
        int all = s.rows() * s.tokens();
        int padded = up(all, TOKENS);
        int channels = channels(s.inner());
        int rows = (s.width() + blocks() - 1) / blocks();
        int dim = s.inner() / s.heads();
        int columns = cut(s.rows(), s.inner(), s.heads()).columns();
        int quads = columns / 4;
        long upFloats =
                (mma ? tileFloats(all, 2 * channels, s.width()) : (long) padded * s.width()) + 6L * channels * padded;
        int lines = quads <= 8 && 8 % quads == 0 ? WARPS : THREADS / quads; // of which partial sums are kept
        long cellFloats = 64 + (long) TOKENS * columns + 2L * TOKENS * dim + (long) TOKENS * columns * lines;
        long downFloats = (mma ? tileFloats(all, rows, s.inner()) : (long) padded * s.inner() + 8L * rows * TOKENS)
                + (long) all * rows;
        long cell = Math.max(cellFloats, 4 + 3L * up(s.ring(), 4)); // the second to fold a ring
        long work = (Math.max(Math.max(upFloats, cell), downFloats) + 31) / 32 * 32;
        long gates = copied ? 2L * all * s.inner() : 0;
        long small = s.width() + channels * (19L + 6L * s.heads()) + LAYERS_WORDS;
        int element = elementBytes(s.type());
        long large = up((int) ((2L * channels * s.width() + (long) rows * s.inner()) * element), 16) / 4;
        long least = small + work + 4 + dim + gates;
        boolean kept = !mma && s.inner() * element % 16 == 0 && 4 * (least + large) <= mostShared;
        long floats = least + (kept ? large : 0);
        return 4 * floats > mostShared ? null : new Memory(mma, kept, copied, (int) (4 * floats));
    }

    /** Whether the kernels take a block of these sizes. */
    boolean takes(MlstmBlockWeights w, MlstmBlockState state, MlstmBlockMemory m, Tensor x) {
        int inner = w.inner();
        int all = x.dim(0) * x.dim(1);
        return state.slots().matC().dtype() == DType.F32
                && all > 0
                && x.dim(0) <= MOST_ROWS
                && x.dim(1) <= TOKENS
                && w.conv().dim(1) == TAPS
                && w.q().dim(1) == 4
                && w.width() % 4 == 0
                && inner % w.heads() == 0
                && inner / w.heads() % 4 == 0
                && w.headNorm().groups() == w.heads()
                && w.norm().groups() == 1
                && LargeWeights.type(w.upU()) == LargeWeights.type(w.down())
                && LargeWeights.type(w.upZ()) == LargeWeights.type(w.down())
                && hasRoom(x, w.heads(), inner / w.heads())
                && x.dim(0) * channels(inner) <= THREADS
                && (w.width() + blocks() - 1) / blocks() * TOKENS <= THREADS
                && BlockCheck.aligned(
                        w,
                        x,
                        state.slots().matC(),
                        state.slots().vecN(),
                        state.slots().ringK(),
                        state.slots().ringV(),
                        m.z(),
                        m.c(),
                        m.q(),
                        m.k(),
                        m.v(),
                        m.h())
                && memory(sizes(w, state, x)) != null;
    }

    /** Shares of the gates, what of the heads waits for the end of the block, and answers of all bands but one. */
    private boolean hasRoom(Tensor x, int heads, int dim) {
        long all = (long) x.dim(0) * x.dim(1);
        long shares = 2L * all * heads * blocks();
        long after = (long) x.dim(0) * heads * (4 + dim);
        long answers = (cut(x.dim(0), heads * dim, heads).bands() - 1) * all * heads * dim;
        return Float.BYTES * (shares + after + 3 + answers) <= Engine.WORKSPACE;
    }

    /**
     * How heads' matrix states are cut into units of the cell.
     *
     * @param columns value columns of a unit
     * @param bands parts of the rows, whose answers are added up behind the cell
     */
    record Cut(int columns, int bands) {
        /**
         * Of the cuts with a unit at most for each block of the grid, the one with the smallest units, where a further band costs as much as
         * {@link #BAND_COST} says; the widest one where none is so coarse. Rows of a unit are whole lines of the second-level cache, since two
         * blocks that write to one line wait for each other.
         *
         * @param blocks of the grid
         * @param all heads of all sessions
         * @param dim of a head
         */
        static Cut of(int blocks, int all, int dim) {
            Cut best = new Cut(Math.min(MOST_COLUMNS, dim), 1);
            long least = Long.MAX_VALUE;
            for (int wide = LINE; wide <= MOST_COLUMNS; wide += LINE) {
                int columns = Math.min(wide, dim);
                for (int bands = 1; bands <= MOST_BANDS; bands++) {
                    Cut cut = new Cut(columns, bands);
                    long cost = (long) columns * ((dim + bands - 1) / bands) + (long) bands * BAND_COST;
                    if (cut.units(all, dim) <= blocks && cost < least) {
                        least = cost;
                        best = cut;
                    }
                }
            }
            return best;
        }

        long units(int all, int dim) {
            return (long) all * bands * ((dim + columns - 1) / columns);
        }
    }

    private Cut cut(int rows, int inner, int heads) {
        return Cut.of(blocks(), rows * heads, inner / heads);
    }

    private static void check(
            MlstmBlockWeights w, MlstmBlockState state, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        BlockCheck.check(
                "session.mlstmBlock", w, state, BlockCheck.cell(w, state, m, slots, counts), List.of(m.z(), m.c()), x);
    }

    private void shape(
            Engine.Launch launch,
            MlstmBlockWeights w,
            MlstmBlockState state,
            Tensor slots,
            Tensor counts,
            MlstmBlockMemory m,
            Tensor x) {
        int dim = w.inner() / w.heads();
        launch.put(slots)
                .put(counts)
                .put(x)
                .put(m.z())
                .put(m.c())
                .put(m.q())
                .put(m.k())
                .put(m.v())
                .put(m.h())
                .put(engine.partials())
                .put(state.slots().matC().dim(0))
                .put((float) (1 / Math.sqrt(dim)))
                .put(w.cell().eps())
                .put(w.norm().eps())
                .put(w.headNorm().eps())
                .faults();
    }

    private static void layer(Engine.Launch launch, MlstmBlockWeights w, MlstmBlockState state) {
        MlstmSlots s = state.slots();
        launch.put(w.normWeight())
                .put(LargeWeights.data(w.upU()))
                .put(LargeWeights.scale(w.upU()))
                .put(LargeWeights.data(w.upZ()))
                .put(LargeWeights.scale(w.upZ()))
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
                .put(LargeWeights.data(w.down()))
                .put(LargeWeights.scale(w.down()))
                .put(s.matC())
                .put(s.vecN())
                .put(s.scaM())
                .put(s.ringK())
                .put(s.ringV())
                .put(s.ringI())
                .put(s.ringF())
                .put(s.ringLength())
                .put(s.folded())
                .put(state.history());
    }

    /** Three launches; {@link #takes} must have said yes. */
    void run(MlstmBlockWeights w, MlstmBlockState state, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        check(w, state, slots, counts, m, x);
        Form f = form(sizes(w, state, x));
        for (Kernel phase : new Kernel[] {f.up(), f.cell(), f.down()}) {
            Engine.Launch launch = engine.launch(phase);
            shape(launch, w, state, slots, counts, m, x);
            layer(launch, w, state);
            launch.run(blocks(), 1, 1, THREADS, f.sharedBytes());
        }
    }

    /** Whether products of these sizes run on tensor cores. */
    boolean onTensorCores(MlstmBlockWeights w, MlstmBlockState state, Tensor x) {
        Memory memory = memory(sizes(w, state, x));
        return memory != null && memory.mma();
    }

    /** Whether these blocks run in one launch; all must be of one shape. */
    boolean takesTogether(List<MlstmLayer> layers, MlstmBlockMemory m, Tensor x) {
        if (!cooperative || layers.isEmpty()) {
            return false;
        }
        MlstmLayer first = layers.getFirst();
        for (MlstmLayer l : layers) {
            if (!alike(first, l) || !takes(l.weights(), l.state(), m, x)) {
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
                && LargeWeights.type(v.down()) == LargeWeights.type(w.down())
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
            Form f = form(sizes(first.weights(), first.state(), x));
            Engine.Launch launch = engine.launch(f.resident());
            shape(launch, first.weights(), first.state(), slots, counts, m, x);
            launch.put(arrived).put(n);
            for (int l = 0; l < n; l++) {
                MlstmLayer layer = layers.get(from + l);
                layer(launch, layer.weights(), layer.state());
            }
            launch.together(blocks(), THREADS, f.sharedBytes());
        }
    }
}
