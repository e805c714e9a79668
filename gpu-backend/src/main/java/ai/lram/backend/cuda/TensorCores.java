package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import java.util.List;

/**
 * Launches the mLSTM kernels on tensor cores for operands of one type: {@code mlstm_forward.cu}, {@code mlstm_backward*.cu},
 * {@code mlstm_states*.cu}. fp32 products are three TF32 ones. Any length, states and their gradients included; head sizes are a multiple of 8
 * in bf16 and of 4 in fp32.
 *
 * <p>A window (one chunk from the fresh state) reads and writes the same denominators as {@code mlstm_cell.cu}, so one direction may be theirs
 * and the other not. Sequences of several chunks, and any with states, are theirs in both directions or in none.
 */
final class TensorCores {
    /**
     * {@code auto} uses these kernels for bf16 operands, and in fp32 for windows forward; {@code fast} for all of fp32 too, where gradients of
     * the gates lose a digit (7e-6 of the largest, on a golden file whose tolerance is 2.4e-6); {@code general} never.
     */
    static final String PROPERTY = "lram.cuda.mlstm";

    /** {@code false}: products by mma.sync on Hopper too, as on every other device. */
    static final String WARPGROUPS = "lram.cuda.warpgroups";

    private static final int GATE_THREADS = 256;
    private static final int STATE_THREADS = 256;
    private static final int SCAN_THREADS = 256;
    private static final int ROWS_THREADS = 256;
    private static final int WARPGROUP_BACKWARD_THREADS = 384;

    private final Engine engine;
    private final TensorCoreLimits limits;
    private final Kernel forwardWindow;
    private final Kernel forwardShortWindow;
    private final Kernel forwardChunks;
    private final Kernel chunkGates;
    private final Kernel scanGates;
    private final Kernel chunkStates;
    private final Kernel scanStates;
    private final Kernel backwardWindow;
    /** By mma.sync; null where warpgroups do it. */
    private final Kernel backwardChunks;

    /** By warpgroups, for heads of up to {@link TensorCoreLimits#KEPT_KEYS} keys; null where mma.sync does it. */
    private final Kernel backwardKept;

    /** By warpgroups, for wider heads; null where mma.sync does it. */
    private final Kernel backwardLean;

    private final Kernel backwardRows;
    private final Kernel withoutLast;

    private TensorCores(Engine engine, TensorCoreLimits limits) {
        this.engine = engine;
        this.limits = limits;
        TensorCoreLimits.Tiling window = limits.windowTiling();
        forwardWindow = forward(window, "LRAM_WINDOW_ONLY").kernel("mlstm_forward", window.sharedBytes(0, false));
        if (!limits.backward()) {
            forwardShortWindow = null;
            forwardChunks = null;
            chunkGates = null;
            scanGates = null;
            chunkStates = null;
            scanStates = null;
            backwardWindow = null;
            backwardChunks = null;
            backwardKept = null;
            backwardLean = null;
            backwardRows = null;
            withoutLast = null;
            return;
        }
        TensorCoreLimits.Tiling chunk = limits.chunkTiling();
        boolean bf16 = limits.operands() == DType.BF16;
        KernelModule chunks = bf16 ? forward(chunk) : forward(chunk, "LRAM_STATE_ONLY");
        forwardShortWindow = bf16 ? chunks.kernel("mlstm_forward", chunk.sharedBytes(0, false)) : null;
        forwardChunks = chunks.kernel("mlstm_forward_state", chunk.sharedBytes(TensorCoreLimits.WIDEST_KEYS, true));
        KernelModule states = module("mlstm_states");
        chunkGates = states.kernel("mlstm_chunk_gates");
        scanGates = states.kernel("mlstm_scan_gates");
        scanStates = states.kernel("mlstm_scan_states");
        chunkStates = limits.warpgroups()
                ? new KernelModule(engine, "mlstm_states_sm90")
                        .kernel("mlstm_chunk_states_sm90", TensorCoreLimits.warpgroupStatesSharedBytes())
                : states.kernel("mlstm_chunk_states", TensorCoreLimits.statesSharedBytes(limits.chunk()));
        int width = TensorCoreLimits.width(limits.operands());
        backwardWindow = module("mlstm_backward", "LRAM_WINDOW_ONLY", "LRAM_GROUPS=" + limits.windowGroups())
                .kernel("mlstm_backward", TensorCoreLimits.backwardSharedBytes(limits.windowGroups(), width, false));
        backwardChunks = limits.warpgroups()
                ? null
                : module("mlstm_backward", "LRAM_STATE_ONLY", "LRAM_GROUPS=" + limits.chunkGroups())
                        .kernel(
                                "mlstm_backward_chunk",
                                TensorCoreLimits.backwardSharedBytes(limits.chunkGroups(), width, true));
        backwardKept = limits.warpgroups() ? onHopper("kept", TensorCoreLimits.backwardKeptSharedBytes()) : null;
        backwardLean = limits.warpgroups() ? onHopper("lean", TensorCoreLimits.backwardLeanSharedBytes()) : null;
        KernelModule rows = module("mlstm_backward_rows");
        backwardRows = rows.kernel("mlstm_backward_rows");
        withoutLast = rows.kernel("mlstm_without_last");
    }

    private Kernel onHopper(String backward, int sharedBytes) {
        return new KernelModule(engine, "mlstm_backward_" + backward + "_sm90")
                .kernel("mlstm_backward_chunk_" + backward + "_sm90", sharedBytes);
    }

    private KernelModule module(String source, String... defines) {
        if (limits.operands() == DType.BF16) {
            return new KernelModule(engine, source, defines);
        }
        String[] all = new String[defines.length + 1];
        all[0] = "LRAM_FP32";
        System.arraycopy(defines, 0, all, 1, defines.length);
        return new KernelModule(engine, source, all);
    }

    private KernelModule forward(TensorCoreLimits.Tiling t, String... which) {
        String[] defines = new String[4 + which.length];
        defines[0] = "LRAM_WARPS=" + t.warps();
        defines[1] = "LRAM_GROUPS=" + t.groups();
        defines[2] = "LRAM_STAGES=" + t.stages();
        defines[3] = "LRAM_BLOCKS=" + t.blocks();
        System.arraycopy(which, 0, defines, 4, which.length);
        return module("mlstm_forward", defines);
    }

    /** Null where they cannot or shall not be used. */
    static TensorCores load(Engine engine, DType operands) {
        String wanted = Engine.chosen(PROPERTY, List.of("auto", "fast", "general"));
        if (wanted.equals("general") || !engine.compiler().canCompile(KernelSource.load("mlstm_forward"))) {
            return null;
        }
        boolean warpgroups = Boolean.parseBoolean(System.getProperty(WARPGROUPS, "true"));
        TensorCoreLimits limits = TensorCoreLimits.of(
                engine.device(), operands, operands == DType.BF16 || wanted.equals("fast"), warpgroups);
        return limits == null ? null : new TensorCores(engine, limits);
    }

    /** How a call is cut; null where the plain kernels do it. */
    MlstmChunks cut(MlstmDims dims, MlstmSpec spec, boolean states) {
        return MlstmChunks.of(limits, dims, spec, states);
    }

    /** For whichever kernels take the call; with states also enough for a call without, which may be a window. */
    long scratchFloats(MlstmDims dims, MlstmSpec spec, boolean states) {
        MlstmChunks c = cut(dims, spec, states);
        if (c == null || c.window()) {
            return PlainMlstm.scratchFloats(dims, spec);
        }
        return states ? Math.max(c.scratchFloats(), scratchFloats(dims, spec, false)) : c.scratchFloats();
    }

    /** The same cut for both directions: what {@code saved} has room for says which. */
    private MlstmChunks cut(MlstmCall x, boolean states) {
        MlstmChunks roomy = cut(x.dims(), x.spec(), true);
        return roomy != null && x.saved() != null && x.saved().size() >= roomy.savedFloats()
                ? roomy
                : cut(x.dims(), x.spec(), states);
    }

    /** Whether every address is a whole 16-byte vector. */
    private static boolean aligned(Tensor... tensors) {
        for (Tensor t : tensors) {
            if (t != null && t.address() % 16 != 0) {
                return false;
            }
        }
        return true;
    }

    private void requireRoom(String kernel, MlstmChunks c, MlstmCall x, boolean aligned) {
        Check.atLeast(kernel, "scratch", x.scratch(), c.scratchFloats());
        if (!aligned) {
            throw Check.mismatch(
                    kernel + ": a tensor of " + c.operands() + " begins at an address that is no multiple of 16",
                    "sequences of several chunks are read in vectors of 16 bytes",
                    "pass whole tensors, or views that begin at a multiple of 16 bytes");
        }
    }

    /** @return false where the plain kernels must do it: nothing is queued then */
    boolean forward(MlstmCall x) {
        MlstmChunks c = cut(x, x.initial() != null || x.last() != null);
        if (c == null) {
            return false;
        }
        boolean aligned = aligned(x.q(), x.k(), x.v(), x.h(), x.saved())
                && aligned(MlstmCall.matC(x.initial()), MlstmCall.matC(x.last()));
        if (c.window()) {
            if (aligned) {
                boolean shorter = forwardShortWindow != null && c.chunk() > 80 && c.chunk() <= 128;
                forward(
                        c,
                        x,
                        shorter ? forwardShortWindow : forwardWindow,
                        shorter ? limits.chunkTiling() : limits.windowTiling(),
                        x.saved() == null ? 0 : x.saved().address(),
                        null);
            }
            return aligned;
        }
        requireRoom("mlstm.forward", c, x, aligned);
        MlstmChunks.Places at = c.places(
                x.saved() == null ? 0 : x.saved().address(), x.scratch().address());
        gates(c, x, at);
        MlstmDims d = x.dims();
        states(
                c,
                new Row(x.k(), x.v(), at.rows(), at.rows(), at.factors(), at.decays(), at.states(), at.statesN()),
                MlstmCall.matC(x.initial()),
                MlstmCall.vecN(x.initial()),
                MlstmCall.matC(x.last()),
                MlstmCall.vecN(x.last()),
                d,
                false);
        forward(c, x, forwardChunks, limits.chunkTiling(), at.denominators(), at);
        return true;
    }

    private void gates(MlstmChunks c, MlstmCall x, MlstmChunks.Places at) {
        for (boolean scan : new boolean[] {false, true}) {
            engine.launch(scan ? scanGates : chunkGates)
                    .put(x.i())
                    .put(x.f())
                    .put(MlstmCall.scaM(x.initial()))
                    .put(at.rows())
                    .put(at.own())
                    .put(at.statesM())
                    .put(at.decays())
                    .put(at.factors())
                    .put(MlstmCall.scaM(x.last()))
                    .put(c.dims().tokens())
                    .put(c.dims().heads())
                    .put(c.chunk())
                    .put(c.chunks())
                    .put((int) c.pairs())
                    .put(x.sigmoid())
                    .run(scan ? c.pairs() : c.slots(), 1, 1, scan ? 32 : GATE_THREADS, 0);
        }
    }

    /** What chunks add to a row of states, and where. */
    private record Row(
            Tensor rows,
            Tensor columns,
            long weights,
            long weightsN,
            long factors,
            long decays,
            long states,
            long statesN) {}

    private void states(
            MlstmChunks c,
            Row r,
            Tensor firstC,
            Tensor firstN,
            Tensor lastC,
            Tensor lastN,
            MlstmDims d,
            boolean reverse) {
        int tile = 2 * TensorCoreLimits.width(c.operands());
        long tiles = (long) ((d.dimQk() + tile - 1) / tile) * ((d.dimHv() + tile - 1) / tile);
        long cells = (long) d.dimQk() * d.dimHv() / TensorCoreLimits.vector(c.operands());
        long scanBlocks = (cells + SCAN_THREADS - 1) / SCAN_THREADS + (d.dimQk() + SCAN_THREADS - 1) / SCAN_THREADS;
        for (boolean scan : new boolean[] {false, true}) {
            Engine.Launch launch = engine.launch(scan ? scanStates : chunkStates)
                    .put(r.rows)
                    .put(r.columns)
                    .put(r.weights)
                    .put(r.weightsN)
                    .put(r.factors)
                    .put(r.decays)
                    .put(r.states)
                    .put(r.statesN)
                    .put(firstC)
                    .put(firstN)
                    .put(lastC)
                    .put(lastN)
                    .put(d.tokens())
                    .put(d.heads())
                    .put(d.dimQk())
                    .put(d.dimHv())
                    .put(c.chunk())
                    .put(c.chunks())
                    .put((int) c.pairs())
                    .put(reverse);
            if (scan) {
                launch.run(scanBlocks, c.pairs(), 1, SCAN_THREADS, 0);
            } else {
                launch.run(
                        tiles * c.slots(),
                        1,
                        1,
                        STATE_THREADS,
                        limits.warpgroups()
                                ? TensorCoreLimits.warpgroupStatesSharedBytes()
                                : TensorCoreLimits.statesSharedBytes(c.chunk()));
            }
        }
    }

    /** @param at null for a window */
    private void forward(
            MlstmChunks c,
            MlstmCall x,
            Kernel kernel,
            TensorCoreLimits.Tiling tiling,
            long denominators,
            MlstmChunks.Places at) {
        engine.launch(kernel)
                .put(x.q())
                .put(x.k())
                .put(x.v())
                .put(x.i())
                .put(x.f())
                .put(x.h())
                .put(denominators)
                .put(at == null ? 0L : at.states())
                .put(at == null ? 0L : at.statesN())
                .put(at == null ? 0L : at.statesM())
                .put(c.dims().tokens())
                .put(c.dims().heads())
                .put(c.dims().dimQk())
                .put(c.dims().dimHv())
                .put(c.chunk())
                .put(c.chunks())
                .put(x.scale())
                .put(x.spec().eps())
                .put(x.sigmoid())
                .put(x.spec().normalize())
                .run(
                        c.slots() * tiling.queryTiles(c.chunk()),
                        1,
                        1,
                        tiling.threads(),
                        tiling.sharedBytes(c.dims().dimQk(), at != null));
    }

    /** @return false where the plain kernels must do it: nothing is queued then */
    boolean backward(MlstmCall x, MlstmGradients g) {
        MlstmChunks c = cut(x, x.initial() != null || g.dLast() != null || g.dInitial() != null);
        if (c == null || !limits.backward()) {
            return false;
        }
        boolean aligned = aligned(x.q(), x.k(), x.v(), x.h(), x.saved())
                && aligned(g.dh(), g.dq(), g.dk(), g.dv())
                && aligned(MlstmCall.matC(x.initial()), MlstmCall.matC(g.dLast()), MlstmCall.matC(g.dInitial()));
        int width = TensorCoreLimits.width(c.operands());
        if (c.window()) {
            if (aligned) {
                gradients(engine.launch(backwardWindow), c, x, g, x.saved().address(), null)
                        .run(
                                c.pairs(),
                                1,
                                1,
                                32 * limits.windowGroups(),
                                TensorCoreLimits.backwardSharedBytes(limits.windowGroups(), width, false));
            }
            return aligned;
        }
        requireRoom("mlstm.backward", c, x, aligned);
        MlstmChunks.Places at = c.places(x.saved().address(), x.scratch().address());
        gradients(engine.launch(backwardRows), c, x, g, at.denominators(), at).run(c.slots(), 1, 1, ROWS_THREADS, 0);
        long perToken = 4 * c.tokens();
        states(
                c,
                new Row(
                        x.q(),
                        g.dh(),
                        at.rows() + 2 * perToken,
                        at.rows() + 3 * perToken,
                        0,
                        at.decays(),
                        at.free(),
                        at.freeN()),
                MlstmCall.matC(g.dLast()),
                x.spec().exactGradient() ? MlstmCall.vecN(g.dLast()) : null,
                MlstmCall.matC(g.dInitial()),
                MlstmCall.vecN(g.dInitial()),
                x.dims(),
                true);
        if (limits.warpgroups()) {
            boolean kept = x.dims().dimQk() <= TensorCoreLimits.KEPT_KEYS;
            gradients(engine.launch(kept ? backwardKept : backwardLean), c, x, g, at.denominators(), at)
                    .run(
                            c.slots(),
                            1,
                            1,
                            WARPGROUP_BACKWARD_THREADS,
                            kept
                                    ? TensorCoreLimits.backwardKeptSharedBytes()
                                    : TensorCoreLimits.backwardLeanSharedBytes());
        } else {
            gradients(engine.launch(backwardChunks), c, x, g, at.denominators(), at)
                    .run(
                            c.slots(),
                            1,
                            1,
                            32 * limits.chunkGroups(),
                            TensorCoreLimits.backwardSharedBytes(limits.chunkGroups(), width, true));
        }
        if (g.dLast() != null && !x.spec().exactGradient()) {
            long rows = (long) c.dims().tokens() * c.dims().heads();
            gradients(engine.launch(withoutLast), c, x, g, at.denominators(), at)
                    .run((rows + ROWS_THREADS - 1) / ROWS_THREADS, c.dims().batch(), 1, ROWS_THREADS, 0);
        }
        if (g.dInitial() != null && x.initial() == null) {
            engine.clear(g.dInitial().scaM()); // the fresh state's is zero whatever its stabiliser
        }
        return true;
    }

    /** @param at null for a window, which needs nothing of what chunks with states need */
    private static Engine.Launch gradients(
            Engine.Launch launch,
            MlstmChunks c,
            MlstmCall x,
            MlstmGradients g,
            long denominators,
            MlstmChunks.Places at) {
        launch.put(x.q())
                .put(x.k())
                .put(x.v())
                .put(x.i())
                .put(x.f())
                .put(denominators)
                .put(g.dh())
                .put(g.dq())
                .put(g.dk())
                .put(g.dv())
                .put(g.di())
                .put(g.df())
                .put(c.dims().tokens())
                .put(c.dims().heads())
                .put(c.dims().dimQk())
                .put(c.dims().dimHv())
                .put(x.scale())
                .put(x.spec().eps())
                .put(x.sigmoid())
                .put(x.spec().normalize())
                .put(x.spec().exactGradient() && x.spec().normalize())
                .put(c.chunk())
                .put(c.chunks())
                .put(at == null ? null : x.h())
                .put(at == null ? 0L : at.states())
                .put(at == null ? 0L : at.statesN())
                .put(at == null ? 0L : at.statesM())
                .put(at == null ? 0L : at.free())
                .put(at == null ? 0L : at.freeN())
                .put(at == null ? 0L : at.decays())
                .put(at == null ? 0L : at.rows())
                .put(at == null || x.initial() == null ? null : MlstmCall.scaM(g.dInitial()))
                .put(at == null || g.dLast() == null || x.spec().exactGradient() ? 0L : at.straight());
        return launch;
    }
}
