package ai.lram.backend.contract;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.Ops;
import java.util.ArrayList;
import java.util.List;

/** One valid call of every kernel of the SPI, as data: what the checks that hold for all kernels run over. */
final class KernelTable {
    /** What a tensor argument is to its kernel. */
    enum Role {
        INPUT,
        /** Written or added to. */
        OUTPUT,
        /** Working memory: longer is fine, its contents mean nothing. */
        SCRATCH,
        /** Like {@link #OUTPUT}, but longer is fine. */
        ROOMY_OUTPUT,
        /** Like {@link #INPUT}, but longer is fine. */
        ROOMY_INPUT,
        /** Any size is right: it is the size of the problem. */
        FREE_INPUT,
        FREE_OUTPUT;

        boolean written() {
            return this == OUTPUT || this == ROOMY_OUTPUT || this == FREE_OUTPUT;
        }
    }

    /** How an argument is filled: normal floats, their magnitudes, zeros, or 0, 1, 2, ... */
    enum Fill {
        NORMAL,
        POSITIVE,
        ZERO,
        COUNTING
    }

    record Argument(String name, Role role, DType dtype, Fill fill, int[] shape) {}

    @FunctionalInterface
    interface Call {
        void run(Ops ops, Stream s, Tensor[] t);
    }

    record Kernel(String family, String name, List<Argument> arguments, Call call) {
        @Override
        public String toString() {
            return family + "." + name;
        }
    }

    private final List<Kernel> kernels = new ArrayList<>();
    private final Ops ops;

    /** @param ops tells scratch sizes; kernels of families it lacks are left out */
    private KernelTable(Ops ops) {
        this.ops = ops;
    }

    /** All kernels, at sizes of a few elements or such that an engine shares the work out. */
    static List<Kernel> of(Ops ops, boolean large) {
        KernelTable t = new KernelTable(ops);
        int batch = large ? 3 : 2;
        int tokens = large ? 70 : 3;
        int heads = 2;
        int dim = large ? 24 : 3;
        int rows = batch * tokens;
        int width = heads * dim;
        if (ops.matmul() != null) {
            t.matmul(rows, width, large ? 65 : 5, heads, dim);
        }
        if (ops.norm() != null) {
            t.norm(rows, width, heads);
        }
        if (ops.conv() != null) {
            t.causalConv(batch, tokens, width);
            t.conv2d(batch, large ? 5 : 2, large ? 32 : 6, large ? 9 : 3);
        }
        if (ops.elementwise() != null) {
            t.elementwise(large ? 520 : 3, large ? 70 : 4);
        }
        if (ops.embedding() != null) {
            t.embedding(rows, 11, width);
        }
        if (ops.mlstm() != null) {
            t.mlstm(new MlstmDims(batch, tokens, heads, dim, dim + 3));
        }
        if (ops.slstm() != null) {
            t.slstm(batch, tokens, heads, dim);
        }
        if (ops.attention() != null) {
            t.attention(batch, tokens, heads, dim, large ? 60 : 4);
        }
        if (ops.session() != null) {
            t.session(batch, heads, dim, large ? 60 : 6);
        }
        if (ops.loss() != null) {
            t.loss(rows, large ? 65 : 9);
        }
        if (ops.optimizer() != null) {
            t.optimizer(large ? 70_003 : 6);
        }
        return t.kernels;
    }

    private static Argument in(String name, int... shape) {
        return new Argument(name, Role.INPUT, DType.F32, Fill.NORMAL, shape);
    }

    private static Argument positive(String name, int... shape) {
        return new Argument(name, Role.INPUT, DType.F32, Fill.POSITIVE, shape);
    }

    private static Argument ints(String name, Fill fill, int... shape) {
        return new Argument(name, Role.INPUT, DType.I32, fill, shape);
    }

    private static Argument out(String name, int... shape) {
        return new Argument(name, Role.OUTPUT, DType.F32, Fill.NORMAL, shape);
    }

    private static Argument state(String name, DType dtype, int... shape) {
        return new Argument(name, Role.OUTPUT, dtype, Fill.ZERO, shape);
    }

    private static Argument scratch(long floats) {
        return new Argument("scratch", Role.SCRATCH, DType.F32, Fill.NORMAL, new int[] {Math.toIntExact(floats)});
    }

    private static Argument roomy(Role role, String name, long floats) {
        return new Argument(name, role, DType.F32, Fill.NORMAL, new int[] {Math.toIntExact(floats)});
    }

    private void add(String family, String name, Call call, Argument... arguments) {
        kernels.add(new Kernel(family, name, List.of(arguments), call));
    }

    private void matmul(int m, int k, int n, int groups, int di) {
        int dout = di + 2;
        add(
                "matmul",
                "linear",
                (o, s, t) -> o.matmul().linear(s, t[0], t[1], t[2], Activation.SILU, t[3]),
                in("x", m, k),
                in("w", n, k),
                in("bias", n),
                out("y", m, n));
        add(
                "matmul",
                "linearBackwardInput",
                (o, s, t) -> o.matmul().linearBackwardInput(s, t[0], t[1], true, t[2]),
                in("dy", m, n),
                in("w", n, k),
                out("dx", m, k));
        add(
                "matmul",
                "linearBackwardWeight",
                (o, s, t) -> o.matmul().linearBackwardWeight(s, t[0], t[1], t[2], t[3]),
                in("dy", m, n),
                in("x", m, k),
                out("dw", n, k),
                out("dbias", n));
        add(
                "matmul",
                "headwise",
                (o, s, t) -> o.matmul().headwise(s, t[0], t[1], t[2], t[3]),
                in("x", m, groups * di),
                in("w", groups, dout, di),
                in("bias", groups * dout),
                out("y", m, groups * dout));
        add(
                "matmul",
                "headwiseBackwardInput",
                (o, s, t) -> o.matmul().headwiseBackwardInput(s, t[0], t[1], false, t[2]),
                in("dy", m, groups * dout),
                in("w", groups, dout, di),
                out("dx", m, groups * di));
        add(
                "matmul",
                "headwiseBackwardWeight",
                (o, s, t) -> o.matmul().headwiseBackwardWeight(s, t[0], t[1], t[2], t[3]),
                in("dy", m, groups * dout),
                in("x", m, groups * di),
                out("dw", groups, dout, di),
                out("dbias", groups * dout));
    }

    private void norm(int m, int n, int groups) {
        NormSpec spec = new NormSpec(groups, 1e-5f, true, true);
        add(
                "norm",
                "forward",
                (o, s, t) -> o.norm().forward(s, spec, t[0], t[1], t[2], t[3], t[4], t[5]),
                in("x", m, n),
                in("weight", n),
                in("bias", n),
                out("y", m, n),
                out("mean", m, groups),
                out("rstd", m, groups));
        add(
                "norm",
                "backward",
                (o, s, t) -> o.norm().backward(s, spec, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]),
                in("dy", m, n),
                in("x", m, n),
                in("weight", n),
                in("mean", m, groups),
                positive("rstd", m, groups),
                out("dx", m, n),
                out("dweight", n),
                out("dbias", n));
    }

    private void causalConv(int b, int s, int c) {
        add(
                "conv",
                "causalConv1d",
                (o, q, t) -> o.conv().causalConv1d(q, t[0], t[1], t[2], t[3], t[4]),
                in("x", b, s, c),
                in("w", c, 4),
                in("bias", c),
                in("history", b, 3, c),
                out("y", b, s, c));
        add(
                "conv",
                "causalConv1dBackward",
                (o, q, t) -> o.conv().causalConv1dBackward(q, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]),
                in("dy", b, s, c),
                in("x", b, s, c),
                in("w", c, 4),
                in("history", b, 3, c),
                out("dx", b, s, c),
                out("dhistory", b, 3, c),
                out("dw", c, 4),
                out("dbias", c));
    }

    private void conv2d(int n, int c, int side, int outputs) {
        for (int stride = 1; stride <= 2; stride++) {
            int step = stride;
            int out = (side - 1) / stride + 1;
            long floats = ops.conv().conv2dScratch(n, c, side, side, outputs, 3, stride, 1);
            add(
                    "conv",
                    "conv2d stride " + stride,
                    (o, s, t) -> o.conv().conv2d(s, step, 1, t[0], t[1], t[2], t[3], t[4]),
                    in("x", n, c, side, side),
                    in("w", outputs, c, 3, 3),
                    in("bias", outputs),
                    scratch(floats),
                    out("y", n, outputs, out, out));
            add(
                    "conv",
                    "conv2dBackward stride " + stride,
                    (o, s, t) -> o.conv().conv2dBackward(s, step, 1, t[0], t[1], t[2], t[3], t[4], t[5], t[6]),
                    in("dy", n, outputs, out, out),
                    in("x", n, c, side, side),
                    in("w", outputs, c, 3, 3),
                    scratch(floats),
                    out("dx", n, c, side, side),
                    out("dw", outputs, c, 3, 3),
                    out("dbias", outputs));
        }
        int out = (side - 1) / 2 + 1;
        add(
                "conv",
                "maxPool2d",
                (o, s, t) -> o.conv().maxPool2d(s, 3, 2, 1, t[0], t[1], t[2]),
                in("x", n, c, side, side),
                out("y", n, c, out, out),
                state("index", DType.I32, n, c, out, out));
        add(
                "conv",
                "maxPool2dBackward",
                (o, s, t) -> o.conv().maxPool2dBackward(s, t[0], t[1], t[2]),
                in("dy", n, c, out, out),
                ints("index", Fill.ZERO, n, c, out, out),
                new Argument("dx", Role.FREE_OUTPUT, DType.F32, Fill.NORMAL, new int[] {n, c, side, side}));
    }

    private void elementwise(int m, int n) {
        Activation act = Activation.GELU;
        add(
                "elementwise",
                "activation",
                (o, s, t) -> o.elementwise().activation(s, act, t[0], t[1]),
                in("x", m, n),
                out("y", m, n));
        add(
                "elementwise",
                "activationBackward",
                (o, s, t) -> o.elementwise().activationBackward(s, act, t[0], t[1], t[2]),
                in("x", m, n),
                in("dy", m, n),
                out("dx", m, n));
        add(
                "elementwise",
                "add",
                (o, s, t) -> o.elementwise().add(s, t[0], t[1], t[2]),
                in("a", m, n),
                in("b", m, n),
                out("y", m, n));
        add(
                "elementwise",
                "axpy",
                (o, s, t) -> o.elementwise().axpy(s, 0.5f, t[0], t[1]),
                in("x", m, n),
                out("y", m, n));
        add(
                "elementwise",
                "scale",
                (o, s, t) -> o.elementwise().scale(s, 0.5f, t[0], t[1]),
                in("x", m, n),
                out("y", m, n));
        add(
                "elementwise",
                "gate",
                (o, s, t) -> o.elementwise().gate(s, act, t[0], t[1], t[2]),
                in("g", m, n),
                in("u", m, n),
                out("y", m, n));
        add(
                "elementwise",
                "gateBackward",
                (o, s, t) -> o.elementwise().gateBackward(s, act, t[0], t[1], t[2], t[3], t[4]),
                in("g", m, n),
                in("u", m, n),
                in("dy", m, n),
                out("dg", m, n),
                out("du", m, n));
        add(
                "elementwise",
                "skipGate",
                (o, s, t) -> o.elementwise().skipGate(s, t[0], t[1], t[2], t[3], t[4]),
                in("h", m, n),
                in("skip", n),
                in("c", m, n),
                in("z", m, n),
                out("y", m, n));
        add(
                "elementwise",
                "skipGateBackward",
                (o, s, t) -> o.elementwise().skipGateBackward(s, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]),
                in("h", m, n),
                in("skip", n),
                in("c", m, n),
                in("z", m, n),
                in("dy", m, n),
                out("dh", m, n),
                out("dskip", n),
                out("dc", m, n),
                out("dz", m, n));
        add(
                "elementwise",
                "softCap",
                (o, s, t) -> o.elementwise().softCap(s, 3, t[0], t[1]),
                in("x", m, n),
                out("y", m, n));
        add(
                "elementwise",
                "softCapBackward",
                (o, s, t) -> o.elementwise().softCapBackward(s, 3, t[0], t[1], t[2]),
                in("y", m, n),
                in("dy", m, n),
                out("dx", m, n));
        add(
                "elementwise",
                "fill",
                (o, s, t) -> o.elementwise().fill(s, 3, t[0]),
                new Argument("y", Role.FREE_OUTPUT, DType.F32, Fill.NORMAL, new int[] {m, n}));
        add(
                "elementwise",
                "copyRows",
                (o, s, t) -> o.elementwise().copyRows(s, m, n - 1, t[0], 1, n, t[1], 0, n - 1, true),
                roomy(Role.ROOMY_INPUT, "src", (long) m * n),
                roomy(Role.ROOMY_OUTPUT, "dst", (long) m * (n - 1)));
        add(
                "elementwise",
                "fromBytes",
                (o, s, t) -> o.elementwise().fromBytes(s, t[0], 1 / 255f, t[1]),
                new Argument("x", Role.INPUT, DType.U8, Fill.COUNTING, new int[] {m, n}),
                out("y", m, n));
    }

    private void embedding(int m, int vocabulary, int d) {
        add(
                "embedding",
                "lookup",
                (o, s, t) -> o.embedding().lookup(s, t[0], t[1], t[2]),
                ints("ids", Fill.ZERO, m),
                in("table", vocabulary, d),
                out("y", m, d));
        add(
                "embedding",
                "lookupBackward",
                (o, s, t) -> o.embedding().lookupBackward(s, t[0], t[1], t[2]),
                ints("ids", Fill.ZERO, m),
                in("dy", m, d),
                out("dtable", vocabulary, d));
    }

    private void mlstm(MlstmDims z) {
        int b = z.batch();
        int s = z.tokens();
        int h = z.heads();
        int qk = z.dimQk();
        int hv = z.dimHv();
        int m = b * s;
        int inner = h * qk;
        MlstmSpec spec = MlstmSpec.exponential();
        long saved = ops.mlstm().savedFloats(z, spec);
        long scratch = ops.mlstm().scratchFloats(z, spec);
        add(
                "mlstm",
                "gates",
                (o, q, t) -> o.mlstm().gates(q, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]),
                in("q", m, inner),
                in("k", m, inner),
                in("v", m, inner),
                in("wi", h, 3 * inner),
                in("bi", h),
                in("wf", h, 3 * inner),
                in("bf", h),
                out("i", m, h),
                out("f", m, h));
        add(
                "mlstm",
                "gatesBackward",
                (o, q, t) -> o.mlstm()
                        .gatesBackward(
                                q, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11], t[12],
                                t[13]),
                in("q", m, inner),
                in("k", m, inner),
                in("v", m, inner),
                in("wi", h, 3 * inner),
                in("wf", h, 3 * inner),
                in("di", m, h),
                in("df", m, h),
                out("dq", m, inner),
                out("dk", m, inner),
                out("dv", m, inner),
                out("dwi", h, 3 * inner),
                out("dbi", h),
                out("dwf", h, 3 * inner),
                out("dbf", h));
        add(
                "mlstm",
                "forward",
                (o, q, t) -> o.mlstm()
                        .forward(
                                q,
                                z,
                                spec,
                                t[0],
                                t[1],
                                t[2],
                                t[3],
                                t[4],
                                new MlstmState(t[5], t[6], t[7]),
                                t[8],
                                new MlstmState(t[9], t[10], t[11]),
                                t[12],
                                t[13]),
                in("q", b, s, h, qk),
                in("k", b, s, h, qk),
                in("v", b, s, h, hv),
                in("i", b, s, h),
                in("f", b, s, h),
                in("initial.matC", b, h, qk, hv),
                in("initial.vecN", b, h, qk),
                in("initial.scaM", b, h),
                out("h", b, s, h, hv),
                out("last.matC", b, h, qk, hv),
                out("last.vecN", b, h, qk),
                out("last.scaM", b, h),
                roomy(Role.ROOMY_OUTPUT, "saved", saved),
                scratch(scratch));
        add(
                "mlstm",
                "forward and backward",
                (o, q, t) -> {
                    MlstmState initial = new MlstmState(t[5], t[6], t[7]);
                    o.mlstm().forward(q, z, spec, t[0], t[1], t[2], t[3], t[4], initial, t[8], null, t[9], t[10]);
                    o.mlstm()
                            .backward(
                                    q,
                                    z,
                                    spec,
                                    t[0],
                                    t[1],
                                    t[2],
                                    t[3],
                                    t[4],
                                    initial,
                                    t[8],
                                    t[9],
                                    t[11],
                                    new MlstmState(t[12], t[13], t[14]),
                                    t[15],
                                    t[16],
                                    t[17],
                                    t[18],
                                    t[19],
                                    new MlstmState(t[20], t[21], t[22]),
                                    t[10]);
                },
                in("q", b, s, h, qk),
                in("k", b, s, h, qk),
                in("v", b, s, h, hv),
                in("i", b, s, h),
                in("f", b, s, h),
                in("initial.matC", b, h, qk, hv),
                in("initial.vecN", b, h, qk),
                in("initial.scaM", b, h),
                handedOn("h", b, s, h, hv),
                roomy(Role.SCRATCH, "saved", saved),
                scratch(scratch),
                in("dh", b, s, h, hv),
                in("dLast.matC", b, h, qk, hv),
                in("dLast.vecN", b, h, qk),
                in("dLast.scaM", b, h),
                out("dq", b, s, h, qk),
                out("dk", b, s, h, qk),
                out("dv", b, s, h, hv),
                out("di", b, s, h),
                out("df", b, s, h),
                out("dInitial.matC", b, h, qk, hv),
                out("dInitial.vecN", b, h, qk),
                out("dInitial.scaM", b, h));
    }

    /**
     * An output of the forward pass that the backward pass reads: of exactly that size, its contents are not compared.
     */
    private static Argument handedOn(String name, int... shape) {
        return new Argument(name, Role.INPUT, DType.F32, Fill.NORMAL, shape);
    }

    private void slstm(int b, int s, int heads, int dim) {
        int h = heads * dim;
        long saved = ops.slstm().savedFloats(b, s, heads, dim);
        long scratch = ops.slstm().scratchFloats(b, s, heads, dim);
        add(
                "slstm",
                "forward",
                (o, q, t) ->
                        o.slstm().forward(q, heads, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10]),
                in("xi", b, s, h),
                in("xf", b, s, h),
                in("xz", b, s, h),
                in("xo", b, s, h),
                in("r", heads, dim, 4, dim),
                in("bias", 4, h),
                positive("initial", 4, b, h),
                out("y", b, s, h),
                out("last", 4, b, h),
                roomy(Role.ROOMY_OUTPUT, "saved", saved),
                scratch(scratch));
        add(
                "slstm",
                "forward and backward",
                (o, q, t) -> {
                    o.slstm().forward(q, heads, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], null, t[8], t[9]);
                    o.slstm()
                            .backward(
                                    q, heads, t[4], t[6], t[7], t[8], t[10], t[11], t[12], t[13], t[14], t[15], t[16],
                                    t[17], t[18], t[9]);
                },
                in("xi", b, s, h),
                in("xf", b, s, h),
                in("xz", b, s, h),
                in("xo", b, s, h),
                in("r", heads, dim, 4, dim),
                in("bias", 4, h),
                positive("initial", 4, b, h),
                handedOn("y", b, s, h),
                roomy(Role.SCRATCH, "saved", saved),
                scratch(scratch),
                in("dy", b, s, h),
                in("dLast", 4, b, h),
                out("dxi", b, s, h),
                out("dxf", b, s, h),
                out("dxz", b, s, h),
                out("dxo", b, s, h),
                out("dInitial", 4, b, h),
                out("dr", heads, dim, 4, dim),
                out("dbias", 4, h));
    }

    private void attention(int b, int s, int h, int d, int capacity) {
        add(
                "attention",
                "causal",
                (o, q, t) -> o.attention().causal(q, t[0], t[1], t[2], t[3], t[4]),
                in("q", b, s, h, d),
                in("k", b, s, h, d),
                in("v", b, s, h, d),
                out("y", b, s, h, d),
                out("lse", b, h, s));
        add(
                "attention",
                "causalBackward",
                (o, q, t) -> o.attention().causalBackward(q, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]),
                in("q", b, s, h, d),
                in("k", b, s, h, d),
                in("v", b, s, h, d),
                in("y", b, s, h, d),
                positive("lse", b, h, s),
                in("dy", b, s, h, d),
                out("dq", b, s, h, d),
                out("dk", b, s, h, d),
                out("dv", b, s, h, d));
        add(
                "attention",
                "cachedStep",
                (o, q, t) -> o.attention().cachedStep(q, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]),
                ints("slots", Fill.COUNTING, b),
                ints("counts", Fill.COUNTING, b),
                in("q", b, b, h, d),
                in("k", b, b, h, d),
                in("v", b, b, h, d),
                out("keys", b, capacity, h, d),
                out("values", b, capacity, h, d),
                new Argument("length", Role.OUTPUT, DType.I32, Fill.COUNTING, new int[] {b}),
                out("y", b, b, h, d));
    }

    private void session(int b, int h, int d, int ring) {
        int l = 3;
        int hv = d + 1;
        FoldSchedule schedule = new FoldSchedule(ring, ring, 1);
        MlstmSpec spec = MlstmSpec.exponential();
        add(
                "session",
                "mlstmStep",
                (o, s, t) -> o.session()
                        .mlstmStep(
                                s,
                                spec,
                                schedule,
                                0,
                                new MlstmSlots(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]),
                                t[9],
                                t[10],
                                t[11],
                                t[12],
                                t[13],
                                t[14],
                                t[15],
                                t[16]),
                state("matC", DType.F32, b, h, d, hv),
                state("vecN", DType.F32, b, h, d),
                state("scaM", DType.F32, b, h),
                state("ringK", DType.F32, b, h, ring, d),
                state("ringV", DType.F32, b, h, ring, hv),
                state("ringI", DType.F32, b, h, ring),
                state("ringF", DType.F32, b, h, ring),
                state("ringLength", DType.I32, b, h),
                state("folded", DType.I32, b, h),
                ints("slots", Fill.COUNTING, b),
                ints("counts", Fill.ZERO, b),
                in("q", b, l, h, d),
                in("k", b, l, h, d),
                in("v", b, l, h, hv),
                in("i", b, l, h),
                in("f", b, l, h),
                out("h", b, l, h, hv));
        add(
                "session",
                "causalConv1dStep",
                (o, s, t) -> o.session().causalConv1dStep(s, t[0], t[1], t[2], t[3], t[4], t[5], t[6]),
                ints("slots", Fill.COUNTING, b),
                ints("counts", Fill.ZERO, b),
                in("x", b, l, h * d),
                in("w", h * d, 4),
                in("bias", h * d),
                out("history", b, 3, h * d),
                out("y", b, l, h * d));
        add(
                "session",
                "slstmStep",
                (o, s, t) -> o.session().slstmStep(s, h, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9]),
                ints("slots", Fill.COUNTING, b),
                ints("counts", Fill.ZERO, b),
                in("xi", b, l, h * d),
                in("xf", b, l, h * d),
                in("xz", b, l, h * d),
                in("xo", b, l, h * d),
                in("r", h, d, 4, d),
                in("bias", 4, h * d),
                state("state", DType.F32, b, 4, h * d),
                out("y", b, l, h * d));
    }

    private void loss(int m, int v) {
        add(
                "loss",
                "crossEntropy",
                (o, s, t) -> o.loss().crossEntropy(s, t[0], t[1], t[2], 2, t[3], t[4]),
                in("logits", m, v),
                ints("target", Fill.ZERO, m),
                positive("mask", m),
                out("dlogits", m, v),
                out("stats", 3));
        add(
                "loss",
                "crossEntropySoftBins",
                (o, s, t) -> o.loss().crossEntropySoftBins(s, t[0], t[1], t[2], 1, v - 1, 0.75f, 2, t[3], t[4]),
                in("logits", m, v),
                positive("target", m),
                positive("mask", m),
                out("dlogits", m, v),
                out("stats", 3));
    }

    private void optimizer(int n) {
        add(
                "optimizer",
                "sumSquares",
                (o, s, t) -> o.optimizer().sumSquares(s, t[0], t[1]),
                new Argument("x", Role.FREE_INPUT, DType.F32, Fill.NORMAL, new int[] {n}),
                out("out", 1));
        add(
                "optimizer",
                "adamW",
                (o, s, t) -> o.optimizer().adamW(s, t[0], t[1], true, t[2], t[3], t[4], t[5]),
                positive("hyper", 8),
                positive("sumSquares", 1),
                out("param", n),
                in("grad", n),
                out("m", n),
                new Argument("v", Role.OUTPUT, DType.F32, Fill.POSITIVE, new int[] {n}));
    }
}
