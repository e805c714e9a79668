package ai.lram.backend.cpu;

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
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.Ops;
import ai.lram.backend.ops.SessionOps;
import ai.lram.backend.ops.StepChoice;
import ai.lram.backend.ops.StepInput;
import ai.lram.backend.ops.StepWeight;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Control-step kernels. They allocate nothing on the heap once warm: parameters travel in reused task objects. A second thread that calls
 * meanwhile gets objects of its own.
 */
final class CpuSession implements SessionOps {
    /** Floats of state and ring a step must touch before it is worth waking the helpers. */
    private static final long PARALLEL = 200_000;

    private final Workers workers;
    private final AtomicBoolean taken = new AtomicBoolean();
    private final MlstmStep mlstm = new MlstmStep();
    private final SlstmStep slstm = new SlstmStep();
    private final ConvStep conv = new ConvStep();
    private final MlstmBlockStep block = new MlstmBlockStep();
    private final Ops ops;

    CpuSession(Ops ops, Workers workers) {
        this.ops = ops;
        this.workers = workers;
    }

    private void run(int n, boolean parallel, Workers.Range task) {
        if (parallel) {
            workers.forRange(n, 1, task);
        } else {
            task.run(0, n);
        }
    }

    /** @return rows of the batch */
    private static int checkRows(String kernel, Tensor slots, Tensor counts, int tokens, int pool) {
        Check.that(slots != null, NO_SLOTS, "null was passed", "pass the slots of the batch");
        int rows = (int) slots.size();
        Check.size(kernel, "slots", slots, DType.I32, rows);
        Check.size(kernel, "counts", counts, DType.I32, rows);
        for (int b = 0; b < rows; b++) {
            int slot = slots.getInt(b);
            int n = counts.getInt(b);
            if (slot < 0 || slot >= pool || n < 0 || n > tokens) {
                Check.that(
                        false,
                        kernel + ": row " + b + " has slot " + slot + " and " + n + " tokens",
                        "slots are 0.." + (pool - 1) + ", token counts 0.." + tokens,
                        "name slots of the pool and at most L tokens");
            }
            for (int other = 0; other < b; other++) {
                if (slots.getInt(other) == slot) {
                    Check.that(
                            false,
                            kernel + ": rows " + other + " and " + b + " name slot " + slot,
                            "a slot's state can advance once per call",
                            "use distinct slots");
                }
            }
        }
        return rows;
    }

    private static void requireFull(String kernel, MlstmSlots state) {
        if (state.matC().dtype() == DType.BF16) {
            throw new UnsupportedKernelException(
                    kernel + " on the CPU engine with a matrix state in BF16",
                    "its steps read and fold fp32",
                    "use a state in fp32 (--state fp32), or choose device=cuda");
        }
        state.requireRingAsMatrix(kernel);
    }

    private static final String NO_SLOTS = "session step: slots are missing";

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
        requireFull(kernel, state);
        Check.that(
                state.matC().rank() == 4 && state.ringK().rank() == 4 && q != null && q.rank() == 4,
                "session.mlstmStep: matC, ringK or q has the wrong rank",
                "sizes are read from matC (P, NH, DHQK, DHHV), ringK (P, NH, R, DHQK) and q (B, L, NH, DHQK)",
                "give these tensors all four dimensions");
        int pool = state.matC().dim(0);
        int heads = state.matC().dim(1);
        int dimQk = state.matC().dim(2);
        int dimHv = state.matC().dim(3);
        int ring = state.ringK().dim(2);
        int tokens = q.dim(1);
        long cells = (long) pool * heads;
        Check.f32(kernel, "matC", state.matC(), cells * dimQk * dimHv);
        Check.f32(kernel, "vecN", state.vecN(), cells * dimQk);
        Check.f32(kernel, "scaM", state.scaM(), cells);
        Check.f32(kernel, "ringK", state.ringK(), cells * ring * dimQk);
        Check.f32(kernel, "ringV", state.ringV(), cells * ring * dimHv);
        Check.f32(kernel, "ringI", state.ringI(), cells * ring);
        Check.f32(kernel, "ringF", state.ringF(), cells * ring);
        Check.size(kernel, "ringLength", state.ringLength(), DType.I32, cells);
        Check.size(kernel, "folded", state.folded(), DType.I32, cells);
        if (ring < schedule.capacity() || ring < tokens) {
            Check.that(
                    false,
                    "session.mlstmStep: the ring holds " + ring + " tokens",
                    schedule + " needs " + schedule.capacity() + " and a step may bring " + tokens,
                    "allocate the ring with schedule.capacity() tokens");
        }
        int rows = checkRows(kernel, slots, counts, tokens, pool);
        long gates = (long) rows * tokens * heads;
        Check.f32(kernel, "q", q, gates * dimQk);
        Check.f32(kernel, "k", k, gates * dimQk);
        Check.f32(kernel, "v", v, gates * dimHv);
        Check.f32(kernel, "i", i, gates);
        Check.f32(kernel, "f", f, gates);
        Check.f32(kernel, "h", h, gates * dimHv);
        boolean mine = taken.compareAndSet(false, true);
        try {
            MlstmStep task = mine ? mlstm : new MlstmStep();
            task.with(spec, schedule, layer, state, slots, counts, q, k, v, i, f, h, tokens, heads, dimQk, dimHv, ring);
            run(rows * heads, mine && (long) rows * heads * dimQk * dimHv > PARALLEL, task);
        } finally {
            if (mine) {
                taken.set(false);
            }
        }
    }

    @Override
    public void causalConv1dStep(
            Stream s, Tensor slots, Tensor counts, Tensor x, Tensor w, Tensor bias, Tensor history, Tensor y) {
        String kernel = "session.causalConv1dStep";
        Check.that(
                w != null && w.rank() == 2 && history != null && history.rank() == 3 && x != null && x.rank() == 3,
                "session.causalConv1dStep: w, history or x has the wrong rank",
                "sizes are read from w (C, K), history (P, K-1, C) and x (B, L, C)",
                "give these tensors all their dimensions");
        int channels = w.dim(0);
        int kernelWidth = w.dim(1);
        int tokens = x.dim(1);
        int pool = history.dim(0);
        Check.f32(kernel, "w", w, w.size());
        Check.f32(kernel, "history", history, (long) pool * (kernelWidth - 1) * channels);
        int rows = checkRows(kernel, slots, counts, tokens, pool);
        Check.f32(kernel, "x", x, (long) rows * tokens * channels);
        Check.f32(kernel, "y", y, (long) rows * tokens * channels);
        Check.optional(kernel, "bias", bias, channels);
        boolean mine = taken.compareAndSet(false, true);
        try {
            ConvStep task = mine ? conv : new ConvStep();
            task.with(slots, counts, x, w, bias, history, y, rows, tokens, channels, kernelWidth);
            task.run(0, task.units());
        } finally {
            if (mine) {
                taken.set(false);
            }
        }
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
        Check.that(
                state != null
                        && state.rank() == 3
                        && xi != null
                        && xi.rank() == 3
                        && heads >= 1
                        && state.dim(2) % heads == 0,
                "session.slstmStep: state or xi has the wrong rank, or H is no multiple of the heads",
                "sizes are read from state (P, 4, H) and xi (B, L, H)",
                "give these tensors all three dimensions");
        int pool = state.dim(0);
        int width = state.dim(2);
        int tokens = xi.dim(1);
        Check.f32(kernel, "state", state, 4L * pool * width);
        Check.f32(kernel, "r", r, 4L * width * (width / heads));
        Check.f32(kernel, "bias", bias, 4L * width);
        int rows = checkRows(kernel, slots, counts, tokens, pool);
        long n = (long) rows * tokens * width;
        Check.f32(kernel, "xi", xi, n);
        Check.f32(kernel, "xf", xf, n);
        Check.f32(kernel, "xz", xz, n);
        Check.f32(kernel, "xo", xo, n);
        Check.f32(kernel, "y", y, n);
        boolean mine = taken.compareAndSet(false, true);
        try {
            SlstmStep task = mine ? slstm : new SlstmStep();
            task.with(heads, slots, counts, xi, xf, xz, xo, r, bias, state, y, rows, tokens, width);
            run(heads, mine && (long) rows * tokens * r.size() > PARALLEL, task);
        } finally {
            if (mine) {
                taken.set(false);
            }
        }
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
        requireFull("session.mlstmBlock", state.slots());
        if (!MlstmBlockStep.supports(weights)) {
            ComposedSteps.mlstmBlock(ops, s, weights, state, slots, counts, memory, x);
            return;
        }
        String kernel = "session.mlstmBlock";
        Check.that(
                x != null && x.rank() == 3 && state.history().rank() == 3,
                "session.mlstmBlock: x or the history has the wrong rank",
                "sizes are read from x (B, L, D) and history (P, K-1, I)",
                "give these tensors all three dimensions");
        int tokens = x.dim(1);
        int pool = state.history().dim(0);
        int rows = checkRows(kernel, slots, counts, tokens, pool);
        checkBlock(kernel, weights, state, memory, x, (long) rows * tokens, pool, tokens);
        if (rows == 0) {
            return;
        }
        boolean mine = taken.compareAndSet(false, true);
        try {
            MlstmBlockStep step = mine ? block : new MlstmBlockStep();
            boolean parallel = mine && (long) weights.width() * weights.inner() > PARALLEL / 4;
            step.with(weights, state, slots, counts, memory, x, rows, tokens, parallel ? workers.threads() : 1);
            if (parallel) {
                workers.phases(step);
            } else {
                Workers.alone(step);
            }
        } finally {
            if (mine) {
                taken.set(false);
            }
        }
    }

    @Override
    public void embed(Stream s, EmbedWeights weights, StepInput from, StepInput at, EmbedMemory memory, Tensor x) {
        if (from.rows() > 0) { // as ComposedSteps.embed, a call less deep: what is deeper the compiler may not inline
            ComposedSteps.encode(ops, s, weights, from, at, memory);
            ComposedSteps.join(ops, s, weights, memory, x);
        }
    }

    @Override
    public void decide(Stream s, HeadWeights weights, HeadMemory memory, StepChoice choice) {
        Choices.check(weights, memory, choice);
        ComposedSteps.head(ops, s, weights, memory);
        Choices.choose(memory.logits(), choice);
    }

    private static void checkBlock(
            String kernel,
            MlstmBlockWeights w,
            MlstmBlockState state,
            MlstmBlockMemory m,
            Tensor x,
            long tokens,
            int pool,
            int perRow) {
        int width = w.width();
        int inner = w.inner();
        int heads = w.heads();
        int head = inner / heads;
        MlstmSlots slots = state.slots();
        int ring = slots.ringK().rank() == 4 ? slots.ringK().dim(2) : 0;
        if (ring < state.schedule().capacity() || ring < perRow) {
            Check.that(
                    false,
                    kernel + ": the ring holds " + ring + " tokens",
                    state.schedule() + " needs " + state.schedule().capacity() + " and a step may bring " + perRow,
                    "allocate the ring (P, NH, R, DH) with schedule.capacity() tokens");
        }
        long cells = (long) pool * heads;
        Check.f32(kernel, "matC", slots.matC(), cells * head * head);
        Check.f32(kernel, "vecN", slots.vecN(), cells * head);
        Check.f32(kernel, "scaM", slots.scaM(), cells);
        Check.f32(kernel, "ringK", slots.ringK(), cells * ring * head);
        Check.f32(kernel, "ringV", slots.ringV(), cells * ring * head);
        Check.f32(kernel, "ringI", slots.ringI(), cells * ring);
        Check.f32(kernel, "ringF", slots.ringF(), cells * ring);
        Check.size(kernel, "ringLength", slots.ringLength(), DType.I32, cells);
        Check.size(kernel, "folded", slots.folded(), DType.I32, cells);
        int taps = w.conv().dim(1);
        Check.f32(kernel, "history", state.history(), (long) pool * (taps - 1) * inner);
        Check.f32(kernel, "normWeight", w.normWeight(), width);
        checkMatrix(kernel, "upU", w.upU(), inner, width);
        checkMatrix(kernel, "upZ", w.upZ(), inner, width);
        Check.f32(kernel, "conv", w.conv(), (long) inner * taps);
        Check.optional(kernel, "convBias", w.convBias(), inner);
        Check.f32(kernel, "q", w.q(), (long) inner * HeadwiseLanes.BLOCK);
        Check.f32(kernel, "k", w.k(), (long) inner * HeadwiseLanes.BLOCK);
        Check.f32(kernel, "v", w.v(), (long) inner * HeadwiseLanes.BLOCK);
        Check.f32(kernel, "inputGate", w.inputGate(), 3L * heads * inner);
        Check.f32(kernel, "inputGateBias", w.inputGateBias(), heads);
        Check.f32(kernel, "forgetGate", w.forgetGate(), 3L * heads * inner);
        Check.f32(kernel, "forgetGateBias", w.forgetGateBias(), heads);
        Check.f32(kernel, "headNormWeight", w.headNormWeight(), inner);
        Check.f32(kernel, "skip", w.skip(), inner);
        Check.f32(kernel, "x", x, tokens * width);
        Check.f32(kernel, "memory.u", m.u(), tokens * inner);
        Check.f32(kernel, "memory.z", m.z(), tokens * inner);
        Check.f32(kernel, "memory.conv", m.conv(), tokens * inner);
        Check.f32(kernel, "memory.c", m.c(), tokens * inner);
        Check.f32(kernel, "memory.q", m.q(), tokens * inner);
        Check.f32(kernel, "memory.k", m.k(), tokens * inner);
        Check.f32(kernel, "memory.v", m.v(), tokens * inner);
        Check.f32(kernel, "memory.inputGate", m.inputGate(), tokens * heads);
        Check.f32(kernel, "memory.forgetGate", m.forgetGate(), tokens * heads);
        Check.f32(kernel, "memory.h", m.h(), tokens * inner);
        Check.f32(kernel, "memory.mixed", m.mixed(), tokens * inner);
        Check.f32(kernel, "memory.y", m.y(), tokens * width);
    }

    private static void checkMatrix(String kernel, String name, StepWeight w, int rows, int columns) {
        if (w.rows() != rows || w.columns() != columns) {
            Check.that(
                    false,
                    kernel + ": " + name + " is (" + w.rows() + ", " + w.columns() + ")",
                    "the block's other weights ask for (" + rows + ", " + columns + ")",
                    "pass the weights of one block");
        }
        if (w.full() != null) {
            Check.f32(kernel, name, w.full(), (long) rows * columns);
        }
    }

    @Override
    public void mlstmReset(Stream s, MlstmSlots state, int slot) {
        requireFull("session.mlstmReset", state);
        int pool = state.matC().dim(0);
        if (slot < 0 || slot >= pool) {
            Check.that(
                    false,
                    "session.mlstmReset: slot " + slot,
                    "the pool has slots 0.." + (pool - 1),
                    "name a slot of the pool");
        }
        clear(state.matC(), pool, slot);
        clear(state.vecN(), pool, slot);
        clear(state.scaM(), pool, slot);
        clear(state.ringK(), pool, slot);
        clear(state.ringV(), pool, slot);
        clear(state.ringI(), pool, slot);
        clear(state.ringF(), pool, slot);
        clear(state.ringLength(), pool, slot);
        clear(state.folded(), pool, slot);
    }

    private static void clear(Tensor t, int pool, int slot) {
        long bytes = t.bytes() / pool;
        t.segment().asSlice(bytes * slot, bytes).fill((byte) 0);
    }
}
