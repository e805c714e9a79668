package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.StepWeight;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * mLSTM blocks of the control step for many sessions: {@code mlstm_step_many.cu} around cuBLASLt's products and {@link CellSteps}, eight
 * launches a block and two more for a run of them. Weights are packed in bf16.
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

    private static final int MOST_DIM = 1024;

    private final Engine engine;
    private final Products products;
    private final Rows rows;
    private final CellSteps cells;
    private final boolean on;
    private final Map<Sizes, Form> forms = new HashMap<>();

    /** What the kernels are compiled for. */
    private record Sizes(int width, int inner, int heads, int tokens, NormSpec norm, NormSpec headNorm) {}

    private record Form(Kernel norm, Kernel conv, Kernel skip) {}

    ManySteps(Engine engine, Products products, Rows rows, CellSteps cells) {
        this.engine = engine;
        this.products = products;
        this.rows = rows;
        this.cells = cells;
        on = !"off".equals(System.getProperty(BlockSteps.PROPERTY));
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
        long tokens = (long) x.dim(0) * x.dim(1);
        long inner = w.inner();
        int heads = w.heads();
        return on
                && slots != null
                && slots.size() == x.dim(0)
                && tokens >= CudaMatmul.MANY_ROWS
                && x.dim(1) <= TOKENS
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
                && hasRoom(tokens, w.width(), inner)
                && x.dim(0) * runs(inner) * gates(x.dim(1), heads) <= tokens * inner
                && aligned(w, state, m, x)
                && cells.takes(call(w, state, m, slots, counts));
    }

    /** Parts of the normed x in the memory of conv; in that of partial sums, z before it is added and the parts of what follows. */
    private static boolean hasRoom(long tokens, long width, long inner) {
        long part = CudaMatmul.PARTS * (long) Short.BYTES;
        return part * width <= Float.BYTES * inner
                && tokens * Math.max(width, inner) * (CudaMatmul.PARTS * (long) Float.BYTES + part) <= Engine.WORKSPACE;
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

    /** The kernels read four elements at once; a view may begin anywhere. */
    private static boolean aligned(MlstmBlockWeights w, MlstmBlockState state, MlstmBlockMemory m, Tensor x) {
        long all = x.address()
                | w.upU().packed().data().address()
                | w.upZ().packed().data().address()
                | w.down().packed().data().address()
                | w.normWeight().address()
                | w.conv().address()
                | (w.convBias() == null ? 0 : w.convBias().address())
                | w.q().address()
                | w.k().address()
                | w.v().address()
                | w.inputGate().address()
                | w.forgetGate().address()
                | w.headNormWeight().address()
                | w.skip().address()
                | state.history().address()
                | m.conv().address()
                | m.c().address()
                | m.h().address();
        return all % 16 == 0;
    }

    private static MlstmStepCall call(
            MlstmBlockWeights w, MlstmBlockState state, MlstmBlockMemory m, Tensor slots, Tensor counts) {
        return new MlstmStepCall(
                w.cell(),
                state.schedule(),
                state.layer(),
                state.slots(),
                slots,
                counts,
                m.q(),
                m.k(),
                m.v(),
                m.inputGate(),
                m.forgetGate(),
                m.h());
    }

    private static int flag(boolean on) {
        return on ? 1 : 0;
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
                    "MANY_CENTRED=" + flag(s.norm().centred()),
                    "MANY_RESIDUAL=" + flag(s.norm().residualScale()),
                    "MANY_HEAD_CENTRED=" + flag(s.headNorm().centred()),
                    "MANY_HEAD_RESIDUAL=" + flag(s.headNorm().residualScale()));
            return new Form(module.kernel("many_norm"), module.kernel("many_conv"), module.kernel("many_skip"));
        });
    }

    private static void check(
            MlstmBlockWeights w, MlstmBlockState state, MlstmStepCall call, MlstmBlockMemory m, Tensor x) {
        long inner = w.inner();
        int heads = w.heads();
        long all = (long) x.dim(0) * x.dim(1);
        call.check(KERNEL);
        int dim = (int) (inner / heads);
        if (call.heads() != heads || call.dimQk() != dim || call.dimHv() != dim || call.tokens() != x.dim(1)) {
            throw Check.mismatch(
                    KERNEL + ": the state has " + call.heads() + " heads of " + call.dimQk() + " and " + call.dimHv()
                            + ", the working memory " + call.tokens() + " tokens",
                    "the weights have " + heads + " heads of " + dim + ", x has " + x.dim(1) + " tokens",
                    "use state and memory of these blocks");
        }
        Check.f32(KERNEL, "history", state.history(), (long) call.pool() * (TAPS - 1) * inner);
        Check.f32(KERNEL, "x", x, all * w.width());
        for (Tensor t : new Tensor[] {m.conv(), m.c(), m.mixed()}) {
            Check.f32(KERNEL, "working memory", t, all * inner);
        }
        for (StepWeight up : new StepWeight[] {w.upU(), w.upZ()}) {
            if (up.rows() != inner || up.columns() != w.width()) {
                throw Check.mismatch(
                        KERNEL + ": an up-projection is (" + up.rows() + ", " + up.columns() + ")",
                        "the down-projection is (" + w.width() + ", " + inner + ")",
                        "use the weights of one block");
            }
        }
        for (StepWeight weight : new StepWeight[] {w.upU(), w.upZ(), w.down()}) {
            Tensor data = weight.packed().data();
            Check.size(KERNEL, "a projection", data, DType.BF16, data.size());
        }
        Check.f32(KERNEL, "norm", w.normWeight(), w.width());
        Check.f32(KERNEL, "conv", w.conv(), TAPS * inner);
        Check.optional(KERNEL, "conv's bias", w.convBias(), inner);
        for (Tensor t : new Tensor[] {w.q(), w.k(), w.v()}) {
            Check.f32(KERNEL, "q, k or v", t, GROUP * inner);
        }
        for (Tensor t : new Tensor[] {w.inputGate(), w.forgetGate()}) {
            Check.f32(KERNEL, "a gate's weights", t, 3 * inner * heads);
        }
        for (Tensor t : new Tensor[] {w.inputGateBias(), w.forgetGateBias()}) {
            Check.f32(KERNEL, "a gate's bias", t, heads);
        }
        Check.f32(KERNEL, "head norm", w.headNormWeight(), inner);
        Check.f32(KERNEL, "skip", w.skip(), inner);
    }

    /** {@link #take} must have said yes. */
    void run(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        for (MlstmLayer l : layers) {
            check(l.weights(), l.state(), call(l.weights(), l.state(), m, slots, counts), m, x);
        }
        int pool = 0;
        for (MlstmLayer l : layers) {
            int own = l.state().slots().matC().dim(0);
            if (own != pool) {
                rows.check(slots, counts, x.dim(0), own, x.dim(1));
                pool = own;
            }
        }
        long before = 0; // what the block before adds to x
        for (MlstmLayer l : layers) {
            norm(l.weights(), before, l.weights().normWeight(), m, x);
            block(l.weights(), l.state(), slots, counts, m, x);
            before = engine.partials();
        }
        norm(layers.getLast().weights(), before, null, m, x);
    }

    private void norm(MlstmBlockWeights w, long sums, Tensor weight, MlstmBlockMemory m, Tensor x) {
        int all = x.dim(0) * x.dim(1);
        engine.launch(form(w, x.dim(1)).norm())
                .put(x)
                .put(sums)
                .put(weight)
                .put(m.conv())
                .put(all)
                .put(w.norm().eps())
                .faults()
                .run(all, 1, 1, THREADS, 0);
    }

    /** From the norm's parts in the memory of conv to the products that x is added to. */
    private void block(
            MlstmBlockWeights w, MlstmBlockState state, Tensor slots, Tensor counts, MlstmBlockMemory m, Tensor x) {
        int sessions = x.dim(0);
        int all = sessions * x.dim(1);
        long inner = w.inner();
        Form form = form(w, x.dim(1));
        long sums = engine.partials();
        long parts = sums + CudaMatmul.PARTS * Float.BYTES * all * Math.max(inner, w.width());
        CudaMatmul.manyParts(products, KERNEL, m.conv().address(), w.upU().packed(), all, sums);
        engine.launch(form.conv())
                .put(slots)
                .put(counts)
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
                .faults()
                .run(runs(inner), (sessions + WARPS - 1) / WARPS, 1, THREADS, 0);
        cells.run(
                call(w, state, m, slots, counts),
                new CellSteps.Gates(m.mixed(), w.inputGateBias(), w.forgetGateBias(), (int) runs(inner)));
        // After the cell, which has its reports where the sums are.
        CudaMatmul.manyParts(products, KERNEL, m.conv().address(), w.upZ().packed(), all, sums);
        engine.launch(form.skip())
                .put(counts)
                .put(m.h())
                .put(m.c())
                .put(sums)
                .put(w.headNormWeight())
                .put(w.skip())
                .put(parts)
                .put(all)
                .put(w.headNorm().eps())
                .faults()
                .run(((long) all * w.heads() + WARPS - 1) / WARPS, 1, 1, THREADS, 0);
        CudaMatmul.manyParts(products, KERNEL, parts, w.down().packed(), all, sums);
    }
}
