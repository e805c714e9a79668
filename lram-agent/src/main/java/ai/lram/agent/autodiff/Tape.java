package ai.lram.agent.autodiff;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.Ops;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * Records kernels over {@link Value}s of fixed shapes. A recording method returns the value that its kernel will write and, on a
 * differentiating tape, remembers how to record the kernel's gradient. {@link #backward} appends those in reverse order,
 * {@link #plan} places everything in memory. Nothing is computed while recording.
 *
 * <p>Gradients of parameters are added to {@link Parameter#grad()}; gradients of values are fresh values. Single thread.
 */
public final class Tape {
    /** A kernel call whose tensors are known once the plan is made. */
    @FunctionalInterface
    public interface Launch {
        void run(Ops ops, Stream stream);
    }

    /** Makes a view at the first replay and keeps it, so that later replays allocate nothing. */
    private static final class Once<T> implements Supplier<T> {
        private final Supplier<T> make;
        private T made;

        Once(Supplier<T> make) {
            this.make = make;
        }

        @Override
        public T get() {
            if (made == null) {
                made = make.get();
            }
            return made;
        }
    }

    record Step(String kernel, Value[] uses, Launch launch) {}

    private final Backend backend;
    private final boolean differentiate;
    private final Precision precision;
    private final List<Step> steps = new ArrayList<>();
    private final List<Value> values = new ArrayList<>();
    private final Deque<Runnable> backwards = new ArrayDeque<>();
    private final Map<Value, Value> grads = new HashMap<>();
    /** Values already cast, by the value they were cast from. */
    private final Map<Value, Value> casts = new HashMap<>();

    private final Set<Value> inputs = new HashSet<>();
    /** Gradients that belong to more than one value, or to the caller: no kernel may add to them in place. */
    private final Set<Value> shared = new HashSet<>();

    private boolean planned;

    public Tape(Backend backend, boolean differentiate) {
        this(backend, differentiate, Precision.FP32);
    }

    /** @throws UnsupportedKernelException if the engine has no kernels for that precision */
    public Tape(Backend backend, boolean differentiate, Precision precision) {
        this.backend = backend;
        this.differentiate = differentiate;
        this.precision = precision;
        if (precision == Precision.BF16 && !backend.ops().mixed().supported()) {
            throw new UnsupportedKernelException(
                    "a bf16 tape on " + backend.name(),
                    "this engine has no kernels of mixed precision",
                    "use fp32 (--precision fp32), or choose device=cuda");
        }
    }

    public Precision precision() {
        return precision;
    }

    public Backend backend() {
        return backend;
    }

    /** A value the caller fills before each replay. It keeps its memory to itself. */
    public Value input(String name, DType dtype, int... shape) {
        Value v = value(name, dtype, false, shape);
        v.keep = true;
        inputs.add(v);
        return v;
    }

    /** Like {@link #input}, with a gradient that {@link #gradient} returns after {@link #backward}: for tests. */
    public Value differentiableInput(String name, int... shape) {
        Value v = value(name, DType.F32, true, shape);
        v.keep = true;
        return v;
    }

    /** Memory that outlives the plan, such as a carried state; no gradient flows into it. */
    public Value external(String name, Tensor tensor) {
        return new Value(name, tensor.dtype(), false, tensor, tensor.shape());
    }

    /** Marks a value as an output: its memory is not reused within a replay. */
    public Value keep(Value v) {
        v.keep = true;
        return v;
    }

    Value value(String name, DType dtype, boolean needsGrad, int... shape) {
        if (planned) {
            throw new IllegalStateException("recording after the plan was made");
        }
        Value v = new Value(name, dtype, needsGrad, null, shape);
        values.add(v);
        return v;
    }

    private Value result(String name, int... shape) {
        return result(name, DType.F32, shape);
    }

    Value result(String name, DType dtype, int... shape) {
        return value(name, dtype, differentiate, shape);
    }

    Value scratch(String name, long floats) {
        return value(name, DType.F32, false, Math.toIntExact(Math.max(1, floats)));
    }

    /** Records any kernel; {@code uses} are all values it reads or writes. */
    public void record(String kernel, Launch launch, Value... uses) {
        if (planned) {
            throw new IllegalStateException("recording after the plan was made");
        }
        steps.add(new Step(kernel, Arrays.stream(uses).filter(v -> v != null).toArray(Value[]::new), launch));
    }

    void onBackward(Runnable r) {
        if (differentiate) {
            backwards.push(r);
        }
    }

    static Tensor t(Value v) {
        return v == null ? null : v.tensor();
    }

    private static Tensor grad(Parameter p) {
        return p == null ? null : p.grad();
    }

    private static Tensor val(Parameter p) {
        return p == null ? null : p.value();
    }

    // ---- gradients -------------------------------------------------------------------------------------------------

    /** The gradient of {@code v}, or null if none reached it. After {@link #backward}. */
    public Value gradient(Value v) {
        return grads.get(v);
    }

    /** Where a gradient kernel of {@code v} writes: the first contribution becomes the gradient, later ones are added. */
    Value contribution(Value v) {
        return value("d " + v.name(), v.dtype(), false, v.shape());
    }

    void contribute(Value v, Value g) {
        Value old = grads.get(v);
        if (old == null) {
            grads.put(v, g);
            return;
        }
        Value sum = contribution(v);
        if (v.dtype() == DType.BF16) {
            record("add", (o, s) -> o.mixed().add(s, old.tensor(), g.tensor(), sum.tensor()), old, g, sum);
        } else {
            record("add", (o, s) -> o.elementwise().add(s, old.tensor(), g.tensor(), sum.tensor()), old, g, sum);
        }
        grads.put(v, sum);
    }

    /** Takes the place of what has been contributed, which it contains. */
    void replaceGradient(Value v, Value g) {
        grads.put(v, g);
    }

    /** A gradient that belongs to more than one value: no kernel may add to it in place. */
    void share(Value g) {
        shared.add(g);
    }

    // ---- precision -------------------------------------------------------------------------------------------------

    /** The value as F32, cast if it is BF16. */
    public Value f32(Value v) {
        return v == null || v.dtype() != DType.BF16 ? v : casts.computeIfAbsent(v, x -> cast(x, DType.F32));
    }

    /** The value as BF16, cast if it is F32. */
    Value bf16(Value v) {
        return v.dtype() == DType.BF16 ? v : casts.computeIfAbsent(v, x -> cast(x, DType.BF16));
    }

    private Value cast(Value x, DType to) {
        Value y = value(x.name(), to, x.needsGrad(), x.shape());
        recordCast(x, y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy != null && x.needsGrad()) {
                Value dx = contribution(x);
                recordCast(dy, dx);
                contribute(x, dx);
            }
        });
        return y;
    }

    private void recordCast(Value x, Value y) {
        if (x.dtype() == DType.F32) {
            record("narrow", (o, s) -> o.mixed().narrow(s, x.tensor(), y.tensor()), x, y);
        } else {
            record("widen", (o, s) -> o.mixed().widen(s, x.tensor(), y.tensor()), x, y);
        }
    }

    /** A gradient as BF16 operand of products. */
    Value narrowed(Value g) {
        return g.dtype() == DType.BF16
                ? g
                : casts.computeIfAbsent(g, x -> {
                    Value y = value(x.name(), DType.BF16, false, x.shape());
                    recordCast(x, y);
                    return y;
                });
    }

    /** {@code narrow} holds what {@code g} holds: {@link #narrowed} need not cast. */
    void narrowedBy(Value g, Value narrow) {
        casts.put(g, narrow);
    }

    /** Where a kernel that can add writes a gradient of {@code v}: onto the one there is, if nobody else holds it, else into a new one. */
    private Value target(Value v) {
        Value g = grads.get(v);
        return g != null && !shared.contains(g) ? g : contribution(v);
    }

    /** Counts what was written to {@link #target} unless it was added to what is there. */
    private void contributeTo(Value v, Value target) {
        if (grads.get(v) != target) {
            contribute(v, target);
        }
    }

    /** The gradient of {@code v} as memory of its own that a kernel may add to. */
    private Value ownGradient(Value v) {
        Value g = grads.get(v);
        if (g != null && !shared.contains(g)) {
            return g;
        }
        Value own = contribution(v);
        if (g == null) {
            record("fill", (o, s) -> o.elementwise().fill(s, 0f, own.tensor()), own);
        } else {
            record("copy", (o, s) -> o.elementwise().scale(s, 1f, g.tensor(), own.tensor()), g, own);
        }
        grads.put(v, own);
        return own;
    }

    /** Appends the gradient kernels of everything recorded so far, given the gradient {@code dy} of {@code y}. */
    public void backward(Value y, Value dy) {
        if (!differentiate) {
            throw new IllegalStateException("this tape does not differentiate");
        }
        shared.add(dy);
        contribute(y, dy);
        while (!backwards.isEmpty()) {
            backwards.pop().run();
        }
    }

    // ---- kernels ---------------------------------------------------------------------------------------------------

    private static int[] withLast(Value x, int last) {
        int[] s = x.shape();
        s[s.length - 1] = last;
        return s;
    }

    /**
     * x w^T + bias over the last dimension; bias may be null. On a bf16 tape the result is BF16 without a bias, F32 with one, where both
     * dimensions of w are multiples of 8; else F32 as the rest. Inputs of the tape are multiplied in fp32: BF16 would round away what an
     * observation changes by from one step to the next.
     */
    public Value linear(Value input, Parameter w, Parameter bias) {
        if (precision == Precision.BF16 && !inputs.contains(input) && MixedTape.linearFits(input, w)) {
            return new MixedTape(this).linear(input, w, bias, null);
        }
        Value x = f32(input);
        int n = w.dim(0);
        Value y = result(w.name(), withLast(x, n));
        record(
                "linear",
                (o, s) -> o.matmul().linear(s, x.tensor(), w.value(), val(bias), Activation.NONE, y.tensor()),
                x,
                y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            record(
                    "linear dw",
                    (o, s) -> o.matmul().linearBackwardWeight(s, dy.tensor(), x.tensor(), w.grad(), grad(bias)),
                    x,
                    dy);
            if (x.needsGrad()) {
                Value dx = target(x);
                boolean add = dx == grads.get(x);
                record(
                        "linear dx",
                        (o, s) -> o.matmul().linearBackwardInput(s, dy.tensor(), w.value(), add, dx.tensor()),
                        dy,
                        dx);
                contributeTo(x, dx);
            }
        });
        return y;
    }

    /** Block-diagonal product over the last dimension; w (G, DO, DI). */
    public Value headwise(Value input, Parameter w, Parameter bias) {
        Value x = f32(input);
        Value y = result(w.name(), withLast(x, w.dim(0) * w.dim(1)));
        record("headwise", (o, s) -> o.matmul().headwise(s, x.tensor(), w.value(), val(bias), y.tensor()), x, y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            record(
                    "headwise dw",
                    (o, s) -> o.matmul().headwiseBackwardWeight(s, dy.tensor(), x.tensor(), w.grad(), grad(bias)),
                    x,
                    dy);
            if (x.needsGrad()) {
                Value dx = target(x);
                boolean add = dx == grads.get(x);
                record(
                        "headwise dx",
                        (o, s) -> o.matmul().headwiseBackwardInput(s, dy.tensor(), w.value(), add, dx.tensor()),
                        dy,
                        dx);
                contributeTo(x, dx);
            }
        });
        return y;
    }

    /**
     * Layer, RMS or multi-head norm over the last dimension; bias may be null. On a bf16 tape the result is BF16 where the norm has one
     * group and no bias.
     */
    public Value norm(NormSpec spec, Value input, Parameter weight, Parameter bias) {
        if (precision == Precision.BF16
                && bias == null
                && spec.groups() == 1
                && input.dtype() == DType.F32
                && backend.ops().mixed().normFits(input.dim(-1))) {
            return new MixedTape(this).norm(spec, input, weight);
        }
        Value x = f32(input);
        Value y = result(weight.name(), x.shape());
        int rows = Math.toIntExact(x.size() / x.dim(-1));
        Value mean = spec.centred() ? value("mean", DType.F32, false, rows, spec.groups()) : null;
        Value rstd = value("rstd", DType.F32, false, rows, spec.groups());
        record(
                "norm",
                (o, s) -> o.norm()
                        .forward(s, spec, x.tensor(), weight.value(), val(bias), y.tensor(), t(mean), rstd.tensor()),
                x,
                y,
                mean,
                rstd);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            Value dx = contribution(x);
            record(
                    "norm dx",
                    (o, s) -> o.norm()
                            .backward(
                                    s,
                                    spec,
                                    dy.tensor(),
                                    x.tensor(),
                                    weight.value(),
                                    t(mean),
                                    rstd.tensor(),
                                    dx.tensor(),
                                    weight.grad(),
                                    grad(bias)),
                    x,
                    dy,
                    dx,
                    mean,
                    rstd);
            if (x.needsGrad()) {
                contribute(x, dx);
            }
        });
        return y;
    }

    /**
     * Causal depthwise convolution along tokens. x (B, S, C), w (C, K); {@code history} (B, K-1, C) may be null; where it is given, the
     * last K-1 inputs are copied into {@code nextHistory} (may be the same memory) after use.
     */
    public Value causalConv1d(Value input, Parameter w, Parameter bias, Value history, Value nextHistory) {
        Value x = f32(input);
        int k = w.dim(w.shape().length - 1);
        Value y = result(w.name(), x.shape());
        Supplier<Tensor> kernel = new Once<>(() -> kernelOf(w.value(), k));
        record(
                "conv1d",
                (o, s) -> o.conv().causalConv1d(s, x.tensor(), kernel.get(), val(bias), t(history), y.tensor()),
                x,
                y,
                history);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            Value dx = contribution(x);
            Supplier<Tensor> dKernel = new Once<>(() -> kernelOf(w.grad(), k));
            record(
                    "conv1d dx",
                    (o, s) -> o.conv()
                            .causalConv1dBackward(
                                    s,
                                    dy.tensor(),
                                    x.tensor(),
                                    kernel.get(),
                                    t(history),
                                    dx.tensor(),
                                    null,
                                    dKernel.get(),
                                    grad(bias)),
                    x,
                    dy,
                    dx,
                    history);
            if (x.needsGrad()) {
                contribute(x, dx);
            }
        });
        if (nextHistory != null) {
            deferred.add(() -> recordNextHistory(x, nextHistory, k));
        }
        return y;
    }

    private static Tensor kernelOf(Tensor w, int k) {
        return w.reshape(Math.toIntExact(w.size() / k), k);
    }

    /** Kernels that must come after all others of a replay, since they overwrite memory that the backward pass still reads. */
    private final List<Runnable> deferred = new ArrayList<>();

    private void recordNextHistory(Value x, Value history, int k) {
        int b = x.dim(0);
        int tokens = x.dim(1);
        int c = x.dim(2);
        int keep = k - 1;
        int fresh = Math.min(tokens, keep);
        record(
                "carry conv",
                (o, s) -> {
                    Tensor h = history.tensor();
                    for (int row = 0; row < b; row++) {
                        long base = (long) row * keep * c;
                        for (int j = 0; j < keep - fresh; j++) {
                            o.elementwise()
                                    .copyRows(
                                            s,
                                            1,
                                            c,
                                            h,
                                            base + (long) (j + fresh) * c,
                                            c,
                                            h,
                                            base + (long) j * c,
                                            c,
                                            false);
                        }
                        o.elementwise()
                                .copyRows(
                                        s,
                                        fresh,
                                        c,
                                        x.tensor(),
                                        ((long) row * tokens + tokens - fresh) * c,
                                        c,
                                        h,
                                        base + (long) (keep - fresh) * c,
                                        c,
                                        false);
                    }
                },
                x,
                history);
    }

    public Value activation(Activation act, Value input) {
        Value x = f32(input);
        Value y = result(act.name().toLowerCase(java.util.Locale.ROOT), x.shape());
        record("activation", (o, s) -> o.elementwise().activation(s, act, x.tensor(), y.tensor()), x, y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy != null && x.needsGrad()) {
                Value dx = contribution(x);
                record(
                        "activation dx",
                        (o, s) -> o.elementwise().activationBackward(s, act, x.tensor(), dy.tensor(), dx.tensor()),
                        x,
                        dy,
                        dx);
                contribute(x, dx);
            }
        });
        return y;
    }

    public Value add(Value first, Value second) {
        Value a = f32(first);
        Value b = f32(second);
        Value y = result("sum", a.shape());
        record("add", (o, s) -> o.elementwise().add(s, a.tensor(), b.tensor(), y.tensor()), a, b, y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy != null) {
                shared.add(dy);
                if (a.needsGrad()) {
                    contribute(a, dy);
                }
                if (b.needsGrad()) {
                    contribute(b, dy);
                }
            }
        });
        return y;
    }

    /** act(g) * u. */
    public Value gate(Activation act, Value gate, Value input) {
        Value g = f32(gate);
        Value u = f32(input);
        Value y = result("gate", g.shape());
        record("gate", (o, s) -> o.elementwise().gate(s, act, g.tensor(), u.tensor(), y.tensor()), g, u, y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            Value dg = contribution(g);
            Value du = contribution(u);
            record(
                    "gate dx",
                    (o, s) -> o.elementwise()
                            .gateBackward(s, act, g.tensor(), u.tensor(), dy.tensor(), dg.tensor(), du.tensor()),
                    g,
                    u,
                    dy,
                    dg,
                    du);
            contribute(g, dg);
            contribute(u, du);
        });
        return y;
    }

    /** (h + skip * c) * silu(z). */
    public Value skipGate(Value cell, Parameter skip, Value conv, Value gate) {
        Value h = f32(cell);
        Value c = f32(conv);
        Value z = f32(gate);
        Value y = result("skip gate", h.shape());
        record(
                "skip gate",
                (o, s) -> o.elementwise().skipGate(s, h.tensor(), skip.value(), c.tensor(), z.tensor(), y.tensor()),
                h,
                c,
                z,
                y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            Value dh = contribution(h);
            Value dc = contribution(c);
            Value dz = contribution(z);
            record(
                    "skip gate dx",
                    (o, s) -> o.elementwise()
                            .skipGateBackward(
                                    s,
                                    h.tensor(),
                                    skip.value(),
                                    c.tensor(),
                                    z.tensor(),
                                    dy.tensor(),
                                    dh.tensor(),
                                    skip.grad(),
                                    dc.tensor(),
                                    dz.tensor()),
                    h,
                    c,
                    z,
                    dy,
                    dh,
                    dc,
                    dz);
            contribute(h, dh);
            contribute(c, dc);
            contribute(z, dz);
        });
        return y;
    }

    /** The two gate pre-activations of an mLSTM layer. */
    public record Gates(Value i, Value f) {}

    /** Gate pre-activations from the concatenation of q, k and v, all (B, S, I); weights (NH, 3I). */
    public Gates mlstmGates(
            Value query, Value key, Value value, Parameter wi, Parameter bi, Parameter wf, Parameter bf) {
        Value q = f32(query);
        Value k = f32(key);
        Value v = f32(value);
        if (q == k || k == v || q == v) {
            throw new IllegalArgumentException(
                    "q, k and v must be three values: their gradients are written by one kernel");
        }
        Value i = result("i", withLast(q, wi.dim(0)));
        Value f = result("f", withLast(q, wf.dim(0)));
        record(
                "mlstm gates",
                (o, s) -> o.mlstm()
                        .gates(
                                s,
                                q.tensor(),
                                k.tensor(),
                                v.tensor(),
                                wi.value(),
                                bi.value(),
                                wf.value(),
                                bf.value(),
                                i.tensor(),
                                f.tensor()),
                q,
                k,
                v,
                i,
                f);
        onBackward(() -> {
            if (grads.get(i) == null && grads.get(f) == null) {
                return;
            }
            Value di = ownGradient(i);
            Value df = ownGradient(f);
            // This kernel adds to the gradients of q, k and v in place: the cell's own are usually there already.
            Value dq = ownGradient(q);
            Value dk = ownGradient(k);
            Value dv = ownGradient(v);
            record(
                    "mlstm gates dx",
                    (o, s) -> o.mlstm()
                            .gatesBackward(
                                    s,
                                    q.tensor(),
                                    k.tensor(),
                                    v.tensor(),
                                    wi.value(),
                                    wf.value(),
                                    di.tensor(),
                                    df.tensor(),
                                    dq.tensor(),
                                    dk.tensor(),
                                    dv.tensor(),
                                    wi.grad(),
                                    bi.grad(),
                                    wf.grad(),
                                    bf.grad()),
                    q,
                    k,
                    v,
                    di,
                    df,
                    dq,
                    dk,
                    dv);
        });
        return new Gates(i, f);
    }

    /**
     * The mLSTM cell over B sequences of S tokens. q, k (B, S, NH*DHQK), v (B, S, NH*DHHV). Where {@code carried} is given, its state is the
     * initial one and is replaced by the last one at the end of the replay.
     */
    public Value mlstm(
            MlstmSpec spec, int heads, Value query, Value key, Value value, Gates gates, CarriedMlstm carried) {
        boolean narrow = query.dtype() == DType.BF16 && backend.ops().mlstm().takes(DType.BF16);
        Value q = narrow ? query : f32(query);
        Value k = narrow ? key : f32(key);
        Value v = narrow ? value : f32(value);
        int b = q.dim(0);
        int tokens = q.dim(1);
        MlstmDims dims = new MlstmDims(b, tokens, heads, q.dim(2) / heads, v.dim(2) / heads);
        Ops ops = backend.ops();
        Value h = result("mlstm h", v.dtype(), v.shape());
        boolean states = carried != null;
        Value saved =
                differentiate ? scratch("mlstm saved", ops.mlstm().savedFloats(dims, spec, v.dtype(), states)) : null;
        long scratchFloats = ops.mlstm().scratchFloats(dims, spec, v.dtype(), states);
        Value work = scratch("mlstm scratch", scratchFloats);
        MlstmState initial = carried == null ? null : carried.state();
        Value lastC = carried == null
                ? null
                : value("mlstm C", DType.F32, false, carried.state().matC().shape());
        Value lastN = carried == null
                ? null
                : value("mlstm n", DType.F32, false, carried.state().vecN().shape());
        Value lastM = carried == null
                ? null
                : value("mlstm m", DType.F32, false, carried.state().scaM().shape());
        Value i = gates.i();
        Value f = gates.f();
        Supplier<MlstmState> last = new Once<>(() -> new MlstmState(lastC.tensor(), lastN.tensor(), lastM.tensor()));
        record(
                "mlstm",
                (o, s) -> o.mlstm()
                        .forward(
                                s,
                                dims,
                                spec,
                                q.tensor(),
                                k.tensor(),
                                v.tensor(),
                                i.tensor(),
                                f.tensor(),
                                initial,
                                h.tensor(),
                                carried == null ? null : last.get(),
                                t(saved),
                                work.tensor()),
                q,
                k,
                v,
                i,
                f,
                h,
                saved,
                work,
                lastC,
                lastN,
                lastM);
        if (carried != null) {
            deferred.add(() -> record(
                    "carry mlstm",
                    (o, s) -> {
                        carry(o, s, lastC.tensor(), initial.matC());
                        carry(o, s, lastN.tensor(), initial.vecN());
                        carry(o, s, lastM.tensor(), initial.scaM());
                    },
                    lastC,
                    lastN,
                    lastM));
        }
        onBackward(() -> {
            Value dh = grads.get(h);
            if (dh == null) {
                return;
            }
            Value dq = contribution(q);
            Value dk = contribution(k);
            Value dv = contribution(v);
            Value di = contribution(i);
            Value df = contribution(f);
            Value work2 = scratch("mlstm scratch", scratchFloats);
            record(
                    "mlstm dx",
                    (o, s) -> o.mlstm()
                            .backward(
                                    s,
                                    dims,
                                    spec,
                                    q.tensor(),
                                    k.tensor(),
                                    v.tensor(),
                                    i.tensor(),
                                    f.tensor(),
                                    initial,
                                    h.tensor(),
                                    saved.tensor(),
                                    dh.tensor(),
                                    null,
                                    dq.tensor(),
                                    dk.tensor(),
                                    dv.tensor(),
                                    di.tensor(),
                                    df.tensor(),
                                    null,
                                    work2.tensor()),
                    q,
                    k,
                    v,
                    i,
                    f,
                    h,
                    saved,
                    dh,
                    dq,
                    dk,
                    dv,
                    di,
                    df,
                    work2);
            contribute(q, dq);
            contribute(k, dk);
            contribute(v, dv);
            contribute(i, di);
            contribute(f, df);
        });
        return h;
    }

    private static void carry(Ops o, Stream s, Tensor from, Tensor to) {
        int n = Math.toIntExact(from.size());
        o.elementwise().copyRows(s, 1, n, from, 0, n, to, 0, n, false);
    }

    /** State of an mLSTM layer that lives from one replay to the next. */
    public record CarriedMlstm(MlstmState state) {}

    /** The sLSTM scan; gate inputs (B, S, H) in order i, f, z, o. {@code carried} (4, B, H) as in {@link #mlstm}, may be null. */
    public Value slstm(int heads, Value i, Value f, Value z, Value out, Parameter r, Parameter bias, Tensor carried) {
        Value xi = f32(i);
        Value xf = f32(f);
        Value xz = f32(z);
        Value xo = f32(out);
        int b = xi.dim(0);
        int tokens = xi.dim(1);
        int headDim = xi.dim(2) / heads;
        Ops ops = backend.ops();
        Value y = result("slstm y", xi.shape());
        Value saved = differentiate ? scratch("slstm saved", ops.slstm().savedFloats(b, tokens, heads, headDim)) : null;
        long scratchFloats = ops.slstm().scratchFloats(b, tokens, heads, headDim);
        Value work = scratch("slstm scratch", scratchFloats);
        Value last = carried == null ? null : value("slstm last", DType.F32, false, carried.shape());
        record(
                "slstm",
                (o, s) -> o.slstm()
                        .forward(
                                s,
                                heads,
                                xi.tensor(),
                                xf.tensor(),
                                xz.tensor(),
                                xo.tensor(),
                                r.value(),
                                bias.value(),
                                carried,
                                y.tensor(),
                                t(last),
                                t(saved),
                                work.tensor()),
                xi,
                xf,
                xz,
                xo,
                y,
                saved,
                work,
                last);
        if (carried != null) {
            deferred.add(() -> record("carry slstm", (o, s) -> carry(o, s, last.tensor(), carried), last));
        }
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            Value dxi = contribution(xi);
            Value dxf = contribution(xf);
            Value dxz = contribution(xz);
            Value dxo = contribution(xo);
            Value work2 = scratch("slstm scratch", scratchFloats);
            record(
                    "slstm dx",
                    (o, s) -> o.slstm()
                            .backward(
                                    s,
                                    heads,
                                    r.value(),
                                    carried,
                                    y.tensor(),
                                    saved.tensor(),
                                    dy.tensor(),
                                    null,
                                    dxi.tensor(),
                                    dxf.tensor(),
                                    dxz.tensor(),
                                    dxo.tensor(),
                                    null,
                                    r.grad(),
                                    bias.grad(),
                                    work2.tensor()),
                    y,
                    saved,
                    dy,
                    dxi,
                    dxf,
                    dxz,
                    dxo,
                    work2);
            contribute(xi, dxi);
            contribute(xf, dxf);
            contribute(xz, dxz);
            contribute(xo, dxo);
        });
        return y;
    }

    /** Square 2-D convolution, zero padding; x (N, C, H, W), w (O, C, k, k). */
    public Value conv2d(Value x, Parameter w, Parameter bias, int stride, int pad) {
        int k = w.dim(2);
        int n = x.dim(0);
        int oh = (x.dim(2) + 2 * pad - k) / stride + 1;
        int ow = (x.dim(3) + 2 * pad - k) / stride + 1;
        long floats = backend.ops().conv().conv2dScratch(n, x.dim(1), x.dim(2), x.dim(3), w.dim(0), k, stride, pad);
        Value y = result(w.name(), n, w.dim(0), oh, ow);
        Value work = scratch("conv2d scratch", floats);
        record(
                "conv2d",
                (o, s) -> o.conv().conv2d(s, stride, pad, x.tensor(), w.value(), val(bias), work.tensor(), y.tensor()),
                x,
                y,
                work);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            Value dx = x.needsGrad() ? contribution(x) : null;
            Value work2 = scratch("conv2d scratch", floats);
            record(
                    "conv2d dx",
                    (o, s) -> o.conv()
                            .conv2dBackward(
                                    s,
                                    stride,
                                    pad,
                                    dy.tensor(),
                                    x.tensor(),
                                    w.value(),
                                    work2.tensor(),
                                    t(dx),
                                    w.grad(),
                                    grad(bias)),
                    x,
                    dy,
                    dx,
                    work2);
            if (dx != null) {
                contribute(x, dx);
            }
        });
        return y;
    }

    public Value maxPool2d(Value x, int kernel, int stride, int pad) {
        int oh = (x.dim(2) + 2 * pad - kernel) / stride + 1;
        int ow = (x.dim(3) + 2 * pad - kernel) / stride + 1;
        Value y = result("max pool", x.dim(0), x.dim(1), oh, ow);
        Value index = value("max pool index", DType.I32, false, x.dim(0), x.dim(1), oh, ow);
        record(
                "max pool",
                (o, s) -> o.conv().maxPool2d(s, kernel, stride, pad, x.tensor(), y.tensor(), index.tensor()),
                x,
                y,
                index);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy != null && x.needsGrad()) {
                Value dx = contribution(x);
                record(
                        "max pool dx",
                        (o, s) -> o.conv().maxPool2dBackward(s, dy.tensor(), index.tensor(), dx.tensor()),
                        dy,
                        index,
                        dx);
                contribute(x, dx);
            }
        });
        return y;
    }

    /** The same numbers under another shape: a copy, so that liveness stays simple; use it off the hot path. */
    public Value reshape(Value input, int... shape) {
        Value x = f32(input);
        Value y = result(x.name(), shape);
        int n = Math.toIntExact(x.size());
        record("copy", (o, s) -> o.elementwise().copyRows(s, 1, n, x.tensor(), 0, n, y.tensor(), 0, n, false), x, y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy != null && x.needsGrad()) {
                Value dx = contribution(x);
                record(
                        "copy",
                        (o, s) -> o.elementwise().copyRows(s, 1, n, dy.tensor(), 0, n, dx.tensor(), 0, n, false),
                        dy,
                        dx);
                contribute(x, dx);
            }
        });
        return y;
    }

    /** Interleaves k values of shape (B, T, D) to (B, k*T, D): token j of step t is row k*t + j. */
    public Value interleave(Value... parts) {
        int k = parts.length;
        Value[] inputs = Arrays.stream(parts).map(this::f32).toArray(Value[]::new);
        int b = parts[0].dim(0);
        int tSteps = parts[0].dim(1);
        int d = parts[0].dim(2);
        Value y = result("tokens", b, k * tSteps, d);
        for (int j = 0; j < k; j++) {
            Value x = inputs[j];
            long offset = (long) j * d;
            record(
                    "interleave",
                    (o, s) -> o.elementwise()
                            .copyRows(s, b * tSteps, d, x.tensor(), 0, d, y.tensor(), offset, (long) k * d, false),
                    x,
                    y);
        }
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            for (int j = 0; j < k; j++) {
                Value x = inputs[j];
                if (x.needsGrad()) {
                    Value dx = contribution(x);
                    long offset = (long) j * d;
                    record(
                            "interleave dx",
                            (o, s) -> o.elementwise()
                                    .copyRows(
                                            s,
                                            b * tSteps,
                                            d,
                                            dy.tensor(),
                                            offset,
                                            (long) k * d,
                                            dx.tensor(),
                                            0,
                                            d,
                                            false),
                            dy,
                            dx);
                    contribute(x, dx);
                }
            }
        });
        return y;
    }

    /** Every k-th token of x (B, k*T, D), starting at token j: (B, T, D). */
    public Value everyToken(Value x, int k, int j) {
        int b = x.dim(0);
        int tSteps = x.dim(1) / k;
        int d = x.dim(2);
        if (x.dtype() == DType.BF16 && d % 2 != 0) {
            return everyToken(f32(x), k, j);
        }
        Value y = result("token " + j, x.dtype(), b, tSteps, d);
        // A copy does not look at its elements: two of BF16 are one of F32.
        int cols = x.dtype() == DType.BF16 ? d / 2 : d;
        long offset = (long) j * cols;
        Supplier<Tensor> from = asFloats(x);
        Supplier<Tensor> to = asFloats(y);
        record(
                "every token",
                (o, s) -> o.elementwise()
                        .copyRows(s, b * tSteps, cols, from.get(), offset, (long) k * cols, to.get(), 0, cols, false),
                x,
                y);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy != null && x.needsGrad()) {
                Value dx = contribution(x);
                Supplier<Tensor> all = asFloats(dx);
                Supplier<Tensor> picked = asFloats(dy);
                record("fill", (o, s) -> o.elementwise().fill(s, 0f, all.get()), dx);
                record(
                        "every token dx",
                        (o, s) -> o.elementwise()
                                .copyRows(
                                        s,
                                        b * tSteps,
                                        cols,
                                        picked.get(),
                                        0,
                                        cols,
                                        all.get(),
                                        offset,
                                        (long) k * cols,
                                        false),
                        dy,
                        dx);
                contribute(x, dx);
            }
        });
        return y;
    }

    private static Supplier<Tensor> asFloats(Value v) {
        return new Once<>(() ->
                v.dtype() == DType.BF16 ? v.tensor().carve(DType.F32, 0, Math.toIntExact(v.size() / 2)) : v.tensor());
    }

    /** Softmax attention, causal; q, k, v (B, S, NH*D). */
    public Value causalAttention(int heads, Value query, Value key, Value value) {
        Value q = f32(query);
        Value k = f32(key);
        Value v = f32(value);
        int b = q.dim(0);
        int tokens = q.dim(1);
        int d = q.dim(2) / heads;
        Value y = result("attention", q.shape());
        Value lse = value("attention lse", DType.F32, false, b, heads, tokens);
        int[] split = {b, tokens, heads, d};
        Supplier<Tensor> qs = byHead(q, split);
        Supplier<Tensor> ks = byHead(k, split);
        Supplier<Tensor> vs = byHead(v, split);
        Supplier<Tensor> ys = byHead(y, split);
        record(
                "attention",
                (o, s) -> o.attention().causal(s, qs.get(), ks.get(), vs.get(), ys.get(), lse.tensor()),
                q,
                k,
                v,
                y,
                lse);
        onBackward(() -> {
            Value dy = grads.get(y);
            if (dy == null) {
                return;
            }
            Value dq = contribution(q);
            Value dk = contribution(k);
            Value dv = contribution(v);
            Supplier<Tensor> dys = byHead(dy, split);
            Supplier<Tensor> dqs = byHead(dq, split);
            Supplier<Tensor> dks = byHead(dk, split);
            Supplier<Tensor> dvs = byHead(dv, split);
            record(
                    "attention dx",
                    (o, s) -> o.attention()
                            .causalBackward(
                                    s,
                                    qs.get(),
                                    ks.get(),
                                    vs.get(),
                                    ys.get(),
                                    lse.tensor(),
                                    dys.get(),
                                    dqs.get(),
                                    dks.get(),
                                    dvs.get()),
                    q,
                    k,
                    v,
                    y,
                    lse,
                    dy,
                    dq,
                    dk,
                    dv);
            contribute(q, dq);
            contribute(k, dk);
            contribute(v, dv);
        });
        return y;
    }

    private static Supplier<Tensor> byHead(Value v, int[] split) {
        return new Once<>(() -> v.tensor().reshape(split));
    }

    /** uint8 to float times a factor; carries no gradient. */
    public Value fromBytes(Value x, float factor) {
        Value y = value("pixels", DType.F32, false, x.shape());
        record("from bytes", (o, s) -> o.elementwise().fromBytes(s, x.tensor(), factor, y.tensor()), x, y);
        return y;
    }

    /**
     * The whole mLSTM block of the original architecture, fused, or null where this tape or its engine records it kernel by kernel.
     *
     * @param x (B, S, D) F32, the residual stream
     */
    public Value mlstmBlock(MlstmBlockParameters p, Value x, Value history, CarriedMlstm carried) {
        int inner = p.down().dim(1);
        boolean fits = precision == Precision.BF16
                && x.dtype() == DType.F32
                && MixedTape.fits(p.up())
                && MixedTape.fits(p.down())
                && backend.ops().mixed().normFits(x.dim(-1))
                && backend.ops().mixed().blockFits(inner, p.heads());
        return fits ? new MixedTape(this).block(p, x, history, carried) : null;
    }

    /** Kernels that come after all others of a replay. */
    void atEnd(Runnable recording) {
        deferred.add(recording);
    }

    /** A value without gradient for a kernel recorded by the caller. */
    public Value buffer(String name, DType dtype, int... shape) {
        return value(name, dtype, false, shape);
    }

    // ---- plan ------------------------------------------------------------------------------------------------------

    /** Every value recorded so far, gradients and scratch included. */
    List<Value> values() {
        return values;
    }

    /** Places all values and returns the replayable plan. The tape takes no more recordings. */
    public Plan plan(String name) {
        TensorArena arena = backend.arena(name);
        try {
            return plans(arena, List.of(this)).getFirst();
        } catch (RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    /**
     * Plans of which one runs at a time, the n-th of the n-th tape: they share one slab, as large as the largest needs, so that inputs are
     * filled and kept values read before the next one runs. The tapes take no more recordings.
     *
     * @param arena owns the slab; closing any of the plans closes it
     */
    public static List<Plan> plans(TensorArena arena, List<Tape> tapes) {
        List<Placement> placements = tapes.stream().map(Tape::place).toList();
        long bytes = placements.stream().mapToLong(Placement::bytes).max().orElse(0);
        int lines = Math.toIntExact(Math.max(1, (bytes + 63) / 64));
        Tensor slab = arena.allocate(DType.U8, lines, 64);
        List<Plan> plans = new ArrayList<>();
        for (int t = 0; t < tapes.size(); t++) {
            Placement p = placements.get(t);
            for (int i = 0; i < p.values.size(); i++) {
                Value v = p.values.get(i);
                v.place(slab.carve(v.dtype(), p.offsets[i], v.shape()));
            }
            plans.add(new Plan(tapes.get(t).backend, tapes.get(t).steps, arena, slab));
        }
        return plans;
    }

    /** Where the values of a tape lie in its slab. */
    private record Placement(List<Value> values, long[] offsets, long bytes) {}

    private Placement place() {
        for (Runnable r : deferred) {
            r.run();
        }
        deferred.clear();
        planned = true;
        int n = steps.size();
        for (int i = 0; i < n; i++) {
            for (Value v : steps.get(i).uses()) {
                if (v.firstUse < 0) {
                    v.firstUse = i;
                }
                v.lastUse = i;
            }
        }
        List<Value> placed = new ArrayList<>();
        for (Value v : values) {
            if (v.external()) {
                continue;
            }
            if (v.keep) {
                v.firstUse = 0;
                v.lastUse = n;
            }
            if (v.firstUse >= 0) {
                placed.add(v);
            }
        }
        long[] offsets = new long[placed.size()];
        return new Placement(placed, offsets, placeBySize(placed, offsets));
    }

    /** Largest first, each at the lowest offset free over its whole life. Deterministic. */
    private static long placeBySize(List<Value> placed, long[] offsets) {
        Integer[] order = new Integer[placed.size()];
        long[] bytes = new long[placed.size()];
        for (int i = 0; i < order.length; i++) {
            order[i] = i;
            Value v = placed.get(i);
            bytes[i] = (v.size() * v.dtype().bytes() + 63) / 64 * 64;
        }
        Arrays.sort(order, Comparator.comparingLong((Integer i) -> -bytes[i]).thenComparingInt(i -> i));
        List<Integer> done = new ArrayList<>();
        long total = 0;
        for (int i : order) {
            Value v = placed.get(i);
            List<Integer> overlapping = new ArrayList<>();
            for (int j : done) {
                Value w = placed.get(j);
                if (v.firstUse <= w.lastUse && w.firstUse <= v.lastUse) {
                    overlapping.add(j);
                }
            }
            overlapping.sort(Comparator.comparingLong(j -> offsets[j]));
            long at = 0;
            for (int j : overlapping) {
                if (at + bytes[i] <= offsets[j]) {
                    break;
                }
                at = Math.max(at, offsets[j] + bytes[j]);
            }
            offsets[i] = at;
            total = Math.max(total, at + bytes[i]);
            done.add(i);
        }
        return total;
    }
}
