package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.cuda.Products.Shape;
import ai.lram.backend.cuda.Products.Types;
import ai.lram.backend.ops.MixedOps;
import ai.lram.backend.ops.NormSpec;
import java.util.Map;
import java.util.TreeMap;

/** Launches {@code mixed_pointwise.cu}, {@code mixed_norm.cu} and {@code mixed_block.cu}; products by cuBLASLt. */
final class CudaMixed implements MixedOps {
    private static final int WARPS = Engine.THREADS / 32;

    /** Columns of a warp's row that one step of a kernel takes, and for how many steps there are kernels. */
    private static final int NORM_COLUMNS = 128;

    private static final int[] NORM_STEPS = {1, 2, 4, 6, 8, 10, 12};
    private static final int HEAD_COLUMNS = 256;
    private static final int[] HEAD_STEPS = {1, 2, 3, 4};

    /** As {@code COLUMN_THREADS} in the source, four columns each. */
    private static final int COLUMN_THREADS = 64;

    private static final int BLOCK_COLUMNS = 4 * COLUMN_THREADS;
    private static final int TAPS = 4;
    private static final int DIAGONAL = 4;
    private static final int MOST_HEADS = 4;
    private static final int GATES = 8;

    /** Sums for the weights that a column of the block has: three block-diagonal maps, taps, bias. */
    private static final int SUMS = 3 * DIAGONAL + TAPS + 1;

    private static final int MOST_PARTS = 6;
    private static final int VECTOR = 8;

    private final Engine engine;
    private final Products products;
    private final CudaOptimizer optimizer;
    private final ColumnSums sums;
    private final Kernel narrow;
    private final Kernel widen;
    private final Kernel add;
    private final Kernel addBias;
    private final Kernel finishSums;
    private final TreeMap<Integer, Kernel> norm = new TreeMap<>();
    private final TreeMap<Integer, Kernel> normBackward = new TreeMap<>();
    private final TreeMap<Integer, Kernel> headGate = new TreeMap<>();
    private final TreeMap<Integer, Kernel> headGateBackward = new TreeMap<>();
    private final Kernel convQkv;
    private final Kernel finishGates;
    private final Kernel convQkvBackward;
    private final Kernel gateSums;
    private final Kernel carryHistory;

    CudaMixed(Engine engine, Products products, CudaOptimizer optimizer, ColumnSums sums, KernelModule elementwise) {
        this.sums = sums;
        this.engine = engine;
        this.products = products;
        this.optimizer = optimizer;
        KernelModule pointwise = new KernelModule(engine, "mixed_pointwise");
        narrow = pointwise.kernel("to_bf16");
        widen = pointwise.kernel("from_bf16");
        add = pointwise.kernel("add_narrow");
        finishSums = pointwise.kernel("finish_sums");
        addBias = elementwise.kernel("add_bias");
        KernelModule norms = new KernelModule(engine, "mixed_norm");
        for (int n : NORM_STEPS) {
            norm.put(n, norms.kernel("mixed_norm_" + n));
            normBackward.put(n, norms.kernel("mixed_norm_backward_" + n));
        }
        for (int n : HEAD_STEPS) {
            headGate.put(n, norms.kernel("head_gate_" + n));
            headGateBackward.put(n, norms.kernel("head_gate_backward_" + n));
        }
        KernelModule block = new KernelModule(engine, "mixed_block");
        convQkv = block.kernel("conv_qkv");
        finishGates = block.kernel("finish_mixed_gates");
        convQkvBackward = block.kernel("conv_qkv_backward");
        gateSums = block.kernel("gate_sums");
        carryHistory = block.kernel("carry_history");
    }

    @Override
    public boolean supported() {
        return true;
    }

    @Override
    public boolean normFits(int width) {
        return width > 0 && width % 4 == 0 && width <= NORM_COLUMNS * norm.lastKey();
    }

    @Override
    public boolean blockFits(int inner, int heads) {
        return heads >= 1
                && heads <= MOST_HEADS
                && inner % heads == 0
                && inner / heads % VECTOR == 0
                && inner / heads <= HEAD_COLUMNS * headGate.lastKey();
    }

    /** The kernel with the fewest steps that take {@code columns}. */
    private static Kernel choose(TreeMap<Integer, Kernel> kernels, int columns, int perStep) {
        Map.Entry<Integer, Kernel> e = kernels.ceilingEntry((columns + perStep - 1) / perStep);
        return e.getValue();
    }

    private static UnsupportedKernelException unsupported(String kernel, String why) {
        return new UnsupportedKernelException(
                "mixed." + kernel + " on CUDA", why, "train in fp32, or change the model's width or heads");
    }

    @Override
    public void narrow(Stream s, Tensor x, Tensor y) {
        long n = Check.f32("narrow", "x", x);
        Check.bf16("narrow", "y", y, n);
        pointwise(engine.launch(narrow).put(x).put(y).put(n), n);
    }

    @Override
    public void widen(Stream s, Tensor x, Tensor y) {
        long n = Check.bf16("widen", "x", x);
        Check.f32("widen", "y", y, n);
        pointwise(engine.launch(widen).put(x).put(y).put(n), n);
    }

    @Override
    public void add(Stream s, Tensor a, Tensor b, Tensor y) {
        long n = Check.bf16("mixed.add", "y", y);
        Check.bf16("mixed.add", "a", a, n);
        Check.bf16("mixed.add", "b", b, n);
        pointwise(engine.launch(add).put(a).put(b).put(y).put(n), n);
    }

    private void pointwise(Engine.Launch launch, long n) {
        launch.run(n == 0 ? 0 : engine.blocks((n + 3) / 4));
    }

    /** Rows, or columns, of {@code t} where the other number is known. */
    private static int other(String kernel, String name, Tensor t, long known) {
        long n = Check.bf16(kernel, name, t);
        if (!(known > 0 && n % known == 0 && n / known <= Integer.MAX_VALUE)) {
            throw Check.mismatch(
                    kernel + ": " + name + " is " + t,
                    "its size is no multiple of " + known + ", which the other arguments ask for",
                    "pass tensors whose sizes belong together");
        }
        return (int) (n / known);
    }

    private static void requireVectors(String kernel, int n, int k) {
        if (n % VECTOR != 0 || k % VECTOR != 0) {
            throw unsupported(kernel, "a weight of " + n + " x " + k + " has rows that are no multiple of 8 elements");
        }
    }

    private static int out(String kernel, Tensor w, DType dtype) {
        Check.size(kernel, "w", w, dtype, w == null ? 1 : w.size());
        if (!(w.rank() >= 2 && w.size() > 0)) {
            throw Check.mismatch(
                    kernel + ": w is " + w,
                    "a weight is a matrix (out, in) without empty dimensions",
                    "give the tensor its matrix shape");
        }
        return w.dim(0);
    }

    /** BF16 or F32 of that size. @return the product's types */
    private static Types result(String kernel, String name, Tensor t, long size) {
        boolean wide = t != null && t.dtype() == DType.F32;
        Check.size(kernel, name, t, wide ? DType.F32 : DType.BF16, size);
        return wide ? Types.BF16_TO_F32 : Types.BF16;
    }

    @Override
    public void linear(Stream s, Tensor x, Tensor w, Tensor bias, Tensor residual, Tensor y) {
        String kernel = "mixed.linear";
        int n = out(kernel, w, DType.BF16);
        int k = other(kernel, "w", w, n);
        requireVectors(kernel, n, k);
        int m = other(kernel, "x", x, k);
        Check.optional(kernel, "bias", bias, n);
        Check.optional(kernel, "residual", residual, (long) m * n);
        Types types = result(kernel, "y", y, (long) m * n);
        if (types == Types.BF16 && (residual != null || bias != null)) {
            throw Check.mismatch(
                    kernel + ": y is " + y, "a bias or residual is added in fp32", "pass y as F32, or neither of them");
        }
        if (m == 0) {
            return;
        }
        products.multiply(
                kernel,
                Shape.plain(n, m, k, true, false, k, k, n).of(types),
                w.address(),
                x.address(),
                0,
                residual == null ? 0 : residual.address(),
                y.address());
        if (bias != null) {
            engine.launch(addBias).put(bias).put(y).put(y.size()).put(n).run(engine.blocks(y.size()));
        }
    }

    @Override
    public void linearBackwardInput(Stream s, Tensor dy, Tensor w, Tensor dx) {
        String kernel = "mixed.linearBackwardInput";
        int n = out(kernel, w, DType.BF16);
        int k = other(kernel, "w", w, n);
        requireVectors(kernel, n, k);
        int m = other(kernel, "dy", dy, n);
        Types types = result(kernel, "dx", dx, (long) m * k);
        if (m > 0) {
            products.multiply(
                    kernel,
                    Shape.plain(k, m, n, false, false, k, n, k).of(types),
                    w.address(),
                    dy.address(),
                    0,
                    0L,
                    dx.address());
        }
    }

    @Override
    public void linearBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw) {
        String kernel = "mixed.linearBackwardWeight";
        int n = out(kernel, dw, DType.F32);
        int k = Math.toIntExact(dw.size() / n);
        requireVectors(kernel, n, k);
        int m = other(kernel, "x", x, k);
        Check.bf16(kernel, "dy", dy, (long) m * n);
        if (m > 0) {
            products.multiply(
                    kernel,
                    Shape.plain(k, n, m, false, true, k, n, k).of(Types.BF16_TO_F32),
                    x.address(),
                    dy.address(),
                    0,
                    dw.address(),
                    dw.address());
        }
    }

    @Override
    public void addColumns(Stream s, Tensor x, Tensor to) {
        int width = Math.toIntExact(Check.f32("mixed.addColumns", "sums", to));
        int rows = Check.other("mixed.addColumns", "x", x, width);
        if (rows > 0) {
            sums.add("mixed.addColumns", x, rows, width, to);
        }
    }

    private int normWidth(String kernel, NormSpec spec, Tensor weight) {
        int width = Math.toIntExact(Check.f32(kernel, "weight", weight));
        if (spec.groups() != 1 || !normFits(width)) {
            throw unsupported(
                    kernel,
                    "it takes one group and rows of a multiple of 4, at most " + NORM_COLUMNS * norm.lastKey()
                            + " elements, got " + spec.groups() + " groups and " + width);
        }
        return width;
    }

    private int rows(String kernel, Tensor x, int width) {
        return Check.other(kernel, "x", x, width);
    }

    @Override
    public void norm(
            Stream s, NormSpec spec, Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor mean, Tensor rstd) {
        String kernel = "mixed.norm";
        int width = normWidth(kernel, spec, weight);
        int rows = rows(kernel, x, width);
        Check.optional(kernel, "bias", bias, width);
        Check.bf16(kernel, "y", y, x.size());
        Check.f32(kernel, "mean", mean, rows);
        Check.f32(kernel, "rstd", rstd, rows);
        engine.launch(choose(norm, width, NORM_COLUMNS))
                .put(x)
                .put(weight)
                .put(bias)
                .put(y)
                .put(mean)
                .put(rstd)
                .put(rows)
                .put(width)
                .put(spec.eps())
                .put(spec.centred())
                .put(spec.residualScale())
                .run((rows + WARPS - 1) / WARPS);
    }

    /** Blocks of warps that walk down the rows: a few for each multiprocessor, no more than there is work or work space for. */
    private int walkers(String kernel, long units, long floatsPerWarp) {
        long room = Engine.WORKSPACE / Float.BYTES / floatsPerWarp / WARPS;
        if (room < 1) {
            throw unsupported(kernel, "the work space cannot hold sums of " + floatsPerWarp + " columns");
        }
        long wanted = Math.min(2L * engine.device().multiprocessors(), (units + WARPS - 1) / WARPS);
        return (int) Math.max(1, Math.min(room, wanted));
    }

    /** Adds up partial sums [shares][sum of columns]. */
    private void finish(int shares, Tensor... parts) {
        int all = 0;
        for (Tensor t : parts) {
            all += Math.toIntExact(t.size());
        }
        Engine.Launch launch = engine.launch(finishSums).put(engine.partials());
        for (int i = 0; i < MOST_PARTS; i++) {
            launch.put(i < parts.length ? parts[i] : null);
        }
        for (int i = 0; i < MOST_PARTS; i++) {
            launch.put(i < parts.length ? (int) parts[i].size() : 0);
        }
        launch.put(shares).put(all).run((all + 31) / 32);
    }

    @Override
    public void normBackward(
            Stream s,
            NormSpec spec,
            Tensor dy,
            Tensor x,
            Tensor weight,
            Tensor mean,
            Tensor rstd,
            Tensor past,
            Tensor dx,
            Tensor narrowDx,
            Tensor dweight,
            Tensor dbias) {
        String kernel = "mixed.normBackward";
        int width = normWidth(kernel, spec, weight);
        int rows = rows(kernel, x, width);
        Check.bf16(kernel, "dy", dy, x.size());
        Check.f32(kernel, "mean", mean, rows);
        Check.f32(kernel, "rstd", rstd, rows);
        Check.optional(kernel, "past", past, x.size());
        Check.f32(kernel, "dx", dx, x.size());
        if (narrowDx != null) {
            Check.bf16(kernel, "narrow", narrowDx, x.size());
        }
        Check.f32(kernel, "dweight", dweight, width);
        Check.optional(kernel, "dbias", dbias, width);
        if (rows == 0) {
            return;
        }
        int blocks = walkers(kernel, rows, 2L * width);
        engine.launch(choose(normBackward, width, NORM_COLUMNS))
                .put(dy)
                .put(x)
                .put(weight)
                .put(mean)
                .put(rstd)
                .put(past)
                .put(dx)
                .put(narrowDx)
                .put(engine.partials())
                .put(rows)
                .put(width)
                .put(spec.centred())
                .put(spec.residualScale())
                .run(blocks);
        Engine.Launch launch =
                engine.launch(finishSums).put(engine.partials()).put(dweight).put(dbias);
        for (int i = 2; i < MOST_PARTS; i++) {
            launch.put(0L);
        }
        launch.put(width).put(width);
        for (int i = 2; i < MOST_PARTS; i++) {
            launch.put(0);
        }
        launch.put(blocks * WARPS).put(2 * width).run((2 * width + 31) / 32);
    }

    /** Sizes of the middle of a block. */
    private record Block(int batch, int tokens, int inner, int heads) {
        int rows() {
            return batch * tokens;
        }

        long size() {
            return (long) rows() * inner;
        }
    }

    private Block block(String kernel, Tensor uz, BlockWeights w, Tensor i) {
        int inner = Math.toIntExact(Check.f32(kernel, "convBias", w.convBias()));
        int heads = Math.toIntExact(Check.f32(kernel, "inputGateBias", w.inputGateBias()));
        if (!blockFits(inner, heads)) {
            throw unsupported(
                    kernel,
                    "it takes up to " + MOST_HEADS + " heads of a multiple of 8, at most "
                            + HEAD_COLUMNS * headGate.lastKey() + " columns, got " + heads + " heads in " + inner);
        }
        Check.bf16(kernel, "uz", uz);
        if (uz.rank() < 2 || uz.dim(-1) != 2 * inner) {
            throw Check.mismatch(
                    kernel + ": uz is " + uz, "rows of " + 2 * inner + " elements are needed", "pass (B, S, 2I)");
        }
        int tokens = uz.dim(-2);
        Block b = new Block(
                uz.size() == 0 ? 0 : Math.toIntExact(uz.size() / ((long) tokens * 2 * inner)), tokens, inner, heads);
        weights(kernel, b, w);
        return b;
    }

    private static void weights(String kernel, Block b, BlockWeights w) {
        Check.f32(kernel, "conv", w.conv(), (long) TAPS * b.inner);
        Check.f32(kernel, "convBias", w.convBias(), b.inner);
        for (Tensor t : new Tensor[] {w.q(), w.k(), w.v()}) {
            Check.f32(kernel, "one of q, k and v", t, (long) DIAGONAL * b.inner);
        }
        for (Tensor t : new Tensor[] {w.inputGate(), w.forgetGate()}) {
            Check.f32(kernel, "one of the gates' weights", t, 3L * b.heads * b.inner);
        }
        Check.f32(kernel, "inputGateBias", w.inputGateBias(), b.heads);
        Check.f32(kernel, "forgetGateBias", w.forgetGateBias(), b.heads);
    }

    private static int columnBlocks(Block b) {
        return (b.inner + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    }

    private static Engine.Launch putWeights(Engine.Launch launch, Tensor uz, BlockWeights w, Tensor history) {
        return launch.put(uz)
                .put(w.conv())
                .put(w.convBias())
                .put(history)
                .put(w.q())
                .put(w.k())
                .put(w.v())
                .put(w.inputGate())
                .put(w.forgetGate());
    }

    @Override
    public void convQkv(
            Stream s,
            Tensor uz,
            BlockWeights w,
            Tensor history,
            Tensor c,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f) {
        String kernel = "mixed.convQkv";
        Block b = block(kernel, uz, w, i);
        Check.optional(kernel, "history", history, (TAPS - 1L) * b.batch * b.inner);
        for (Tensor t : new Tensor[] {c, q, k, v}) {
            Check.bf16(kernel, "one of c, q, k and v", t, b.size());
        }
        Check.f32(kernel, "i", i, (long) b.rows() * b.heads);
        Check.f32(kernel, "f", f, (long) b.rows() * b.heads);
        if (b.size() == 0) {
            return;
        }
        int blocks = columnBlocks(b);
        if ((long) blocks * b.rows() * GATES * Float.BYTES > Engine.WORKSPACE) {
            throw unsupported(kernel, "the work space cannot hold the gates' sums of " + b.rows() + " tokens");
        }
        putWeights(engine.launch(convQkv), uz, w, history)
                .put(c)
                .put(q)
                .put(k)
                .put(v)
                .put(engine.partials())
                .put(b.batch)
                .put(b.tokens)
                .put(b.inner)
                .put(b.heads)
                .run(blocks, Math.min(b.batch, 65_535), 1, COLUMN_THREADS, 0);
        engine.launch(finishGates)
                .put(engine.partials())
                .put(w.inputGateBias())
                .put(w.forgetGateBias())
                .put(i)
                .put(f)
                .put((long) b.rows())
                .put(b.heads)
                .put(blocks)
                .run(engine.blocks((long) b.rows() * b.heads));
    }

    @Override
    public void convQkvBackward(
            Stream s,
            Tensor uz,
            BlockWeights w,
            Tensor history,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor di,
            Tensor df,
            Tensor dc,
            Tensor duz,
            BlockWeights dw) {
        String kernel = "mixed.convQkvBackward";
        Block b = block(kernel, uz, w, di);
        weights(kernel, b, dw);
        Check.optional(kernel, "history", history, (TAPS - 1L) * b.batch * b.inner);
        for (Tensor t : new Tensor[] {q, k, v, dq, dk, dv, dc}) {
            Check.bf16(kernel, "one of q, k, v, dq, dk, dv and dc", t, b.size());
        }
        Check.f32(kernel, "di", di, (long) b.rows() * b.heads);
        Check.f32(kernel, "df", df, (long) b.rows() * b.heads);
        Check.bf16(kernel, "duz", duz, uz.size());
        if (b.size() == 0) {
            return;
        }
        long room = Engine.WORKSPACE / Float.BYTES / ((long) SUMS * b.inner);
        long gateColumns = 2L * b.heads * (3L * b.inner + 1);
        long gateRoom = Engine.WORKSPACE / Float.BYTES / gateColumns;
        if (room < 1 || gateRoom < 1) {
            throw unsupported(kernel, "the work space cannot hold the sums of " + b.inner + " columns");
        }
        int blocks = columnBlocks(b);
        int shares = (int) Math.min(b.batch, room);
        putWeights(engine.launch(convQkvBackward), uz, w, history)
                .put(dq)
                .put(dk)
                .put(dv)
                .put(di)
                .put(df)
                .put(dc)
                .put(duz)
                .put(engine.partials())
                .put(b.batch)
                .put(b.tokens)
                .put(b.inner)
                .put(b.heads)
                .run(blocks, shares, 1, COLUMN_THREADS, 0);
        finish(shares, dw.q(), dw.k(), dw.v(), dw.conv(), dw.convBias());
        int wanted = Math.max(1, 8 * engine.device().multiprocessors() / (3 * blocks));
        int gateShares = (int) Math.min(Math.min(wanted, gateRoom), (b.rows() + 31) / 32);
        engine.launch(gateSums)
                .put(q)
                .put(k)
                .put(v)
                .put(di)
                .put(df)
                .put(engine.partials())
                .put(b.rows())
                .put(b.inner)
                .put(b.heads)
                .run(blocks, gateShares, 3, COLUMN_THREADS, 0);
        finish(gateShares, dw.inputGate(), dw.forgetGate(), dw.inputGateBias(), dw.forgetGateBias());
    }

    @Override
    public void carryHistory(Stream s, Tensor uz, Tensor history) {
        String kernel = "mixed.carryHistory";
        Check.f32(kernel, "history", history);
        if (history.rank() != 3 || history.dim(1) != TAPS - 1) {
            throw Check.mismatch(kernel + ": history is " + history, "(B, 3, I) is needed", "pass the carried inputs");
        }
        int batch = history.dim(0);
        int width = history.dim(2);
        int tokens = other(kernel, "uz", uz, 2L * batch * width);
        engine.launch(carryHistory)
                .put(uz)
                .put(history)
                .put(batch)
                .put(tokens)
                .put(width)
                .run(engine.blocks((long) batch * width));
    }

    private int headRows(String kernel, NormSpec spec, Tensor weight, Tensor skip, Tensor h) {
        int inner = Math.toIntExact(Check.f32(kernel, "weight", weight));
        Check.f32(kernel, "skip", skip, inner);
        if (!blockFits(inner, spec.groups())) {
            throw unsupported(kernel, "it takes no " + spec.groups() + " heads in " + inner + " columns");
        }
        return other(kernel, "h", h, inner);
    }

    @Override
    public void headGate(
            Stream s,
            NormSpec spec,
            Tensor h,
            Tensor c,
            Tensor uz,
            Tensor weight,
            Tensor skip,
            Tensor y,
            Tensor mean,
            Tensor rstd) {
        String kernel = "mixed.headGate";
        int rows = headRows(kernel, spec, weight, skip, h);
        Check.bf16(kernel, "c", c, h.size());
        Check.bf16(kernel, "uz", uz, 2 * h.size());
        Check.bf16(kernel, "y", y, h.size());
        Check.f32(kernel, "mean", mean, (long) rows * spec.groups());
        Check.f32(kernel, "rstd", rstd, (long) rows * spec.groups());
        int dim = (int) weight.size() / spec.groups();
        long units = (long) rows * spec.groups();
        engine.launch(choose(headGate, dim, HEAD_COLUMNS))
                .put(h)
                .put(c)
                .put(uz)
                .put(weight)
                .put(skip)
                .put(y)
                .put(mean)
                .put(rstd)
                .put(rows)
                .put(spec.groups())
                .put(dim)
                .put(spec.eps())
                .put(spec.centred())
                .put(spec.residualScale())
                .run(rows == 0 ? 0 : wholeHeads((units + WARPS - 1) / WARPS, spec.groups()));
    }

    /** Blocks whose warps are a multiple of the heads, so that a warp keeps its head. */
    private static long wholeHeads(long blocks, int heads) {
        return (blocks + heads - 1) / heads * heads;
    }

    @Override
    public void headGateBackward(
            Stream s,
            NormSpec spec,
            Tensor h,
            Tensor c,
            Tensor uz,
            Tensor weight,
            Tensor skip,
            Tensor mean,
            Tensor rstd,
            Tensor dy,
            Tensor dh,
            Tensor dc,
            Tensor duz,
            Tensor dweight,
            Tensor dskip) {
        String kernel = "mixed.headGateBackward";
        int rows = headRows(kernel, spec, weight, skip, h);
        for (Tensor t : new Tensor[] {c, dy, dh, dc}) {
            Check.bf16(kernel, "one of c, dy, dh and dc", t, h.size());
        }
        Check.bf16(kernel, "uz", uz, 2 * h.size());
        Check.bf16(kernel, "duz", duz, 2 * h.size());
        Check.f32(kernel, "mean", mean, (long) rows * spec.groups());
        Check.f32(kernel, "rstd", rstd, (long) rows * spec.groups());
        Check.f32(kernel, "dweight", dweight, weight.size());
        Check.f32(kernel, "dskip", dskip, weight.size());
        if (rows == 0) {
            return;
        }
        int heads = spec.groups();
        int dim = (int) weight.size() / heads;
        long units = (long) rows * heads;
        int walkers = walkers(kernel, units, 2L * dim);
        int blocks = walkers < heads ? heads : walkers / heads * heads;
        engine.launch(choose(headGateBackward, dim, HEAD_COLUMNS))
                .put(h)
                .put(c)
                .put(uz)
                .put(dy)
                .put(weight)
                .put(skip)
                .put(mean)
                .put(rstd)
                .put(dh)
                .put(dc)
                .put(duz)
                .put(engine.partials())
                .put(rows)
                .put(heads)
                .put(dim)
                .put(spec.centred())
                .put(spec.residualScale())
                .run(blocks);
        finish(blocks * WARPS / heads, dweight, dskip);
    }

    @Override
    public void adamW(
            Stream s,
            Tensor hyper,
            Tensor sumSquares,
            boolean decay,
            Tensor param,
            Tensor grad,
            Tensor m,
            Tensor v,
            Tensor copy) {
        Check.bf16("adamW", "copy", copy, param == null ? 1 : param.size());
        optimizer.step(hyper, sumSquares, decay, param, grad, m, v, copy);
    }
}
