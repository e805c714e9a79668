package ai.lram.agent.autodiff;

import ai.lram.backend.DType;
import ai.lram.backend.ops.MixedOps.BlockWeights;
import ai.lram.backend.ops.NormSpec;

/** What a bf16 tape records with the kernels of {@link ai.lram.backend.ops.MixedOps}. */
final class MixedTape {
    /** Rows of a matrix start at multiples of 16 bytes in BF16. */
    private static final int VECTOR = 8;

    private final Tape tape;

    MixedTape(Tape tape) {
        this.tape = tape;
    }

    static boolean fits(Parameter w) {
        return w.shape().length == 2 && w.dim(0) % VECTOR == 0 && w.dim(1) % VECTOR == 0;
    }

    static boolean linearFits(Value x, Parameter w) {
        return fits(w) && (x.dtype() == DType.F32 || x.dtype() == DType.BF16);
    }

    private static int[] withLast(Value x, int last) {
        int[] s = x.shape();
        s[s.length - 1] = last;
        return s;
    }

    /** x w^T + bias + residual; BF16 without bias and residual (both may be null), else F32. */
    Value linear(Value input, Parameter w, Parameter bias, Value residual) {
        Value x = tape.bf16(input);
        DType type = bias == null && residual == null ? DType.BF16 : DType.F32;
        Value y = tape.result(w.name(), type, withLast(x, w.dim(0)));
        tape.record(
                "linear",
                (o, s) -> o.mixed()
                        .linear(
                                s,
                                x.tensor(),
                                w.narrow(),
                                bias == null ? null : bias.value(),
                                Tape.t(residual),
                                y.tensor()),
                x,
                residual,
                y);
        tape.onBackward(() -> {
            Value dy = tape.gradient(y);
            if (dy == null) {
                return;
            }
            Value narrow = tape.narrowed(dy);
            tape.record(
                    "linear dw",
                    (o, s) -> o.mixed().linearBackwardWeight(s, narrow.tensor(), x.tensor(), w.grad()),
                    x,
                    narrow);
            if (bias != null) {
                tape.record("linear dbias", (o, s) -> o.mixed().addColumns(s, dy.tensor(), bias.grad()), dy);
            }
            if (x.needsGrad()) {
                Value dx = tape.contribution(x);
                tape.record(
                        "linear dx",
                        (o, s) -> o.mixed().linearBackwardInput(s, narrow.tensor(), w.narrow(), dx.tensor()),
                        narrow,
                        dx);
                tape.contribute(x, dx);
            }
            if (residual != null && residual.needsGrad()) {
                tape.share(dy);
                tape.contribute(residual, dy);
            }
        });
        return y;
    }

    /** Of the residual stream: x F32, the result BF16. */
    Value norm(NormSpec spec, Value x, Parameter weight) {
        Value y = tape.result(weight.name(), DType.BF16, x.shape());
        int rows = Math.toIntExact(x.size() / x.dim(-1));
        Value mean = tape.value("mean", DType.F32, false, rows);
        Value rstd = tape.value("rstd", DType.F32, false, rows);
        tape.record(
                "norm",
                (o, s) -> o.mixed()
                        .norm(s, spec, x.tensor(), weight.value(), null, y.tensor(), mean.tensor(), rstd.tensor()),
                x,
                y,
                mean,
                rstd);
        tape.onBackward(() -> {
            Value dy = tape.gradient(y);
            if (dy == null) {
                return;
            }
            Value past = tape.gradient(x);
            Value dx = tape.contribution(x);
            Value narrow = tape.value(dx.name(), DType.BF16, false, x.shape());
            tape.record(
                    "norm dx",
                    (o, s) -> o.mixed()
                            .normBackward(
                                    s,
                                    spec,
                                    dy.tensor(),
                                    x.tensor(),
                                    weight.value(),
                                    mean.tensor(),
                                    rstd.tensor(),
                                    Tape.t(past),
                                    dx.tensor(),
                                    narrow.tensor(),
                                    weight.grad(),
                                    null),
                    x,
                    dy,
                    past,
                    dx,
                    narrow,
                    mean,
                    rstd);
            tape.narrowedBy(dx, narrow);
            if (x.needsGrad()) {
                tape.replaceGradient(x, dx);
            }
        });
        return y;
    }

    Value block(MlstmBlockParameters p, Value x, Value history, Tape.CarriedMlstm carried) {
        Value uz = linear(norm(p.blockNorm(), x, p.norm()), p.up(), null, null);
        return linear(cell(p, uz, history, carried), p.down(), null, x);
    }

    private static BlockWeights weights(MlstmBlockParameters p) {
        return new BlockWeights(
                p.conv().value(),
                p.convBias().value(),
                p.q().value(),
                p.k().value(),
                p.v().value(),
                p.inputGate().value(),
                p.inputGateBias().value(),
                p.forgetGate().value(),
                p.forgetGateBias().value());
    }

    private static BlockWeights gradients(MlstmBlockParameters p) {
        return new BlockWeights(
                p.conv().grad(),
                p.convBias().grad(),
                p.q().grad(),
                p.k().grad(),
                p.v().grad(),
                p.inputGate().grad(),
                p.inputGateBias().grad(),
                p.forgetGate().grad(),
                p.forgetGateBias().grad());
    }

    /** From both halves of the up-projection to the operand of the down-projection. */
    private Value cell(MlstmBlockParameters p, Value uz, Value history, Tape.CarriedMlstm carried) {
        int inner = p.down().dim(1);
        int[] shape = withLast(uz, inner);
        int[] gateShape = withLast(uz, p.heads());
        int rows = Math.toIntExact(uz.size() / uz.dim(-1));
        Value c = tape.result("conv", DType.BF16, shape);
        Value q = tape.result("q", DType.BF16, shape);
        Value k = tape.result("k", DType.BF16, shape);
        Value v = tape.result("v", DType.BF16, shape);
        Tape.Gates gates =
                new Tape.Gates(tape.result("i", DType.F32, gateShape), tape.result("f", DType.F32, gateShape));
        Value i = gates.i();
        Value f = gates.f();
        tape.record(
                "conv qkv",
                (o, s) -> o.mixed()
                        .convQkv(
                                s,
                                uz.tensor(),
                                weights(p),
                                Tape.t(history),
                                c.tensor(),
                                q.tensor(),
                                k.tensor(),
                                v.tensor(),
                                i.tensor(),
                                f.tensor()),
                uz,
                history,
                c,
                q,
                k,
                v,
                i,
                f);
        // Both halves of the gradient of uz are one value: the gate's kernel writes z's, this one u's.
        Value duz = tape.contribution(uz);
        Value dc = tape.contribution(c);
        tape.onBackward(() -> {
            Value dq = tape.gradient(q);
            Value dk = tape.gradient(k);
            Value dv = tape.gradient(v);
            Value di = tape.gradient(i);
            Value df = tape.gradient(f);
            if (dq == null) {
                return;
            }
            tape.record(
                    "conv qkv dx",
                    (o, s) -> o.mixed()
                            .convQkvBackward(
                                    s,
                                    uz.tensor(),
                                    weights(p),
                                    Tape.t(history),
                                    q.tensor(),
                                    k.tensor(),
                                    v.tensor(),
                                    dq.tensor(),
                                    dk.tensor(),
                                    dv.tensor(),
                                    di.tensor(),
                                    df.tensor(),
                                    dc.tensor(),
                                    duz.tensor(),
                                    gradients(p)),
                    uz,
                    history,
                    q,
                    k,
                    v,
                    dq,
                    dk,
                    dv,
                    di,
                    df,
                    dc,
                    duz);
            tape.contribute(uz, duz);
        });
        Value h = tape.bf16(tape.mlstm(p.spec(), p.heads(), q, k, v, gates, carried));
        Value y = tape.result("gated", DType.BF16, shape);
        Value mean = tape.value("mean", DType.F32, false, rows, p.heads());
        Value rstd = tape.value("rstd", DType.F32, false, rows, p.heads());
        tape.record(
                "head gate",
                (o, s) -> o.mixed()
                        .headGate(
                                s,
                                p.headNorm(),
                                h.tensor(),
                                c.tensor(),
                                uz.tensor(),
                                p.outNorm().value(),
                                p.skip().value(),
                                y.tensor(),
                                mean.tensor(),
                                rstd.tensor()),
                h,
                c,
                uz,
                y,
                mean,
                rstd);
        tape.onBackward(() -> {
            Value dy = tape.gradient(y);
            if (dy == null) {
                return;
            }
            Value dh = tape.contribution(h);
            tape.record(
                    "head gate dx",
                    (o, s) -> o.mixed()
                            .headGateBackward(
                                    s,
                                    p.headNorm(),
                                    h.tensor(),
                                    c.tensor(),
                                    uz.tensor(),
                                    p.outNorm().value(),
                                    p.skip().value(),
                                    mean.tensor(),
                                    rstd.tensor(),
                                    dy.tensor(),
                                    dh.tensor(),
                                    dc.tensor(),
                                    duz.tensor(),
                                    p.outNorm().grad(),
                                    p.skip().grad()),
                    h,
                    c,
                    uz,
                    mean,
                    rstd,
                    dy,
                    dh,
                    dc,
                    duz);
            tape.contribute(h, dh);
        });
        if (history != null) {
            tape.atEnd(() -> tape.record(
                    "carry conv", (o, s) -> o.mixed().carryHistory(s, uz.tensor(), history.tensor()), uz, history));
        }
        return y;
    }
}
