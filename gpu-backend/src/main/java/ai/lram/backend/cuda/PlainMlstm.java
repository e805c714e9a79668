package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;

/**
 * Launches {@code mlstm_cell.cu}, for operands of one type.
 *
 * <p>{@code saved} holds the matrix states before all chunks but the first, {@code B NH (chunks - 1) DHQK DHHV} floats, their normalisers,
 * and one signed denominator a token, {@code B NH S}. A sequence of up to 256 tokens is one chunk and saves denominators only.
 */
final class PlainMlstm {
    /** Tokens a chunk can have, and has where the sequence is not longer. */
    static final int LONGEST_CHUNK = 256;

    /** Tokens per chunk of a longer sequence, if the engine chooses. */
    static final int CHUNK = 128;

    private static final int TILE = 32;
    private static final int WARPS = Engine.THREADS / 32;

    /** As {@code keyGradientsSharedBytes} in the source. */
    private static final int KEY_GRADIENTS_SHARED = (2 * TILE * (LONGEST_CHUNK + 1) + 2 * TILE * (TILE + 1)) * 4;

    private final Engine engine;
    private final Kernel scan;
    private final Kernel states;
    private final Kernel output;
    private final Kernel tokenGradients;
    private final Kernel stateGradients;
    private final Kernel queryGradients;
    private final Kernel keyGradients;
    private final Kernel stateDots;
    private final Kernel gateGradients;

    PlainMlstm(Engine engine, DType operands) {
        this.engine = engine;
        KernelModule cell = operands == DType.BF16
                ? new KernelModule(engine, "mlstm_cell", "LRAM_BF16")
                : new KernelModule(engine, "mlstm_cell");
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

    static long savedFloats(MlstmDims dims, MlstmSpec spec) {
        return Layout.of(dims, spec).savedFloats();
    }

    static long scratchFloats(MlstmDims dims, MlstmSpec spec) {
        return Layout.of(dims, spec).scratchFloats();
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

    /** One call's record of the cell, as {@code Cell} in the source. */
    private record Call(Layout l, MlstmCall x, Scratch at) {
        Engine.Launch put(Engine.Launch launch) {
            MlstmDims d = l.dims;
            Tensor saved = x.saved();
            long states = saved == null ? at.states : saved.address();
            long normalisers = saved == null ? at.normalisers : states + 4 * l.stateFloats();
            long den = saved == null ? 0 : normalisers + 4 * l.normaliserFloats();
            return launch.put(x.q())
                    .put(x.k())
                    .put(x.v())
                    .put(x.i())
                    .put(x.f())
                    .put(MlstmCall.matC(x.initial()))
                    .put(MlstmCall.vecN(x.initial()))
                    .put(MlstmCall.scaM(x.initial()))
                    .put(x.h())
                    .put(MlstmCall.matC(x.last()))
                    .put(MlstmCall.vecN(x.last()))
                    .put(MlstmCall.scaM(x.last()))
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
                    .put(x.scale())
                    .put(x.spec().eps())
                    .put(x.sigmoid())
                    .put(x.spec().normalize());
        }
    }

    private void scan(Call call) {
        call.put(engine.launch(scan)).run((call.l.pairs() + WARPS - 1) / WARPS);
    }

    void forward(MlstmCall x) {
        Layout l = Layout.of(x.dims(), x.spec());
        Call call = new Call(l, x, new Scratch(x.scratch(), l));
        scan(call);
        if (l.chunks > 1 || x.last() != null) {
            call.put(engine.launch(states)).run(l.stateBlocks(), l.pairs(), 1, Engine.THREADS, 0);
        }
        call.put(engine.launch(output)).run(l.outputBlocks());
    }

    void backward(MlstmCall x, MlstmGradients g) {
        Layout l = Layout.of(x.dims(), x.spec());
        Call call = new Call(l, x, new Scratch(x.scratch(), l));
        scan(call);
        Backward b = new Backward(call, g);
        b.put(engine.launch(tokenGradients)).run((l.tokens() + WARPS - 1) / WARPS);
        if (l.chunks > 1 || g.dInitial() != null) {
            b.put(engine.launch(stateGradients)).run(l.stateBlocks(), l.pairs(), 1, Engine.THREADS, 0);
        }
        b.put(engine.launch(queryGradients)).run(l.outputBlocks());
        b.put(engine.launch(keyGradients)).run(l.outputBlocks(), 1, 1, Engine.THREADS, KEY_GRADIENTS_SHARED);
        if (g.dLast() != null || g.dInitial() != null) {
            b.put(engine.launch(stateDots)).run(l.pairs());
        }
        b.put(engine.launch(gateGradients)).run((l.pairs() + Engine.THREADS - 1) / Engine.THREADS);
    }

    /** One backward call's record, as {@code CellBackward} in the source. */
    private record Backward(Call call, MlstmGradients g) {
        Engine.Launch put(Engine.Launch launch) {
            MlstmSpec spec = call.x.spec();
            Scratch at = call.at;
            return call.put(launch)
                    .put(g.dh())
                    .put(MlstmCall.matC(g.dLast()))
                    .put(MlstmCall.vecN(g.dLast()))
                    .put(g.dq())
                    .put(g.dk())
                    .put(g.dv())
                    .put(g.di())
                    .put(g.df())
                    .put(MlstmCall.matC(g.dInitial()))
                    .put(MlstmCall.vecN(g.dInitial()))
                    .put(MlstmCall.scaM(g.dInitial()))
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
