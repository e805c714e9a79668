package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmOps;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;

/**
 * Launches the gates of {@code matmul.cu}; the cell itself through {@link TensorCores} where they take the call, else through
 * {@link PlainMlstm}. Which of the two follows from sizes, specification, type and the number of floats of {@code saved}, so that a backward
 * pass finds what its forward pass left.
 */
final class CudaMlstm implements MlstmOps {
    private static final int WARPS = Engine.THREADS / 32;

    private final Engine engine;
    private final Kernel gates;
    private final Kernel gatesInput;
    private final Kernel gatesSums;
    private final Kernel finishGates;
    private final Cells f32;
    private final Cells bf16;

    /**
     * The kernels for operands of one type.
     *
     * @param fast null where they are switched off, do not fit the device, or the toolkit's headers are missing
     */
    private record Cells(DType type, PlainMlstm plain, TensorCores fast) {
        static Cells load(Engine engine, DType type) {
            return new Cells(type, new PlainMlstm(engine, type), TensorCores.load(engine, type));
        }

        long savedFloats(MlstmDims dims, MlstmSpec spec, boolean states) {
            MlstmChunks c = fast == null ? null : fast.cut(dims, spec, states);
            return c == null ? PlainMlstm.savedFloats(dims, spec) : c.savedFloats();
        }

        long scratchFloats(MlstmDims dims, MlstmSpec spec, boolean states) {
            return fast == null ? PlainMlstm.scratchFloats(dims, spec) : fast.scratchFloats(dims, spec, states);
        }
    }

    CudaMlstm(Engine engine, KernelModule matmul) {
        this.engine = engine;
        gates = matmul.kernel("gates");
        gatesInput = matmul.kernel("gates_input");
        gatesSums = matmul.kernel("gates_sums");
        finishGates = matmul.kernel("finish_gates");
        f32 = Cells.load(engine, DType.F32);
        bf16 = Cells.load(engine, DType.BF16);
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

    @Override
    public boolean takes(DType operands) {
        return operands == DType.F32 || operands == DType.BF16;
    }

    private Cells cells(DType operands) {
        return operands == DType.BF16 ? bf16 : f32;
    }

    @Override
    public long savedFloats(MlstmDims dims, MlstmSpec spec) {
        return savedFloats(dims, spec, DType.F32, true);
    }

    @Override
    public long scratchFloats(MlstmDims dims, MlstmSpec spec) {
        return scratchFloats(dims, spec, DType.F32, true);
    }

    @Override
    public long savedFloats(MlstmDims dims, MlstmSpec spec, DType operands, boolean states) {
        return cells(operands).savedFloats(dims, spec, states);
    }

    @Override
    public long scratchFloats(MlstmDims dims, MlstmSpec spec, DType operands, boolean states) {
        return cells(operands).scratchFloats(dims, spec, states);
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

    /** @return the kernels for the type of the operands */
    private Cells check(String kernel, MlstmCall x) {
        MlstmDims d = x.dims();
        DType type = x.q() != null && x.q().dtype() == DType.BF16 ? DType.BF16 : DType.F32;
        Check.size(kernel, "q", x.q(), type, keys(d));
        Check.size(kernel, "k", x.k(), type, keys(d));
        Check.size(kernel, "v", x.v(), type, values(d));
        Check.size(kernel, "h", x.h(), type, values(d));
        Check.f32(kernel, "i", x.i(), gateCount(d));
        Check.f32(kernel, "f", x.f(), gateCount(d));
        checkState(kernel, "initial", d, x.initial());
        checkState(kernel, "last", d, x.last());
        return cells(type);
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
        MlstmCall x = new MlstmCall(dims, spec, q, k, v, i, f, initial, h, last, saved, scratch);
        Cells cells = check(kernel, x);
        boolean states = initial != null || last != null;
        if (saved != null) {
            Check.f32AtLeast(kernel, "saved", saved, cells.savedFloats(dims, spec, states));
        }
        Check.atLeast(kernel, "scratch", scratch, cells.scratchFloats(dims, spec, states));
        if (cells.fast == null || !cells.fast.forward(x)) {
            cells.plain.forward(x);
        }
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
        MlstmCall x = new MlstmCall(dims, spec, q, k, v, i, f, initial, h, null, saved, scratch);
        Cells cells = check(kernel, x);
        checkState(kernel, "dLast", dims, dLast);
        checkState(kernel, "dInitial", dims, dInitial);
        Check.size(kernel, "dh", dh, cells.type, values(dims));
        Check.size(kernel, "dq", dq, cells.type, keys(dims));
        Check.size(kernel, "dk", dk, cells.type, keys(dims));
        Check.size(kernel, "dv", dv, cells.type, values(dims));
        Check.f32(kernel, "di", di, gateCount(dims));
        Check.f32(kernel, "df", df, gateCount(dims));
        boolean states = initial != null || dLast != null || dInitial != null;
        Check.f32AtLeast(kernel, "saved", saved, cells.savedFloats(dims, spec, states));
        Check.atLeast(kernel, "scratch", scratch, cells.scratchFloats(dims, spec, states));
        MlstmGradients g = new MlstmGradients(dh, dLast, dq, dk, dv, di, df, dInitial);
        if (cells.fast == null || !cells.fast.backward(x, g)) {
            cells.plain.backward(x, g);
        }
    }
}
