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
 * not. Weights are packed in bf16, and once more in fp16 where {@link #readsFp16}: x is multiplied with these in two parts or one, with the
 * others in three.
 *
 * <p>Of the engine's memory for partial sums a block has the sums of u, or of u and z; behind them the cell's reports, and when these are read, the
 * parts of what the last product multiplies.
 */
final class ManySteps {
    /**
     * What x is multiplied in: {@code fp16x2} or {@code fp16x1} where weights have it, or {@code bf16x3}. {@code fp16} is two parts where the state is
     * fp32 and one where it is bf16, which rounds more.
     */
    static final String PRODUCTS = "lram.cuda.many";

    private static final List<String> IN_PARTS = List.of("fp16", "fp16x2", "fp16x1", "bf16x3");

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
    private final String inParts;
    private final Map<Sizes, Form> forms = new HashMap<>();

    /** What the kernels are compiled for. */
    private record Sizes(int width, int inner, int heads, int tokens, NormSpec norm, NormSpec headNorm, int parts) {}

    private record Form(Kernel norm, Kernel conv, Kernel skip) {}

    /**
     * What a run of blocks works on.
     *
     * @param parts of x: fewer than {@link CudaMatmul#PARTS} are fp16
     */
    private record Call(Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x, int parts) {
        boolean fp16() {
            return parts < CudaMatmul.PARTS;
        }

        /** Weights as they are multiplied. */
        PackedWeight weights(StepWeight w) {
            return fp16() ? w.packed().fp16() : w.packed();
        }

        /** Behind the parts of so many columns, what these are multiples of: a number for each token. */
        long powers(long at, long columns) {
            return fp16() ? at + partBytes(parts, all(), columns) : 0;
        }

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
        this(engine, products, rows, cells, Engine.WORKSPACE, Engine.chosen(PRODUCTS, IN_PARTS));
    }

    /**
     * @param room bytes of the engine's memory for partial sums that are used
     * @param inParts what x is multiplied in
     */
    ManySteps(Engine engine, Products products, Rows rows, CellSteps cells, long room, String inParts) {
        this.engine = engine;
        this.products = products;
        this.rows = rows;
        this.cells = cells;
        this.room = room;
        on = !StepForms.off();
        this.inParts = inParts;
    }

    private int parts(DType state) {
        return switch (inParts) {
            case "fp16x1" -> 1;
            case "fp16x2" -> 2;
            case "fp16" -> state == DType.BF16 ? 1 : 2;
            default -> CudaMatmul.PARTS;
        };
    }

    /** What x is multiplied in. */
    String inParts() {
        return inParts;
    }

    /** Whether x is multiplied with weights that are there in fp16. */
    boolean readsFp16() {
        return parts(DType.F32) < CudaMatmul.PARTS;
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
     * the parts of the next product, behind them. Three parts: fewer, with a number for each token, take less.
     */
    private boolean hasRoom(long tokens, long width, long inner, long reportBytes) {
        return partBytes(CudaMatmul.PARTS, 1, width) <= Float.BYTES * inner
                && fits(CudaMatmul.PARTS, tokens, inner, inner, reportBytes); // then inner is the wider of both
    }

    /**
     * Whether the sums of a product in parts with so many results a token have room before what lies behind them: first reports, then parts of so
     * many columns and a number for each token.
     */
    private boolean fits(long parts, long tokens, long results, long columns, long reportBytes) {
        long next = partBytes(parts, tokens, columns) + Float.BYTES * tokens;
        return sumBytes(parts, tokens, results) + Math.max(next, reportBytes) <= room;
    }

    /** Of a product in parts with so many results a token; a multiple of {@value #ALIGNED}. */
    private static long sumBytes(long parts, long tokens, long results) {
        return (parts * Float.BYTES * tokens * results + ALIGNED - 1) / ALIGNED * ALIGNED;
    }

    private static long partBytes(long parts, long tokens, long columns) {
        return parts * Short.BYTES * tokens * columns;
    }

    /** Whether u and z are one product: their weights lie one behind the other, and both have room while all reports are there. */
    private boolean together(MlstmBlockWeights w, Call c, long reportBytes) {
        PackedWeight u = c.weights(w.upU());
        return u.rows() % PackedWeight.TILE == 0
                && c.weights(w.upZ()).data().address()
                        == u.data().address() + u.data().bytes()
                && fits(c.parts(), c.all(), 2L * w.inner(), w.inner(), reportBytes);
    }

    private static boolean packed(StepWeight w) {
        return w.packed() != null && w.packed().data().dtype() == DType.BF16;
    }

    /** Whether all weights are there in fp16, too. */
    private static boolean inFp16(List<MlstmLayer> layers) {
        for (MlstmLayer l : layers) {
            MlstmBlockWeights w = l.weights();
            if (!inFp16(w.upU()) || !inFp16(w.upZ()) || !inFp16(w.down())) {
                return false;
            }
        }
        return true;
    }

    private static boolean inFp16(StepWeight w) {
        PackedWeight fp16 = w.packed().fp16();
        return fp16 != null && (fp16.data().address() | fp16.scale().address()) % 16 == 0;
    }

    private static long runs(long inner) {
        return (inner + RUN - 1) / RUN;
    }

    private static long gates(int tokens, int heads) {
        return 2L * tokens * heads;
    }

    /** Compiles on the first use of a shape, and finds the result in the cache on disk afterwards. */
    private Form form(MlstmBlockWeights w, Call c) {
        Sizes sizes = new Sizes(w.width(), w.inner(), w.heads(), c.tokens(), w.norm(), w.headNorm(), c.parts());
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
                    KernelModule.define("MANY_HEAD_RESIDUAL", s.headNorm().residualScale()),
                    "MANY_PARTS=" + s.parts());
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

    /** Of many_skip, as in the source. */
    private static int skipThreads(MlstmBlockWeights w, boolean fp16) {
        int warps = Math.min((w.inner() / w.heads() + RUN - 1) / RUN, 32 / w.heads());
        return fp16 ? 32 * w.heads() * warps : THREADS;
    }

    /** Of many_skip, as in the source. */
    private static long skipBlocks(MlstmBlockWeights w, boolean fp16, long tokens) {
        int dim = w.inner() / w.heads();
        int warps = dim <= 256 ? 1 : dim <= 512 ? 2 : 4;
        return fp16 ? tokens : (tokens * w.heads() * warps + WARPS - 1) / WARPS;
    }

    /**
     * Results of a product in parts, for a kernel that adds them.
     *
     * @param at 0 for none
     * @param ofTokens what they are multiples of where parts are fp16, else 0
     * @param ofWeights likewise
     */
    private record Sums(long at, long ofTokens, long ofWeights) {
        private static final Sums NONE = new Sums(0, 0, 0);

        Engine.Launch put(Engine.Launch launch) {
            return launch.put(at).put(ofTokens).put(ofWeights);
        }
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
        DType state = layers.getFirst().state().slots().matC().dtype();
        Call call = new Call(slots, counts, m, x, inFp16(layers) ? parts(state) : CudaMatmul.PARTS);
        Sums before = Sums.NONE;
        for (MlstmLayer l : layers) {
            norm(l.weights(), before, l.weights().normWeight(), call);
            before = block(l.weights(), l.state(), call);
        }
        norm(layers.getLast().weights(), before, null, call);
    }

    private void norm(MlstmBlockWeights w, Sums before, Tensor weight, Call c) {
        long normed = c.memory().conv().address();
        before.put(engine.launch(form(w, c).norm()).put(c.x()))
                .put(weight)
                .put(normed)
                .put(c.powers(normed, w.width()))
                .put(c.all())
                .put(w.norm().eps())
                .faults()
                .early(c.all(), 1, 1, THREADS, 0);
    }

    /** From the norm's parts in the memory of conv to the products that x is added to. */
    private Sums block(MlstmBlockWeights w, MlstmBlockState state, Call c) {
        int sessions = c.sessions();
        int all = c.all();
        long inner = w.inner();
        MlstmBlockMemory m = c.memory();
        Form form = form(w, c);
        MlstmStepCall cell = BlockCheck.cell(w, state, m, c.slots(), c.counts());
        boolean together = together(w, c, CellSteps.reportBytes(cell) * sessions);
        int pitch = together ? 2 * w.inner() : w.inner();
        PackedWeight upU = c.weights(w.upU());
        PackedWeight upZ = c.weights(w.upZ());
        PackedWeight down = c.weights(w.down());
        long sums = engine.partials();
        long behind = sums + sumBytes(c.parts(), all, pitch); // the cell's reports, then the parts of what follows
        long normed = m.conv().address();
        long normedPowers = c.powers(normed, w.width());
        CudaMatmul.manyParts(products, KERNEL, c.parts(), normed, upU, pitch, all, sums);
        new Sums(sums, normedPowers, powers(upU))
                .put(engine.launch(form.conv()).put(c.slots()).put(c.counts()))
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
            CudaMatmul.manyParts(products, KERNEL, c.parts(), normed, upZ, all, z);
        }
        long powers = c.powers(behind, inner);
        new Sums(z, normedPowers, powers(upZ))
                .put(engine.launch(form.skip()).put(c.counts()).put(m.h()).put(m.c()))
                .put(w.headNormWeight())
                .put(w.skip())
                .put(behind)
                .put(powers)
                .put(all)
                .put(pitch)
                .put(w.headNorm().eps())
                .faults()
                .early(skipBlocks(w, c.fp16(), all), 1, 1, skipThreads(w, c.fp16()), 0);
        CudaMatmul.manyParts(products, KERNEL, c.parts(), behind, down, all, sums);
        return new Sums(sums, powers, powers(down));
    }

    /** What rows of fp16 weights are multiples of; 0 of bf16 weights. */
    private static long powers(PackedWeight w) {
        return w.scale() == null ? 0 : w.scale().address();
    }
}
