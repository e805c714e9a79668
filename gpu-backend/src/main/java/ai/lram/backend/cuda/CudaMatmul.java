package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.cuda.Products.Shape;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MatmulOps;
import ai.lram.backend.ops.PackedWeight;

/** Products with weight matrices: own kernels for few rows and small blocks ({@code matmul.cu}), cuBLASLt for the rest. */
final class CudaMatmul implements MatmulOps {
    /** Rows up to which every weight is read by a warp of its own: a control step's products. */
    static final int FEW_ROWS = 16;

    /** Block sizes from which a batched product is faster than a thread an output. */
    private static final int LARGE_BLOCK = 32;

    private static final int WARPS = Engine.THREADS / 32;

    /** Type of weights that {@code pack} rounds to bf16 and stores in fp16. */
    private static final int FP16 = 3;

    /** Rows from which packed bf16 weights go to the tensor cores. */
    private static final int MANY_ROWS = 24;

    /** Numbers in bf16 that an fp32 number is the sum of. */
    static final int PARTS = 3;

    private final Engine engine;
    private final Products products;
    private final ColumnSums sums;
    private final CudaElementwise elementwise;
    private final Kernel addBias;
    private final Kernel fewRows;
    private final Kernel pack;
    private final Kernel packedRows;
    private final Kernel split;
    private final Kernel addParts;
    private final Kernel headwise;
    private final Kernel headwiseInput;
    private final Kernel headwiseSums;

    CudaMatmul(
            Engine engine,
            Products products,
            ColumnSums sums,
            CudaElementwise elementwise,
            KernelModule pointwise,
            KernelModule module) {
        this.engine = engine;
        this.products = products;
        this.sums = sums;
        this.elementwise = elementwise;
        addBias = pointwise.kernel("add_bias");
        fewRows = module.kernel("few_rows");
        pack = module.kernel("pack");
        packedRows = module.kernel("packed_rows");
        split = module.kernel("split_bf16");
        addParts = module.kernel("add_parts");
        headwise = module.kernel("headwise");
        headwiseInput = module.kernel("headwise_input");
        headwiseSums = module.kernel("headwise_sums");
    }

    /** Rows (the first dimension) of a weight matrix. */
    private static int out(String kernel, String name, Tensor w) {
        Check.f32(kernel, name, w);
        if (!(w.rank() >= 2 && w.size() > 0)) {
            throw Check.mismatch(
                    kernel + ": " + name + " is " + w,
                    "a weight is a matrix (out, in) without empty dimensions",
                    "give the tensor its matrix shape");
        }
        return w.dim(0);
    }

    @Override
    public void linear(Stream s, Tensor x, Tensor w, Tensor bias, Activation act, Tensor y) {
        int n = out("linear", "w", w);
        int k = Check.other("linear", "w", w, n);
        int m = Check.other("linear", "x", x, k);
        Check.optional("linear", "bias", bias, n);
        Check.f32("linear", "y", y, (long) m * n);
        if (m == 0) {
            return;
        }
        boolean fused = act == Activation.NONE;
        if (m <= FEW_ROWS) {
            engine.launch(fewRows)
                    .put(x)
                    .put(w)
                    .put(bias)
                    .put(y)
                    .put(m)
                    .put(k)
                    .put(n)
                    .run((n + WARPS - 1) / WARPS);
        } else {
            // Row-major y = x w^T is column-major y^T (n, m) = w x^T, with w^T and x^T in memory as (k, n) and (k, m).
            fused |= act == Activation.RELU;
            Shape shape = Shape.plain(n, m, k, true, false, k, k, n).with(bias != null, act == Activation.RELU);
            products.multiply(
                    "linear", shape, w.address(), x.address(), bias == null ? 0 : bias.address(), false, y.address());
        }
        if (!fused) {
            elementwise.activate(act, y, y);
        }
    }

    private int type(PackedWeight w) {
        if (!packs(w.data().dtype())) {
            throw Check.mismatch(
                    "packed weight in " + w.data().dtype(),
                    "this engine packs BF16 and I8",
                    "ask packs, and read the matrix as it is");
        }
        return w.data().dtype() == DType.BF16 ? 1 : 2;
    }

    @Override
    public boolean packsTwice() {
        return true;
    }

    @Override
    public void pack(Stream s, Tensor w, PackedWeight out) {
        Check.f32("pack", "w", w, (long) out.rows() * out.columns());
        pack(w, out, type(out));
        if (out.fp16() != null) {
            pack(w, out.fp16(), FP16);
        }
    }

    private void pack(Tensor w, PackedWeight out, int type) {
        engine.launch(pack)
                .put(w)
                .put(out.data())
                .put(out.scale())
                .put(out.rows())
                .put(out.columns())
                .put(type)
                .run((out.rows() + WARPS - 1) / WARPS);
    }

    @Override
    public void linearPacked(Stream s, Tensor x, PackedWeight w, Tensor bias, Activation act, Tensor y) {
        int n = w.rows();
        int k = w.columns();
        int m = Check.other("linearPacked", "x", x, k);
        Check.optional("linearPacked", "bias", bias, n);
        Check.f32("linearPacked", "y", y, (long) m * n);
        int type = type(w);
        if (m == 0) {
            return;
        }
        if (m >= MANY_ROWS && type == 1 && k % 8 == 0 && n % 8 == 0 && manyAtOnce(k, n) >= MANY_ROWS) {
            manyPacked(x, w, bias, y, m, k, n);
        } else {
            engine.launch(packedRows)
                    .put(x)
                    .put(w.data())
                    .put(w.scale())
                    .put(bias)
                    .put(y)
                    .put(m)
                    .put(k)
                    .put(n)
                    .put(type)
                    .run((n + WARPS - 1) / WARPS);
        }
        if (act != Activation.NONE) {
            elementwise.activate(act, y, y);
        }
    }

    /** Rows whose parts and sums have room at once. */
    private static int manyAtOnce(int k, int n) {
        return (int) Math.min(Integer.MAX_VALUE, Engine.WORKSPACE / (PARTS * (2L * k + 4L * n)));
    }

    /**
     * On tensor cores, as exact as in fp32 for finite x within the range of bf16: x as the sum of three bf16 numbers, which are rows of one
     * product. An infinity becomes NaN.
     */
    private void manyPacked(Tensor x, PackedWeight w, Tensor bias, Tensor y, int m, int k, int n) {
        int most = manyAtOnce(k, n);
        for (int from = 0; from < m; from += most) {
            int rows = Math.min(most, m - from);
            long size = (long) rows * k;
            long results = (long) rows * n;
            long sums = engine.partials();
            long parts = sums + PARTS * Float.BYTES * results;
            engine.launch(split)
                    .put(x.address() + (long) from * k * Float.BYTES)
                    .put(parts)
                    .put(size)
                    .run(engine.blocks(size / 4));
            manyParts(products, "linearPacked", PARTS, parts, w, rows, sums);
            engine.launch(addParts)
                    .put(sums)
                    .put(bias)
                    .put(y.address() + (long) from * n * Float.BYTES)
                    .put(results)
                    .put(n)
                    .run(engine.blocks(results / 4));
        }
    }

    /**
     * Queues the products of x's parts, {@code (parts, rows, w.columns())} at {@code at}, with a packed weight of their type, bf16 or fp16:
     * {@code sums} is {@code (parts, rows, w.rows())}, to be added.
     */
    static void manyParts(Products products, String what, int parts, long at, PackedWeight w, int rows, long sums) {
        manyParts(products, what, parts, at, w, w.rows(), rows, sums);
    }

    /** Likewise with {@code n} rows of weights, of which the first are {@code w}'s: {@code sums} is {@code (parts, rows, n)}. */
    static void manyParts(
            Products products, String what, int parts, long at, PackedWeight w, int n, int rows, long sums) {
        int k = w.columns();
        DType type = w.data().dtype();
        Shape shape = Shape.plain(n, parts * rows, k, true, false, k, k, n)
                .of(type == DType.F16 ? Products.Types.F16_TO_F32 : Products.Types.BF16_TO_F32);
        products.multiply(what, shape, w.data().address(), at, 0, false, sums);
    }

    @Override
    public void linearBackwardInput(Stream s, Tensor dy, Tensor w, boolean accumulate, Tensor dx) {
        String kernel = "linearBackwardInput";
        int n = out(kernel, "w", w);
        int k = Check.other(kernel, "w", w, n);
        int m = Check.other(kernel, "dy", dy, n);
        Check.f32(kernel, "dx", dx, (long) m * k);
        if (m > 0) {
            products.multiply(
                    kernel,
                    Shape.plain(k, m, n, false, false, k, n, k),
                    w.address(),
                    dy.address(),
                    0,
                    accumulate,
                    dx.address());
        }
    }

    @Override
    public void linearBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw, Tensor dbias) {
        String kernel = "linearBackwardWeight";
        int n = out(kernel, "dw", dw);
        int k = Check.other(kernel, "dw", dw, n);
        int m = Check.other(kernel, "x", x, k);
        Check.f32(kernel, "dy", dy, (long) m * n);
        Check.optional(kernel, "dbias", dbias, n);
        if (m == 0) {
            return;
        }
        products.multiply(
                kernel, Shape.plain(k, n, m, false, true, k, n, k), x.address(), dy.address(), 0, true, dw.address());
        if (dbias != null) {
            sums.add(kernel, dy, m, n, dbias);
        }
    }

    /** A block-diagonal weight (groups, out, in). */
    private record Blocks(int groups, int out, int in) {
        static Blocks of(String kernel, String name, Tensor w) {
            Check.f32(kernel, name, w);
            if (!(w.rank() == 3 && w.size() > 0)) {
                throw Check.mismatch(
                        kernel + ": " + name + " is " + w,
                        "a head-wise weight has the dimensions (groups, out, in), none of them empty",
                        "give the tensor its shape");
            }
            return new Blocks(w.dim(0), w.dim(1), w.dim(2));
        }

        long outputs() {
            return (long) groups * out;
        }

        long inputs() {
            return (long) groups * in;
        }

        boolean large(int rows) {
            return out >= LARGE_BLOCK && in >= LARGE_BLOCK && rows > FEW_ROWS;
        }

        Engine.Launch put(Engine.Launch launch) {
            return launch.put(groups).put(out).put(in);
        }
    }

    @Override
    public void headwise(Stream s, Tensor x, Tensor w, Tensor bias, Tensor y) {
        Blocks b = Blocks.of("headwise", "w", w);
        int m = Check.other("headwise", "x", x, b.inputs());
        Check.optional("headwise", "bias", bias, b.outputs());
        Check.f32("headwise", "y", y, m * b.outputs());
        if (m == 0) {
            return;
        }
        if (b.large(m)) {
            int ldx = Math.toIntExact(b.inputs());
            int ldy = Math.toIntExact(b.outputs());
            products.multiply(
                    "headwise",
                    Shape.plain(b.out, m, b.in, true, false, b.in, ldx, ldy)
                            .batched(b.groups, (long) b.out * b.in, b.in, b.out),
                    w.address(),
                    x.address(),
                    0,
                    false,
                    y.address());
            if (bias != null) {
                engine.launch(addBias).put(bias).put(y).put(y.size()).put(ldy).run(engine.blocks(y.size()));
            }
        } else {
            b.put(engine.launch(headwise).put(x).put(w).put(bias).put(y).put(y.size()))
                    .put(false)
                    .run(engine.blocks(y.size()));
        }
    }

    @Override
    public void headwiseBackwardInput(Stream s, Tensor dy, Tensor w, boolean accumulate, Tensor dx) {
        String kernel = "headwiseBackwardInput";
        Blocks b = Blocks.of(kernel, "w", w);
        int m = Check.other(kernel, "dy", dy, b.outputs());
        Check.f32(kernel, "dx", dx, m * b.inputs());
        if (m == 0) {
            return;
        }
        if (b.large(m)) {
            products.multiply(
                    kernel,
                    Shape.plain(
                                    b.in,
                                    m,
                                    b.out,
                                    false,
                                    false,
                                    b.in,
                                    Math.toIntExact(b.outputs()),
                                    Math.toIntExact(b.inputs()))
                            .batched(b.groups, (long) b.out * b.in, b.out, b.in),
                    w.address(),
                    dy.address(),
                    0,
                    accumulate,
                    dx.address());
        } else {
            b.put(engine.launch(headwiseInput).put(dy).put(w).put(0L).put(dx).put(dx.size()))
                    .put(accumulate)
                    .run(engine.blocks(dx.size()));
        }
    }

    @Override
    public void headwiseBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw, Tensor dbias) {
        String kernel = "headwiseBackwardWeight";
        Blocks b = Blocks.of(kernel, "dw", dw);
        int m = Check.other(kernel, "x", x, b.inputs());
        Check.f32(kernel, "dy", dy, m * b.outputs());
        Check.optional(kernel, "dbias", dbias, b.outputs());
        if (m == 0) {
            return;
        }
        if (b.large(m)) {
            products.multiply(
                    kernel,
                    Shape.plain(
                                    b.in,
                                    b.out,
                                    m,
                                    false,
                                    true,
                                    Math.toIntExact(b.inputs()),
                                    Math.toIntExact(b.outputs()),
                                    b.in)
                            .batched(b.groups, b.in, b.out, (long) b.out * b.in),
                    x.address(),
                    dy.address(),
                    0,
                    true,
                    dw.address());
        } else {
            int shares = ColumnSums.shares(kernel, m, dw.size());
            b.put(engine.launch(headwiseSums)
                            .put(dy)
                            .put(x)
                            .put(engine.partials())
                            .put(m))
                    .run(ColumnSums.blocks(dw.size()), shares, 1, Engine.THREADS, 0);
            sums.finish(shares, dw.size(), dw);
        }
        if (dbias != null) {
            sums.add(kernel, dy, m, Math.toIntExact(b.outputs()), dbias);
        }
    }
}
