package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
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
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.Ops;
import ai.lram.backend.ops.SessionOps;
import ai.lram.backend.ops.StepChoice;
import ai.lram.backend.ops.StepForm;
import ai.lram.backend.ops.StepInput;
import java.util.List;

/** Launches {@code session.cu}, and the sLSTM step of {@code slstm.cu}. */
final class CudaSession implements SessionOps {
    private static final int COLUMNS = 64;
    private static final int PARTS = Engine.THREADS / COLUMNS;
    private static final int GROUP = 4;

    private final Ops ops;
    private final Engine engine;
    private final Rows rows;
    private final int mostShared;
    private final Kernel mlstmStep;
    private final Kernel mlstmStepBf16;
    private final Kernel mlstmCommit;
    private final Kernel mlstmCommitBf16;
    private final Kernel convStep;
    private final Kernel slstmStep;
    private final BlockSteps blocks;
    private final CellSteps cellSteps;
    private final StepEnds ends;
    private final ManySteps many;
    private final StepForms forms;

    CudaSession(
            Ops ops,
            Engine engine,
            Products products,
            Rows rows,
            KernelModule session,
            KernelModule slstm,
            StepForms forms) {
        this.ops = ops;
        this.engine = engine;
        this.rows = rows;
        mostShared = engine.device().sharedBytes() - 1024; // the kernel's own reductions take some
        mlstmStep = session.kernel("mlstm_step", mostShared);
        mlstmStepBf16 = session.kernel("mlstm_step_bf16", mostShared);
        mlstmCommit = session.kernel("mlstm_commit", mostShared);
        mlstmCommitBf16 = session.kernel("mlstm_commit_bf16", mostShared);
        convStep = session.kernel("conv_step");
        slstmStep = slstm.kernel("slstm_step");
        blocks = new BlockSteps(engine);
        cellSteps = new CellSteps(engine);
        ends = new StepEnds(engine, session);
        many = new ManySteps(engine, products, rows, cellSteps);
        this.forms = forms;
    }

    /** @return rows of the batch */
    static int rows(String kernel, Tensor slots, Tensor counts) {
        if (!(slots != null)) {
            throw Check.mismatch(kernel + ": slots are missing", "null was passed", "pass the slots of the batch");
        }
        int n = Math.toIntExact(slots.size());
        Check.size(kernel, "slots", slots, DType.I32, n);
        Check.size(kernel, "counts", counts, DType.I32, n);
        return n;
    }

    @Override
    public void mlstmStep(
            Stream s,
            MlstmSpec spec,
            FoldSchedule schedule,
            int layer,
            MlstmSlots state,
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            Tensor h) {
        String kernel = "session.mlstmStep";
        MlstmStepCall call = new MlstmStepCall(spec, schedule, layer, state, slots, counts, q, k, v, i, f, h);
        call.check(kernel);
        int batch = call.rows();
        int pool = call.pool();
        int heads = call.heads();
        int dimQk = call.dimQk();
        int dimHv = call.dimHv();
        int ring = call.ring();
        int tokens = call.tokens();
        boolean fast = cellSteps.takes(call);
        int shared = fast ? 0 : shared(kernel, ring, tokens, dimQk);
        if (batch == 0) {
            return;
        }
        rows.check(slots, counts, batch, pool, tokens);
        if (fast) {
            cellSteps.run(call);
            return;
        }
        Kernel first = call.narrow() ? mlstmStepBf16 : mlstmStep;
        for (Kernel step : new Kernel[] {first, call.narrow() ? mlstmCommitBf16 : mlstmCommit}) {
            call.put(engine.launch(step))
                    .put(batch)
                    .put(tokens)
                    .put(heads)
                    .put(dimQk)
                    .put(dimHv)
                    .put(ring)
                    .put(schedule.first())
                    .put(schedule.period())
                    .put(schedule.stagger())
                    .put(layer)
                    .put(call.scale())
                    .put(spec.eps())
                    .put(call.sigmoid())
                    .put(spec.normalize())
                    .faults()
                    .run(
                            (long) batch * heads,
                            step == first ? (dimHv + COLUMNS - 1) / COLUMNS : 1,
                            1,
                            Engine.THREADS,
                            shared);
        }
    }

    /** As {@code mlstmStepSharedBytes} in the source. */
    private int shared(String kernel, int ring, int tokens, int dimQk) {
        long bytes = 8L * (3L * (ring + tokens) + dimQk)
                + 4L * (ring + (long) tokens * (ring + tokens + dimQk + 1) + (long) PARTS * GROUP * COLUMNS);
        if (bytes > mostShared) {
            throw new UnsupportedKernelException(
                    kernel + " on CUDA: a ring of " + ring + " tokens, " + tokens + " new ones, keys of " + dimQk,
                    "they need " + bytes + " bytes of shared memory, a block of this device has " + mostShared,
                    "use a fold schedule with a smaller capacity");
        }
        return (int) bytes;
    }

    @Override
    public void causalConv1dStep(
            Stream s, Tensor slots, Tensor counts, Tensor x, Tensor w, Tensor bias, Tensor history, Tensor y) {
        String kernel = "session.causalConv1dStep";
        if (!(w != null && w.rank() == 2 && history != null && history.rank() == 3 && x != null && x.rank() == 3)) {
            throw Check.mismatch(
                    kernel + ": w, history or x has the wrong rank",
                    "sizes are read from w (C, K), history (P, K-1, C) and x (B, L, C)",
                    "give these tensors all their dimensions");
        }
        int channels = w.dim(0);
        int taps = w.dim(1);
        int tokens = x.dim(1);
        int pool = history.dim(0);
        Check.f32(kernel, "w", w, w.size());
        Check.f32(kernel, "history", history, (long) pool * (taps - 1) * channels);
        int batch = rows(kernel, slots, counts);
        Check.f32(kernel, "x", x, (long) batch * tokens * channels);
        Check.f32(kernel, "y", y, (long) batch * tokens * channels);
        Check.optional(kernel, "bias", bias, channels);
        if (batch == 0) {
            return;
        }
        rows.check(slots, counts, batch, pool, tokens);
        long n = (long) batch * channels;
        engine.launch(convStep)
                .put(slots)
                .put(counts)
                .put(x)
                .put(w)
                .put(bias)
                .put(history)
                .put(y)
                .put(n)
                .put(tokens)
                .put(channels)
                .put(taps)
                .faults()
                .run(engine.blocks(n));
    }

    @Override
    public void slstmStep(
            Stream s,
            int heads,
            Tensor slots,
            Tensor counts,
            Tensor xi,
            Tensor xf,
            Tensor xz,
            Tensor xo,
            Tensor r,
            Tensor bias,
            Tensor state,
            Tensor y) {
        String kernel = "session.slstmStep";
        if (!(state != null
                && state.rank() == 3
                && xi != null
                && xi.rank() == 3
                && heads >= 1
                && state.dim(2) % heads == 0)) {
            throw Check.mismatch(
                    kernel + ": state or xi has the wrong rank, or H is no multiple of the heads",
                    "sizes are read from state (P, 4, H) and xi (B, L, H)",
                    "give these tensors all three dimensions");
        }
        int pool = state.dim(0);
        int width = state.dim(2);
        int tokens = xi.dim(1);
        Check.f32(kernel, "state", state, 4L * pool * width);
        Check.f32(kernel, "r", r, 4L * width * (width / heads));
        Check.f32(kernel, "bias", bias, 4L * width);
        int batch = rows(kernel, slots, counts);
        long n = (long) batch * tokens * width;
        Check.f32(kernel, "xi", xi, n);
        Check.f32(kernel, "xf", xf, n);
        Check.f32(kernel, "xz", xz, n);
        Check.f32(kernel, "xo", xo, n);
        Check.f32(kernel, "y", y, n);
        CudaSlstm.requireHead(kernel, width / heads);
        if (batch == 0) {
            return;
        }
        rows.check(slots, counts, batch, pool, tokens);
        engine.launch(slstmStep)
                .put(slots)
                .put(counts)
                .put(xi)
                .put(xf)
                .put(xz)
                .put(xo)
                .put(r)
                .put(bias)
                .put(state)
                .put(y)
                .put(batch)
                .put(tokens)
                .put(heads)
                .put(width / heads)
                .faults()
                .run((long) batch * heads, 1, 1, Engine.THREADS, CudaSlstm.sharedBytes(width / heads));
    }

    @Override
    public boolean readsFp16(DType state, int sessions) {
        return forms.many(state, sessions) && many.readsFp16();
    }

    /** What steps of many sessions multiply. */
    String productsOfMany() {
        return many.inParts();
    }

    @Override
    public void mlstmBlock(
            Stream s,
            MlstmBlockWeights weights,
            MlstmBlockState state,
            Tensor slots,
            Tensor counts,
            MlstmBlockMemory memory,
            Tensor x) {
        if (x.dim(0) == 0) {
            return;
        }
        List<MlstmLayer> alone = List.of(new MlstmLayer(weights, state));
        switch (form(alone, slots, counts, memory, x, false)) {
            case RESIDENT, PHASES -> blocks.run(weights, state, slots, counts, memory, x);
            case MANY -> many.run(alone, slots, counts, memory, x);
            case PLAIN -> ComposedSteps.mlstmBlock(ops, s, weights, state, slots, counts, memory, x);
        }
    }

    /**
     * The form of blocks that follow each other, or of the first where it is one that takes them one by one.
     *
     * @param together whether they may be one launch
     */
    private StepForm form(
            List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x, boolean together) {
        MlstmBlockWeights weights = layers.getFirst().weights();
        MlstmBlockState state = layers.getFirst().state();
        return forms.choose(
                StepForms.size(weights, state),
                x.dim(0),
                () -> blocks.onTensorCores(weights, state, x),
                form -> switch (form) {
                    case RESIDENT -> together && blocks.takesTogether(layers, memory, x);
                    case PHASES -> blocks.takes(weights, state, memory, x);
                    case MANY -> many.take(layers, slots, counts, memory, x);
                    case PLAIN -> true;
                });
    }

    @Override
    public void mlstmBlocks(
            Stream s, List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x) {
        if (x.dim(0) == 0 || layers.isEmpty()) {
            return;
        }
        switch (form(layers, slots, counts, memory, x, true)) {
            case RESIDENT -> blocks.runTogether(layers, slots, counts, memory, x);
            case MANY -> many.run(layers, slots, counts, memory, x);
            case PHASES, PLAIN -> {
                for (MlstmLayer l : layers) {
                    mlstmBlock(s, l.weights(), l.state(), slots, counts, memory, x);
                }
            }
        }
    }

    @Override
    public void embed(Stream s, EmbedWeights weights, StepInput from, StepInput at, EmbedMemory memory, Tensor x) {
        if (ends.takes(weights, from, x)) {
            ends.embed(weights, from, at, memory, x);
        } else {
            ComposedSteps.embed(ops, s, weights, from, at, memory, x);
        }
    }

    @Override
    public void decide(Stream s, HeadWeights weights, HeadMemory memory, StepChoice choice) {
        ends.check(weights, memory, choice);
        if (ends.takes(weights, memory, choice)) {
            ends.decide(weights, memory, choice);
        } else {
            ComposedSteps.head(ops, s, weights, memory);
            ends.choose(memory.logits(), choice);
        }
    }

    @Override
    public void mlstmReset(Stream s, MlstmSlots state, int slot) {
        String kernel = "session.mlstmReset";
        state.requireRingAsMatrix(kernel);
        int pool = state.matC().dim(0);
        if (!(slot >= 0 && slot < pool)) {
            throw Check.mismatch(
                    kernel + ": slot " + slot, "the pool has slots 0.." + (pool - 1), "name a slot of the pool");
        }
        Tensor[] all = {
            state.matC(),
            state.vecN(),
            state.scaM(),
            state.ringK(),
            state.ringV(),
            state.ringI(),
            state.ringF(),
            state.ringLength(),
            state.folded()
        };
        for (Tensor t : all) {
            Check.size(kernel, "a part of the state", t, t.dtype(), t.size());
        }
        engine.enter(kernel);
        try {
            for (Tensor t : all) {
                long bytes = t.bytes() / pool;
                engine.check(
                        engine.driver().fillBytes(t.address() + bytes * slot, (byte) 0, bytes, engine.stream()),
                        kernel);
            }
        } finally {
            engine.leave();
        }
    }
}
