package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MatmulOps;
import ai.lram.backend.ops.PackedWeight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.atomic.AtomicBoolean;
import jdk.incubator.vector.FloatVector;

/** Products with weight matrices: dot products for few rows, packed tiles for many. */
final class CpuMatmul implements MatmulOps {
    /** Most rows of x for which packing the weights does not pay. */
    static final int FEW_ROWS = 32;

    /** Multiply-adds above which a product of few rows is worth a helper: a few microseconds. */
    private static final long SPLIT = 200_000;

    private final Workers workers;
    private final GemmChoice choice;
    private final AtomicBoolean taken = new AtomicBoolean();
    // Reused, so that a control step leaves no garbage; a second thread that calls meanwhile gets objects of its own.
    private final FewRows.Product few = new FewRows.Product();
    private final PackedRows.Product packed = new PackedRows.Product();

    CpuMatmul(Workers workers) {
        this(workers, GemmChoice.fromProperty());
    }

    CpuMatmul(Workers workers, GemmChoice choice) {
        this.workers = workers;
        this.choice = choice;
    }

    /** c (m, n) = a b + bias or c += a b, as one of the three products of a layer over {@code rows} rows. */
    private void multiply(
            int rows,
            int m,
            int n,
            int k,
            Gemm.Matrix a,
            Gemm.Matrix b,
            MemorySegment bias,
            boolean accumulate,
            Gemm.Matrix c) {
        switch (choice.resolve(rows)) {
            case OPENBLAS -> OpenBlasGemm.multiply(workers, m, n, k, a, b, bias, accumulate, c);
            case ND4J -> Nd4jGemm.multiply(m, n, k, a, b, bias, accumulate, c);
            default -> Gemm.multiply(workers, m, n, k, a, b, bias, accumulate, c);
        }
    }

    private static MemorySegment of(Tensor t) {
        return t == null ? null : t.segment();
    }

    private static Gemm.Matrix plain(Tensor t, int columns) {
        return new Gemm.Matrix(t.segment(), 0, columns, false);
    }

    private static Gemm.Matrix transposed(Tensor t, int storedColumns) {
        return new Gemm.Matrix(t.segment(), 0, storedColumns, true);
    }

    /** Size of the other dimension of {@code t} when one of them is {@code known}. */
    private static int other(String kernel, String name, Tensor t, long known) {
        Check.f32(kernel, name, t, t == null ? 1 : t.size());
        if (!(known > 0 && t.size() % known == 0 && t.size() / known <= Integer.MAX_VALUE)) {
            throw new ShapeMismatchException(
                    kernel + ": " + name + " is " + t,
                    "its size is no multiple of " + known + ", which the other arguments ask for",
                    "pass tensors whose sizes belong together");
        }
        return (int) (t.size() / known);
    }

    /** Rows (the first dimension) of a weight matrix. */
    private static int out(String kernel, String name, Tensor w) {
        Check.f32(kernel, name, w, w == null ? 1 : w.size());
        if (!(w.rank() >= 2 && w.size() > 0)) {
            throw new ShapeMismatchException(
                    kernel + ": " + name + " is " + w,
                    "a weight is a matrix (out, in) without empty dimensions",
                    "give the tensor its matrix shape");
        }
        return w.dim(0);
    }

    @Override
    public void linear(Stream s, Tensor x, Tensor w, Tensor bias, Activation act, Tensor y) {
        int n = out("linear", "w", w);
        int k = other("linear", "w", w, n);
        int m = other("linear", "x", x, k);
        Check.optional("linear", "bias", bias, n);
        Check.f32("linear", "y", y, (long) m * n);
        if (m <= FEW_ROWS && k == 1) {
            FewRows.outer(m, n, x.segment(), w.segment(), of(bias), y.segment());
        } else if (m <= FEW_ROWS) {
            boolean mine = taken.compareAndSet(false, true);
            try {
                FewRows.Product product = mine ? few : new FewRows.Product();
                product.m = m;
                product.n = n;
                product.k = k;
                product.x = x.segment();
                product.w = w.segment();
                product.bias = of(bias);
                product.y = y.segment();
                run(product, blocks(n), mine && (long) m * n * k > SPLIT);
            } finally {
                if (mine) {
                    taken.set(false);
                }
            }
        } else {
            multiply(m, m, n, k, plain(x, k), transposed(w, k), of(bias), false, plain(y, n));
        }
        if (act != Activation.NONE) {
            CpuElementwise.activate(workers, act, y.segment(), y.segment(), y.size());
        }
    }

    @Override
    public boolean packs(DType type) {
        return type == DType.F32 || type == DType.BF16 || type == DType.I8;
    }

    @Override
    public void pack(Stream s, Tensor w, PackedWeight out) {
        int n = out.rows();
        int k = out.columns();
        Check.f32("pack", "w", w, (long) n * k);
        Check.that(
                packs(out.data().dtype()) && out.fp16() == null,
                "pack: weights in " + out.data().dtype() + (out.fp16() == null ? "" : " and fp16"),
                "this engine packs F32, BF16 and I8, each alone",
                "ask packs and packsTwice");
        MemorySegment from = w.segment();
        MemorySegment to = out.data().segment();
        for (int j = 0; j < n; j++) {
            float scale = 0;
            if (out.scale() != null) {
                for (int d = 0; d < k; d++) {
                    scale = Math.max(scale, Math.abs(at(from, (long) j * k + d)));
                }
                scale /= 127;
                out.scale().segment().setAtIndex(ValueLayout.JAVA_FLOAT, j, scale);
            }
            for (int d = 0; d < k; d++) {
                float v = at(from, (long) j * k + d);
                switch (out.data().dtype()) {
                    case F32 -> to.setAtIndex(ValueLayout.JAVA_FLOAT, PackedRows.place(j, d, k), v);
                    case BF16 ->
                        to.setAtIndex(ValueLayout.JAVA_SHORT, PackedRows.placeBf16(j, d, k), PackedRows.bf16(v));
                    default ->
                        to.set(ValueLayout.JAVA_BYTE, PackedRows.place(j, d, k), (byte)
                                Math.clamp(Math.rint(scale == 0 ? 0 : v / scale), -127, 127));
                }
            }
        }
    }

    private static float at(MemorySegment s, long i) {
        return s.getAtIndex(ValueLayout.JAVA_FLOAT, i);
    }

    @Override
    public void linearPacked(Stream s, Tensor x, PackedWeight w, Tensor bias, Activation act, Tensor y) {
        int n = w.rows();
        int k = w.columns();
        int m = other("linearPacked", "x", x, k);
        Check.optional("linearPacked", "bias", bias, n);
        Check.f32("linearPacked", "y", y, (long) m * n);
        boolean mine = taken.compareAndSet(false, true);
        try {
            PackedRows.Product product = mine ? packed : new PackedRows.Product();
            product.m = m;
            product.n = n;
            product.k = k;
            product.x = x.segment();
            product.type = w.data().dtype();
            product.w = w.data().segment();
            product.scale = of(w.scale());
            product.bias = of(bias);
            product.y = y.segment();
            run(product, product.tiles(), mine && (long) m * n * k > SPLIT);
        } finally {
            if (mine) {
                taken.set(false);
            }
        }
        if (act != Activation.NONE) {
            CpuElementwise.activate(workers, act, y.segment(), y.segment(), y.size());
        }
    }

    private static int blocks(int n) {
        return (n + FewRows.BLOCK - 1) / FewRows.BLOCK;
    }

    private void run(Workers.Range product, int blocks, boolean split) {
        if (split) {
            workers.forRange(blocks, Math.max(1, blocks / (4 * workers.threads())), product);
        } else {
            product.run(0, blocks);
        }
    }

    @Override
    public void linearBackwardInput(Stream s, Tensor dy, Tensor w, boolean accumulate, Tensor dx) {
        int n = out("linearBackwardInput", "w", w);
        int k = other("linearBackwardInput", "w", w, n);
        int m = other("linearBackwardInput", "dy", dy, n);
        Check.f32("linearBackwardInput", "dx", dx, (long) m * k);
        multiply(m, m, k, n, plain(dy, n), plain(w, k), null, accumulate, plain(dx, k));
    }

    @Override
    public void linearBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw, Tensor dbias) {
        int n = out("linearBackwardWeight", "dw", dw);
        int k = other("linearBackwardWeight", "dw", dw, n);
        int m = other("linearBackwardWeight", "x", x, k);
        Check.f32("linearBackwardWeight", "dy", dy, (long) m * n);
        Check.optional("linearBackwardWeight", "dbias", dbias, n);
        multiply(m, n, k, m, transposed(dy, n), plain(x, k), null, true, plain(dw, k));
        if (dbias != null) {
            columnSums(workers, m, n, dy.segment(), dbias.segment());
        }
    }

    private static void columnSums(Workers workers, int m, int n, MemorySegment x, MemorySegment sums) {
        new ColumnSums(m, n)
                .over(workers, (from, to, partial, line) -> {
                    for (int r = from; r < to; r++) {
                        addRow(x, (long) r * n, n, partial, line);
                    }
                })
                .addTo(workers, 0, n, sums);
    }

    private static void addRow(MemorySegment x, long at, int n, float[] partial, int line) {
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            load(x, at + i).add(FloatVector.fromArray(F, partial, line + i)).intoArray(partial, line + i);
        }
        for (; i < n; i++) {
            partial[line + i] += at(x, at + i);
        }
    }

    /** Refuses what is not a block-diagonal weight (groups, out, in). */
    private static void requireBlocks(String kernel, String name, Tensor w) {
        Check.f32(kernel, name, w, w == null ? 1 : w.size());
        if (w.rank() != 3 || w.size() == 0) {
            throw new ShapeMismatchException(
                    kernel + ": " + name + " is " + w,
                    "a head-wise weight has the dimensions (groups, out, in), none of them empty",
                    "give the tensor its shape");
        }
    }

    private static long outputs(Tensor w) {
        return (long) w.dim(0) * w.dim(1);
    }

    private static long inputs(Tensor w) {
        return (long) w.dim(0) * w.dim(2);
    }

    @Override
    public void headwise(Stream s, Tensor x, Tensor w, Tensor bias, Tensor y) {
        requireBlocks("headwise", "w", w);
        int m = other("headwise", "x", x, inputs(w));
        Check.optional("headwise", "bias", bias, outputs(w));
        Check.f32("headwise", "y", y, m * outputs(w));
        Headwise.forward(workers, w.dim(0), w.dim(1), w.dim(2), m, x.segment(), w.segment(), of(bias), y.segment());
    }

    @Override
    public void headwiseBackwardInput(Stream s, Tensor dy, Tensor w, boolean accumulate, Tensor dx) {
        requireBlocks("headwiseBackwardInput", "w", w);
        int m = other("headwiseBackwardInput", "dy", dy, outputs(w));
        Check.f32("headwiseBackwardInput", "dx", dx, m * inputs(w));
        Headwise.backwardInput(
                workers, w.dim(0), w.dim(1), w.dim(2), m, dy.segment(), w.segment(), accumulate, dx.segment());
    }

    @Override
    public void headwiseBackwardWeight(Stream s, Tensor dy, Tensor x, Tensor dw, Tensor dbias) {
        requireBlocks("headwiseBackwardWeight", "dw", dw);
        int m = other("headwiseBackwardWeight", "x", x, inputs(dw));
        Check.f32("headwiseBackwardWeight", "dy", dy, m * outputs(dw));
        Check.optional("headwiseBackwardWeight", "dbias", dbias, outputs(dw));
        Headwise.backwardWeight(workers, dw.dim(0), dw.dim(1), dw.dim(2), m, dy.segment(), x.segment(), dw.segment());
        if (dbias != null) {
            columnSums(workers, m, Math.toIntExact(outputs(dw)), dy.segment(), dbias.segment());
        }
    }
}
