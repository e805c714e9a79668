package ai.lram.backend.cuda;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmOps;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;

/**
 * Launches {@code mlstm_cell.cu} and the gates of {@code matmul.cu}; the kernels on tensor cores where their feature set fits.
 *
 * <p>{@code saved} holds the matrix states before all chunks but the first, {@code B NH (chunks - 1) DHQK DHHV} floats, their normalisers,
 * and one signed denominator a token, {@code B NH S}. A sequence of up to 256 tokens is one chunk and saves denominators only.
 */
final class CudaMlstm implements MlstmOps {
    /** Tokens a chunk can have, and has where the sequence is not longer. */
    static final int LONGEST_CHUNK = 256;

    /** Tokens per chunk of a longer sequence, if the engine chooses. */
    static final int CHUNK = 128;

    private static final int TILE = 32;
    private static final int WARPS = Engine.THREADS / 32;

    /** As {@code keyGradientsSharedBytes} in the source. */
    private static final int KEY_GRADIENTS_SHARED = (2 * TILE * (LONGEST_CHUNK + 1) + 2 * TILE * (TILE + 1)) * 4;

    private final Engine engine;
    private final Kernel gates;
    private final Kernel gatesInput;
    private final Kernel gatesSums;
    private final Kernel finishGates;
    private final Kernel scan;
    private final Kernel states;
    private final Kernel output;
    private final Kernel tokenGradients;
    private final Kernel stateGradients;
    private final Kernel queryGradients;
    private final Kernel keyGradients;
    private final Kernel stateDots;
    private final Kernel gateGradients;

    /** Null where they are switched off, do not fit the device, or the toolkit's headers are missing. */
    private final TensorCores tensorCores;

    CudaMlstm(Engine engine, KernelModule matmul) {
        this.engine = engine;
        tensorCores = TensorCores.load(engine);
        gates = matmul.kernel("gates");
        gatesInput = matmul.kernel("gates_input");
        gatesSums = matmul.kernel("gates_sums");
        finishGates = matmul.kernel("finish_gates");
        KernelModule cell = new KernelModule(engine, "mlstm_cell");
        scan = cell.kernel("mlstm_gates");
        states = cell.kernel("mlstm_states");
        output = cell.kernel("mlstm_output");
        tokenGradients = cell.kernel("mlstm_token_gradients");
        stateGradients = cell.kernel("mlstm_state_gradients");
        queryGradients = cell.kernel("mlstm_query_gradients");
        keyGradients = cell.kernel("mlstm_key_gradients", KEY_GRADIENTS_SHARED);
        stateDots = cell.kernel("mlstm_state_dots");
        gateGradients = cell.kernel("mlstm_gate_gradients");
    }

    @Override
    public void gates(
            Stream s, Tensor q, Tensor k, Tensor v, Tensor wi, Tensor bi, Tensor wf, Tensor bf, Tensor i, Tensor f) {
        String kernel = "mlstm.gates";
        if (!(bi != null && q != null && bi.size() > 0)) {
            throw Check.mismatch(kernel + ": q or bi is missing", "null or empty", "pass both");
        }
        int heads = (int) bi.size();
        int rows = (int) (i == null ? 0 : i.size() / heads);
        int width = (int) (rows == 0 ? 0 : q.size() / rows);
        for (Tensor t : new Tensor[] {q, k, v}) {
            Check.f32(kernel, "one of q, k, v", t, (long) rows * width);
        }
        Check.f32(kernel, "wi", wi, 3L * heads * width);
        Check.f32(kernel, "wf", wf, 3L * heads * width);
        Check.f32(kernel, "bi", bi, heads);
        Check.f32(kernel, "bf", bf, heads);
        Check.f32(kernel, "i", i, (long) rows * heads);
        Check.f32(kernel, "f", f, (long) rows * heads);
        long units = (long) rows * heads;
        engine.launch(gates)
                .put(q)
                .put(k)
                .put(v)
                .put(wi)
                .put(bi)
                .put(wf)
                .put(bf)
                .put(i)
                .put(f)
                .put(units)
                .put(width)
                .put(heads)
                .run((units + WARPS - 1) / WARPS);
    }

    @Override
    public void gatesBackward(
            Stream s,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor wi,
            Tensor wf,
            Tensor di,
            Tensor df,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor dwi,
            Tensor dbi,
            Tensor dwf,
            Tensor dbf) {
        String kernel = "mlstm.gatesBackward";
        if (!(dbi != null && q != null && dbi.size() > 0)) {
            throw Check.mismatch(kernel + ": q or dbi is missing", "null or empty", "pass both");
        }
        int heads = (int) dbi.size();
        int rows = (int) (di == null ? 0 : di.size() / heads);
        int width = rows == 0 ? 0 : (int) (q.size() / rows);
        for (Tensor t : new Tensor[] {q, k, v, dq, dk, dv}) {
            Check.f32(kernel, "one of q, k, v and their gradients", t, (long) rows * width);
        }
        for (Tensor t : new Tensor[] {wi, wf, dwi, dwf}) {
            Check.f32(kernel, "one of wi, wf and their gradients", t, 3L * heads * width);
        }
        Check.f32(kernel, "dbi", dbi, heads);
        Check.f32(kernel, "dbf", dbf, heads);
        Check.f32(kernel, "di", di, (long) rows * heads);
        Check.f32(kernel, "df", df, (long) rows * heads);
        if (rows == 0) {
            return;
        }
        engine.launch(gatesInput)
                .put(wi)
                .put(wf)
                .put(di)
                .put(df)
                .put(dq)
                .put(dk)
                .put(dv)
                .put(q.size())
                .put(width)
                .put(heads)
                .run(engine.blocks(q.size()));
        long columns = 2L * heads * (3L * width + 1);
        int shares = ColumnSums.shares(kernel, rows, columns);
        engine.launch(gatesSums)
                .put(q)
                .put(k)
                .put(v)
                .put(di)
                .put(df)
                .put(engine.partials())
                .put(rows)
                .put(width)
                .put(heads)
                .run(ColumnSums.blocks(columns), shares, 1, Engine.THREADS, 0);
        engine.launch(finishGates)
                .put(engine.partials())
                .put(dwi)
                .put(dbi)
                .put(dwf)
                .put(dbf)
                .put(shares)
                .put(width)
                .put(heads)
                .run(engine.blocks(columns));
    }

    /** Sizes, and where the parts of scratch lie. Addresses are relative to an aligned start. */
    private record Layout(MlstmDims dims, int chunk, int chunks) {
        static final long ALIGNMENT = 256;

        static Layout of(MlstmDims d, MlstmSpec spec) {
            int wanted = spec.chunk() > 0
                    ? Math.min(spec.chunk(), LONGEST_CHUNK)
                    : d.tokens() <= LONGEST_CHUNK ? d.tokens() : CHUNK;
            int chunk = Math.min(wanted, d.tokens());
            return new Layout(d, chunk, (d.tokens() + chunk - 1) / chunk);
        }

        long pairs() {
            return (long) dims.batch() * dims.heads();
        }

        long tokens() {
            return pairs() * dims.tokens();
        }

        /** Floats of the states (or their gradients) between chunks, without normalisers. */
        long stateFloats() {
            return pairs() * (chunks - 1) * dims.dimQk() * dims.dimHv();
        }

        long normaliserFloats() {
            return pairs() * (chunks - 1) * dims.dimQk();
        }

        long savedFloats() {
            return stateFloats() + normaliserFloats() + tokens();
        }

        /** 5 doubles and 9 floats a token, a float a chunk for carry and stabiliser, 2 doubles a pair, states and normalisers. */
        long scratchFloats() {
            return ALIGNMENT / 4
                    + 19 * tokens()
                    + pairs() * (2L * chunks + 1)
                    + 4 * pairs()
                    + stateFloats()
                    + normaliserFloats();
        }

        long outputBlocks() {
            return pairs() * chunks * ((chunk + TILE - 1) / TILE);
        }

        long stateBlocks() {
            return (long) ((dims.dimQk() + TILE - 1) / TILE) * ((dims.dimHv() + TILE - 1) / TILE);
        }
    }

    @Override
    public long savedFloats(MlstmDims dims, MlstmSpec spec) {
        return Layout.of(dims, spec).savedFloats();
    }

    @Override
    public long scratchFloats(MlstmDims dims, MlstmSpec spec) {
        return Layout.of(dims, spec).scratchFloats();
    }

    /** Addresses of scratch, cut one after the other: doubles first. */
    private static final class Scratch {
        private long at;
        final long row;
        final long col;
        final long rowSums;
        final long colSums;
        final long tailSums;
        final long dots;
        final long inter;
        final long write;
        final long floor;
        final long path;
        final long sigF;
        final long sigI;
        final long inverse;
        final long dden;
        final long epsGrad;
        final long carry;
        final long m;
        final long states;
        final long normalisers;

        Scratch(Tensor scratch, Layout l) {
            at = (scratch.address() + Layout.ALIGNMENT - 1) & -Layout.ALIGNMENT;
            row = take(8 * l.tokens());
            col = take(8 * l.tokens());
            rowSums = take(8 * l.tokens());
            colSums = take(8 * l.tokens());
            tailSums = take(8 * l.tokens());
            dots = take(16 * l.pairs());
            inter = take(4 * l.tokens());
            write = take(4 * l.tokens());
            floor = take(4 * l.tokens());
            path = take(4 * l.tokens());
            sigF = take(4 * l.tokens());
            sigI = take(4 * l.tokens());
            inverse = take(4 * l.tokens());
            dden = take(4 * l.tokens());
            epsGrad = take(4 * l.tokens());
            carry = take(4 * l.pairs() * l.chunks);
            m = take(4 * l.pairs() * (l.chunks + 1));
            states = take(4 * l.stateFloats());
            normalisers = take(4 * l.normaliserFloats());
        }

        private long take(long bytes) {
            long start = at;
            at += bytes;
            return start;
        }
    }

    private static long keys(MlstmDims d) {
        return gateCount(d) * d.dimQk();
    }

    private static long values(MlstmDims d) {
        return gateCount(d) * d.dimHv();
    }

    private static long gateCount(MlstmDims d) {
        return (long) d.batch() * d.tokens() * d.heads();
    }

    private static void checkState(String kernel, String name, MlstmDims d, MlstmState state) {
        if (state != null) {
            long heads = (long) d.batch() * d.heads();
            Check.f32(kernel, name + ".matC", state.matC(), heads * d.dimQk() * d.dimHv());
            Check.f32(kernel, name + ".vecN", state.vecN(), heads * d.dimQk());
            Check.f32(kernel, name + ".scaM", state.scaM(), heads);
        }
    }

    private static void checkInputs(
            String kernel, MlstmDims dims, Layout l, Tensor q, Tensor k, Tensor v, Tensor i, Tensor f, Tensor scratch) {
        Check.f32(kernel, "q", q, keys(dims));
        Check.f32(kernel, "k", k, keys(dims));
        Check.f32(kernel, "v", v, values(dims));
        Check.f32(kernel, "i", i, gateCount(dims));
        Check.f32(kernel, "f", f, gateCount(dims));
        Check.atLeast(kernel, "scratch", scratch, l.scratchFloats());
    }

    /** One call's record of the cell, as {@code Cell} in the source. */
    private record Call(
            Layout l,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            MlstmState initial,
            Tensor h,
            MlstmState last,
            Tensor saved,
            Scratch at) {
        Engine.Launch put(Engine.Launch launch) {
            MlstmDims d = l.dims;
            long states = saved == null ? at.states : saved.address();
            long normalisers = saved == null ? at.normalisers : states + 4 * l.stateFloats();
            long den = saved == null ? 0 : normalisers + 4 * l.normaliserFloats();
            return launch.put(q)
                    .put(k)
                    .put(v)
                    .put(i)
                    .put(f)
                    .put(initial == null ? null : initial.matC())
                    .put(initial == null ? null : initial.vecN())
                    .put(initial == null ? null : initial.scaM())
                    .put(h)
                    .put(last == null ? null : last.matC())
                    .put(last == null ? null : last.vecN())
                    .put(last == null ? null : last.scaM())
                    .put(states)
                    .put(normalisers)
                    .put(den)
                    .put(at.row)
                    .put(at.col)
                    .put(at.inter)
                    .put(at.write)
                    .put(at.floor)
                    .put(at.path)
                    .put(at.sigF)
                    .put(at.sigI)
                    .put(at.carry)
                    .put(at.m)
                    .put(d.batch())
                    .put(d.tokens())
                    .put(d.heads())
                    .put(d.dimQk())
                    .put(d.dimHv())
                    .put(l.chunk)
                    .put(l.chunks)
                    .put((float) (1 / Math.sqrt(d.dimQk())))
                    .put(spec.eps())
                    .put(spec.inputGate() == MlstmSpec.InputGate.SIGMOID)
                    .put(spec.normalize());
        }
    }

    private void scan(Call call) {
        call.put(engine.launch(scan)).run((call.l.pairs() + WARPS - 1) / WARPS);
    }

    @Override
    public void forward(
            Stream s,
            MlstmDims dims,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            MlstmState initial,
            Tensor h,
            MlstmState last,
            Tensor saved,
            Tensor scratch) {
        String kernel = "mlstm.forward";
        Layout l = Layout.of(dims, spec);
        checkInputs(kernel, dims, l, q, k, v, i, f, scratch);
        checkState(kernel, "initial", dims, initial);
        checkState(kernel, "last", dims, last);
        Check.f32(kernel, "h", h, values(dims));
        Check.optional(kernel, "saved", saved, l.savedFloats());
        if (tensorCores != null
                && initial == null
                && last == null
                && l.chunks == 1
                && tensorCores.forwardFits(dims, q, k, v, h)) {
            tensorCores.forward(dims, spec, q, k, v, i, f, h, saved);
            return;
        }
        Call call = new Call(l, spec, q, k, v, i, f, initial, h, last, saved, new Scratch(scratch, l));
        scan(call);
        if (l.chunks > 1 || last != null) {
            call.put(engine.launch(states)).run(l.stateBlocks(), l.pairs(), 1, Engine.THREADS, 0);
        }
        call.put(engine.launch(output)).run(l.outputBlocks());
    }

    @Override
    public void backward(
            Stream s,
            MlstmDims dims,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            MlstmState initial,
            Tensor h,
            Tensor saved,
            Tensor dh,
            MlstmState dLast,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor di,
            Tensor df,
            MlstmState dInitial,
            Tensor scratch) {
        String kernel = "mlstm.backward";
        Layout l = Layout.of(dims, spec);
        checkInputs(kernel, dims, l, q, k, v, i, f, scratch);
        checkState(kernel, "initial", dims, initial);
        checkState(kernel, "dLast", dims, dLast);
        checkState(kernel, "dInitial", dims, dInitial);
        Check.f32(kernel, "h", h, values(dims));
        Check.f32(kernel, "saved", saved, l.savedFloats());
        Check.f32(kernel, "dh", dh, values(dims));
        Check.f32(kernel, "dq", dq, keys(dims));
        Check.f32(kernel, "dk", dk, keys(dims));
        Check.f32(kernel, "dv", dv, values(dims));
        Check.f32(kernel, "di", di, gateCount(dims));
        Check.f32(kernel, "df", df, gateCount(dims));
        if (tensorCores != null
                && initial == null
                && dLast == null
                && dInitial == null
                && l.chunks == 1
                && tensorCores.backwardFits(dims, q, k, v, dh, dq, dk, dv)) {
            tensorCores.backward(dims, spec, q, k, v, i, f, saved, dh, dq, dk, dv, di, df);
            return;
        }
        Scratch at = new Scratch(scratch, l);
        Call call = new Call(l, spec, q, k, v, i, f, initial, h, null, saved, at);
        scan(call);
        Backward b = new Backward(call, dh, dLast, dq, dk, dv, di, df, dInitial);
        b.put(engine.launch(tokenGradients)).run((l.tokens() + WARPS - 1) / WARPS);
        if (l.chunks > 1 || dInitial != null) {
            b.put(engine.launch(stateGradients)).run(l.stateBlocks(), l.pairs(), 1, Engine.THREADS, 0);
        }
        b.put(engine.launch(queryGradients)).run(l.outputBlocks());
        b.put(engine.launch(keyGradients)).run(l.outputBlocks(), 1, 1, Engine.THREADS, KEY_GRADIENTS_SHARED);
        if (dLast != null || dInitial != null) {
            b.put(engine.launch(stateDots)).run(l.pairs());
        }
        b.put(engine.launch(gateGradients)).run((l.pairs() + Engine.THREADS - 1) / Engine.THREADS);
    }

    /** One backward call's record, as {@code CellBackward} in the source. */
    private record Backward(
            Call call,
            Tensor dh,
            MlstmState dLast,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor di,
            Tensor df,
            MlstmState dInitial) {
        Engine.Launch put(Engine.Launch launch) {
            MlstmSpec spec = call.spec;
            Scratch at = call.at;
            return call.put(launch)
                    .put(dh)
                    .put(dLast == null ? null : dLast.matC())
                    .put(dLast == null ? null : dLast.vecN())
                    .put(dq)
                    .put(dk)
                    .put(dv)
                    .put(di)
                    .put(df)
                    .put(dInitial == null ? null : dInitial.matC())
                    .put(dInitial == null ? null : dInitial.vecN())
                    .put(dInitial == null ? null : dInitial.scaM())
                    .put(at.states)
                    .put(at.normalisers)
                    .put(at.inverse)
                    .put(at.dden)
                    .put(at.epsGrad)
                    .put(at.rowSums)
                    .put(at.colSums)
                    .put(at.tailSums)
                    .put(at.dots)
                    .put(spec.exactGradient() && spec.normalize())
                    .put(spec.exactGradient());
        }
    }
}
