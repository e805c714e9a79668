package ai.lram.backend.contract;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;

/** One mLSTM problem on an engine: inputs, poisoned outputs, forward and backward. */
public final class MlstmRun {
    public final Fixture fx;
    public final MlstmDims dims;
    public final MlstmSpec spec;
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

    public MlstmRun(Fixture fx, MlstmDims dims, MlstmSpec spec, float[] q, float[] k, float[] v, float[] i, float[] f) {
        this.fx = fx;
        this.dims = dims;
        this.spec = spec;
        int b = dims.batch();
        int s = dims.tokens();
        int nh = dims.heads();
        this.q = fx.of(q, b, s, nh, dims.dimQk());
        this.k = fx.of(k, b, s, nh, dims.dimQk());
        this.v = fx.of(v, b, s, nh, dims.dimHv());
        this.i = fx.of(i, b, s, nh);
        this.f = fx.of(f, b, s, nh);
        h = fx.poisoned(b, s, nh, dims.dimHv());
        saved = fx.poisoned(Math.toIntExact(fx.ops.mlstm().savedFloats(dims, spec)));
        scratch = fx.poisoned(Math.toIntExact(fx.ops.mlstm().scratchFloats(dims, spec)));
        dq = fx.poisoned(b, s, nh, dims.dimQk());
        dk = fx.poisoned(b, s, nh, dims.dimQk());
        dv = fx.poisoned(b, s, nh, dims.dimHv());
        di = fx.poisoned(b, s, nh);
        df = fx.poisoned(b, s, nh);
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
        Tensor g = fx.of(dh, dims.batch(), dims.tokens(), dims.heads(), dims.dimHv());
        fx.ops
                .mlstm()
                .backward(
                        fx.stream, dims, spec, q, k, v, i, f, initial, h, saved, g, dLast, dq, dk, dv, di, df, dInitial,
                        scratch);
    }
}
