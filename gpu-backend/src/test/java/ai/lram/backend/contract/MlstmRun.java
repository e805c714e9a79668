package ai.lram.backend.contract;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;
import ai.lram.backend.reference.ReferenceMlstm;

/** One mLSTM problem on an engine: inputs, poisoned outputs, forward and backward. */
public final class MlstmRun {
    public final Fixture fx;
    public final MlstmDims dims;
    public final MlstmSpec spec;
    public final DType operands;
    public final Tensor q;
    public final Tensor k;
    public final Tensor v;
    public final Tensor i;
    public final Tensor f;
    public final Tensor h;
    public final Tensor saved;
    public final Tensor scratch;
    public final Tensor dq;
    public final Tensor dk;
    public final Tensor dv;
    public final Tensor di;
    public final Tensor df;
    public MlstmState initial;
    public MlstmState last;
    public MlstmState dLast;
    public MlstmState dInitial;

    /** In F32, with room for states. */
    public MlstmRun(Fixture fx, MlstmDims dims, MlstmSpec spec, float[] q, float[] k, float[] v, float[] i, float[] f) {
        this(fx, dims, spec, DType.F32, true, q, k, v, i, f);
    }

    /** @param states whether a state or the gradient of one takes part */
    public MlstmRun(
            Fixture fx,
            MlstmDims dims,
            MlstmSpec spec,
            DType operands,
            boolean states,
            float[] q,
            float[] k,
            float[] v,
            float[] i,
            float[] f) {
        this.fx = fx;
        this.dims = dims;
        this.spec = spec;
        this.operands = operands;
        int b = dims.batch();
        int s = dims.tokens();
        int nh = dims.heads();
        this.q = fx.of(operands, q, b, s, nh, dims.dimQk());
        this.k = fx.of(operands, k, b, s, nh, dims.dimQk());
        this.v = fx.of(operands, v, b, s, nh, dims.dimHv());
        this.i = fx.of(i, b, s, nh);
        this.f = fx.of(f, b, s, nh);
        h = fx.poisoned(operands, b, s, nh, dims.dimHv());
        saved = fx.poisoned(Math.toIntExact(fx.ops.mlstm().savedFloats(dims, spec, operands, states)));
        scratch = fx.poisoned(Math.toIntExact(fx.ops.mlstm().scratchFloats(dims, spec, operands, states)));
        dq = fx.poisoned(operands, b, s, nh, dims.dimQk());
        dk = fx.poisoned(operands, b, s, nh, dims.dimQk());
        dv = fx.poisoned(operands, b, s, nh, dims.dimHv());
        di = fx.poisoned(b, s, nh);
        df = fx.poisoned(b, s, nh);
    }

    /** The same problem in fp64, of the operands as they are stored. */
    public ReferenceMlstm reference() {
        ReferenceMlstm r = new ReferenceMlstm(
                dims.batch(),
                dims.tokens(),
                dims.heads(),
                dims.dimQk(),
                dims.dimHv(),
                spec.inputGate() == MlstmSpec.InputGate.EXPONENTIAL,
                spec.normalize(),
                spec.eps());
        r.q = Fixture.doubles(fx.read(q));
        r.k = Fixture.doubles(fx.read(k));
        r.v = Fixture.doubles(fx.read(v));
        r.i = Fixture.doubles(fx.read(i));
        r.f = Fixture.doubles(fx.read(f));
        if (initial != null) {
            r.c0 = Fixture.doubles(fx.read(initial.matC()));
            r.n0 = Fixture.doubles(fx.read(initial.vecN()));
            r.m0 = Fixture.doubles(fx.read(initial.scaM()));
        }
        return r;
    }

    public MlstmState state(float[] c, float[] n, float[] m) {
        int b = dims.batch();
        int nh = dims.heads();
        return new MlstmState(
                fx.of(c, b, nh, dims.dimQk(), dims.dimHv()), fx.of(n, b, nh, dims.dimQk()), fx.of(m, b, nh));
    }

    public MlstmState poisonedState() {
        int b = dims.batch();
        int nh = dims.heads();
        return new MlstmState(
                fx.poisoned(b, nh, dims.dimQk(), dims.dimHv()), fx.poisoned(b, nh, dims.dimQk()), fx.poisoned(b, nh));
    }

    public MlstmRun forward(boolean keep) {
        fx.ops.mlstm().forward(fx.stream, dims, spec, q, k, v, i, f, initial, h, last, keep ? saved : null, scratch);
        return this;
    }

    public void backward(float[] dh) {
        backward(gradient(dh));
    }

    /** dh as the kernels take it. */
    public Tensor gradient(float[] dh) {
        return fx.of(operands, dh, dims.batch(), dims.tokens(), dims.heads(), dims.dimHv());
    }

    public void backward(Tensor g) {
        fx.ops
                .mlstm()
                .backward(
                        fx.stream, dims, spec, q, k, v, i, f, initial, h, saved, g, dLast, dq, dk, dv, di, df, dInitial,
                        scratch);
    }
}
