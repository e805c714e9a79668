package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.PackedWeight;
import ai.lram.backend.ops.StepWeight;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * mLSTM blocks of the control step for many sessions: {@code mlstm_step_many.cu} around cuBLASLt's products and {@link CellSteps}, seven
 * launches a block, or eight where u and z are two products, and two more for a run of them. Our kernels begin early, the library's products do
 * not. Weights are packed in bf16.
 *
 * <p>Of the engine's memory for partial sums a block has the sums of u, or of u and z; behind them the cell's reports, and when these are read, the
 * parts of what the last product multiplies.
 */
final class ManySteps {
    private static final String KERNEL = "session.mlstmBlock";
    private static final int THREADS = 128;
    private static final int WARPS = THREADS / 32;
    private static final int TOKENS = 3;
    private static final int TAPS = 4;

    /** Channels of a block of q, k or v on the diagonal. */
    private static final int GROUP = 4;

    /** Channels whose shares of the gates are added first. */
    private static final int RUN = 128;

    /** Widest row and head of which a thread can keep its part in registers. */
    private static final int MOST_WIDTH = 4096;

    /** Of a session, which a lane of the convolution's kernel holds. */
    private static final int MOST_GATES = 64;

    private static final int MOST_DIM = 1024;

    /** Bytes. */
    private static final long ALIGNED = 256;

    private final Engine engine;
    private final Products products;
    private final Rows rows;
    private final CellSteps cells;
    private final long room;
    private final boolean on;
    private final Map<Sizes, Form> forms = new HashMap<>();

    /** What the kernels are compiled for. */
    private record Sizes(int width, int inner, int heads, int tokens, NormSpec norm, NormSpec headNorm) {}

    private record Form(Kernel norm, Kernel conv, Kernel skip) {}

    /** What a run of blocks works on. */
    private record Call(Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x) {
        int sessions() {
            return x.dim(0);
        }

        int tokens() {
            return x.dim(1);
        }

        /** Tokens of all sessions. */
        int all() {
            return sessions() * tokens();
        }
    }

    ManySteps(Engine engine, Products products, Rows rows, CellSteps cells) {
        this(engine, products, rows, cells, Engine.WORKSPACE);
    }

    /** @param room bytes of the engine's memory for partial sums that are used */
    ManySteps(Engine engine, Products products, Rows rows, CellSteps cells, long room) {
        this.engine = engine;
        this.products = products;
        this.rows = rows;
        this.cells = cells;
        this.room = room;
        on = !StepForms.off();
    }

    /** Whether all of these blocks are taken; others are put together from plain kernels. */
    boolean take(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        for (MlstmLayer l : layers) {
            if (!takes(l.weights(), l.state(), slots, counts, m, x)) {
                return false;
            }
        }
        return !layers.isEmpty();
    }

    private boolean takes(
            MlstmBlockWeights w, MlstmBlockState state, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        if (!on || slots == null || slots.size() != x.dim(0)) {
            return false;
        }
        long tokens = (long) x.dim(0) * x.dim(1);
        long inner = w.inner();
        int heads = w.heads();
        MlstmStepCall cell = BlockCheck.cell(w, state, m, slots, counts);
        return x.dim(1) <= TOKENS
                && gates(x.dim(1), heads) <= MOST_GATES
                && convBytes(heads) <= engine.device().sharedBytes()
                && packed(w.upU())
                && packed(w.upZ())
                && packed(w.down())
                && w.conv().dim(1) == TAPS
                && w.q().dim(1) == GROUP
                && w.width() % 8 == 0
                && inner % 8 == 0
                && w.width() <= MOST_WIDTH
                && inner % heads == 0
                && inner / heads % 4 == 0
                && inner / heads <= MOST_DIM
                && w.norm().groups() == 1
                && w.headNorm().groups() == heads
                && hasRoom(tokens, w.width(), inner, CellSteps.reportBytes(cell))
                && x.dim(0) * runs(inner) * gates(x.dim(1), heads) <= tokens * inner
                && BlockCheck.aligned(w, x, state.history(), m.conv(), m.c(), m.h())
                && cells.takes(cell);
    }

    /**
     * Whether parts of the normed x have room in the memory of conv, and in that of partial sums a product's sums with a row's reports, then with
     * the parts of the next product, behind them.
     */
    private boolean hasRoom(long tokens, long width, long inner, long reportBytes) {
        return partBytes(1, width) <= Float.BYTES * inner
                && fits(tokens, inner, inner, reportBytes); // then inner is the wider of both
    }

    /** Whether the sums of a product with so many results a token have room before what lies behind them: first reports, then parts. */
    private boolean fits(long tokens, long results, long parts, long reportBytes) {
        return sumBytes(tokens, results) + Math.max(partBytes(tokens, parts), reportBytes) <= room;
    }

    /** Of a product in three parts with so many results a token; a multiple of {@value #ALIGNED}. */
    private static long sumBytes(long tokens, long results) {
        return (CudaMatmul.PARTS * Float.BYTES * tokens * results + ALIGNED - 1) / ALIGNED * ALIGNED;
    }

    private static long partBytes(long tokens, long elements) {
        return CudaMatmul.PARTS * Short.BYTES * tokens * elements;
    }

    /** Whether u and z are one product: their weights lie one behind the other, and both have room while all reports are there. */
    private boolean together(MlstmBlockWeights w, long tokens, long reportBytes) {
        PackedWeight u = w.upU().packed();
        return u.rows() % PackedWeight.TILE == 0
                && w.upZ().packed().data().address()
                        == u.data().address() + u.data().bytes()
                && fits(tokens, 2L * w.inner(), w.inner(), reportBytes);
    }

    private static boolean packed(StepWeight w) {
        return w.packed() != null && w.packed().data().dtype() == DType.BF16;
    }

    private static long runs(long inner) {
        return (inner + RUN - 1) / RUN;
    }

    private static long gates(int tokens, int heads) {
        return 2L * tokens * heads;
    }

    /** Compiles on the first use of a shape, and finds the result in the cache on disk afterwards. */
    private Form form(MlstmBlockWeights w, int tokens) {
        Sizes sizes = new Sizes(w.width(), w.inner(), w.heads(), tokens, w.norm(), w.headNorm());
        return forms.computeIfAbsent(sizes, s -> {
            KernelModule module = new KernelModule(
                    engine,
                    "mlstm_step_many",
                    "MANY_WIDTH=" + s.width(),
                    "MANY_INNER=" + s.inner(),
                    "MANY_HEADS=" + s.heads(),
                    "MANY_TOKENS=" + s.tokens(),
                    KernelModule.define("MANY_CENTRED", s.norm().centred()),
                    KernelModule.define("MANY_RESIDUAL", s.norm().residualScale()),
                    KernelModule.define("MANY_HEAD_CENTRED", s.headNorm().centred()),
                    KernelModule.define("MANY_HEAD_RESIDUAL", s.headNorm().residualScale()));
            return new Form(
                    module.kernel("many_norm"),
                    module.kernel("many_conv", convBytes(s.heads())),
                    module.kernel("many_skip"));
        });
    }

    /** Shared memory of many_conv: a run's weights, as {@code WeightsOfRun} in the source. */
    private static int convBytes(int heads) {
        return Float.BYTES * RUN * (4 * GROUP + 2 * 3 * heads);
    }

    /** Warps of a token's head, as in the source. */
    private static int headWarps(int dim) {
        return dim <= 256 ? 1 : dim <= 512 ? 2 : 4;
    }

    /** {@link #take} must have said yes. */
    void run(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        for (MlstmLayer l : layers) {
            BlockCheck.check(
                    KERNEL,
                    l.weights(),
                    l.state(),
                    BlockCheck.cell(l.weights(), l.state(), m, slots, counts),
                    List.of(m.conv(), m.c(), m.mixed()),
                    x);
        }
        int pool = 0;
        for (MlstmLayer l : layers) {
            int own = l.state().slots().matC().dim(0);
            if (own != pool) {
                rows.check(slots, counts, x.dim(0), own, x.dim(1));
                pool = own;
            }
        }
        Call call = new Call(slots, counts, m, x);
        long before = 0; // what the block before adds to x
        for (MlstmLayer l : layers) {
            norm(l.weights(), before, l.weights().normWeight(), call);
            block(l.weights(), l.state(), call);
            before = engine.partials();
        }
        norm(layers.getLast().weights(), before, null, call);
    }

    private void norm(MlstmBlockWeights w, long sums, Tensor weight, Call c) {
        engine.launch(form(w, c.tokens()).norm())
                .put(c.x())
                .put(sums)
                .put(weight)
                .put(c.memory().conv())
                .put(c.all())
                .put(w.norm().eps())
                .faults()
                .early(c.all(), 1, 1, THREADS, 0);
    }

    /** From the norm's parts in the memory of conv to the products that x is added to. */
    private void block(MlstmBlockWeights w, MlstmBlockState state, Call c) {
        int sessions = c.sessions();
        int all = c.all();
        long inner = w.inner();
        MlstmBlockMemory m = c.memory();
        Form form = form(w, c.tokens());
        MlstmStepCall cell = BlockCheck.cell(w, state, m, c.slots(), c.counts());
        boolean together = together(w, all, CellSteps.reportBytes(cell) * sessions);
        int pitch = together ? 2 * w.inner() : w.inner();
        long sums = engine.partials();
        long behind = sums + sumBytes(all, pitch); // the cell's reports, then the parts of what follows
        CudaMatmul.manyParts(products, KERNEL, m.conv().address(), w.upU().packed(), pitch, all, sums);
        engine.launch(form.conv())
                .put(c.slots())
                .put(c.counts())
                .put(sums)
                .put(w.conv())
                .put(w.convBias())
                .put(state.history())
                .put(w.q())
                .put(w.k())
                .put(w.v())
                .put(w.inputGate())
                .put(w.forgetGate())
                .put(m.c())
                .put(m.q())
                .put(m.k())
                .put(m.v())
                .put(m.mixed())
                .put(sessions)
                .put(state.slots().matC().dim(0))
                .put(pitch)
                .faults()
                .early(runs(inner), (sessions + WARPS - 1) / WARPS, 1, THREADS, convBytes(w.heads()));
        cells.run(
                cell,
                new CellSteps.Gates(m.mixed(), w.inputGateBias(), w.forgetGateBias(), (int) runs(inner)),
                behind,
                sums + room - behind);
        long z = sums + (long) Float.BYTES * w.inner();
        if (!together) {
            z = sums;
            CudaMatmul.manyParts(products, KERNEL, m.conv().address(), w.upZ().packed(), all, z);
        }
        long warps = (long) all * w.heads() * headWarps(w.inner() / w.heads());
        engine.launch(form.skip())
                .put(c.counts())
                .put(m.h())
                .put(m.c())
                .put(z)
                .put(w.headNormWeight())
                .put(w.skip())
                .put(behind)
                .put(all)
                .put(pitch)
                .put(w.headNorm().eps())
                .faults()
                .early((warps + WARPS - 1) / WARPS, 1, 1, THREADS, 0);
        CudaMatmul.manyParts(products, KERNEL, behind, w.down().packed(), all, sums);
    }
}
