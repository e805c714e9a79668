package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MatmulOps;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/** Products with weight matrices: dot products for few rows, packed tiles for many. */
final class CpuMatmul implements MatmulOps {
    /** Most rows of x for which packing the weights does not pay. */
    static final int FEW_ROWS = 32;

    /** Multiply-adds up to which a call stays on its thread: a control step's largest layer. */
    static final long INLINE = 3L * 512 * 2048;

    /** Columns of one strip of a bias gradient. */
    private static final int STRIP = 4 * LANES;

    /** Rows summed on their own before they join the total: keeps the rounding error of long sums small. */
    private static final int SUM_ROWS = 64;

    private final Workers workers;
    private final GemmChoice choice;

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
        if (m <= FEW_ROWS) {
            if ((long) m * n * k <= INLINE) {
                FewRows.multiply(
                        m, n, k, x.segment(), 0, k, w.segment(), 0, of(bias), 0, y.segment(), 0, n, 0, blocks(n));
            } else {
                fewRowsSplit(workers, m, n, k, x.segment(), w.segment(), of(bias), y.segment());
            }
        } else {
            multiply(m, m, n, k, plain(x, k), transposed(w, k), of(bias), false, plain(y, n));
        }
        if (act != Activation.NONE) {
            CpuElementwise.activate(workers, act, y.segment(), y.segment(), y.size());
        }
    }

    private static int blocks(int n) {
        return (n + FewRows.BLOCK - 1) / FewRows.BLOCK;
    }

    private static void fewRowsSplit(
            Workers workers,
            int m,
            int n,
            int k,
            MemorySegment x,
            MemorySegment w,
            MemorySegment bias,
            MemorySegment y) {
        int blocks = blocks(n);
        int grain = Math.max(1, blocks / (8 * workers.threads()));
        workers.forRange(
                blocks, grain, (from, to) -> FewRows.multiply(m, n, k, x, 0, k, w, 0, bias, 0, y, 0, n, from, to));
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
        int grain = (int) Math.max(1, 65_536 / ((long) Math.max(1, m) * STRIP));
        workers.forRange((n + STRIP - 1) / STRIP, grain, (from, to) -> {
            for (int j = from * STRIP; j < Math.min(n, to * STRIP); j += STRIP) {
                if (j + STRIP <= n) {
                    wideColumnSums(m, n, x, j, sums);
                } else {
                    for (int i = j; i < n; i += LANES) {
                        narrowColumnSums(m, n, x, i, sums);
                    }
                }
            }
        });
    }

    private static void wideColumnSums(int m, int n, MemorySegment x, int j, MemorySegment sums) {
        FloatVector a = FloatVector.zero(F);
        FloatVector b = FloatVector.zero(F);
        FloatVector c = FloatVector.zero(F);
        FloatVector d = FloatVector.zero(F);
        for (int r = 0; r < m; r += SUM_ROWS) {
            FloatVector p = FloatVector.zero(F);
            FloatVector q = FloatVector.zero(F);
            FloatVector s = FloatVector.zero(F);
            FloatVector t = FloatVector.zero(F);
            for (int i = r; i < Math.min(m, r + SUM_ROWS); i++) {
                long at = (long) i * n + j;
                p = p.add(load(x, at));
                q = q.add(load(x, at + LANES));
                s = s.add(load(x, at + 2 * LANES));
                t = t.add(load(x, at + 3 * LANES));
            }
            a = a.add(p);
            b = b.add(q);
            c = c.add(s);
            d = d.add(t);
        }
        store(load(sums, j).add(a), sums, j);
        store(load(sums, j + LANES).add(b), sums, j + LANES);
        store(load(sums, j + 2 * LANES).add(c), sums, j + 2 * LANES);
        store(load(sums, j + 3 * LANES).add(d), sums, j + 3 * LANES);
    }

    private static void narrowColumnSums(int m, int n, MemorySegment x, int j, MemorySegment sums) {
        VectorMask<Float> lanes = F.indexInRange(j, n);
        FloatVector total = FloatVector.zero(F);
        for (int r = 0; r < m; r += SUM_ROWS) {
            FloatVector part = FloatVector.zero(F);
            for (int i = r; i < Math.min(m, r + SUM_ROWS); i++) {
                part = part.add(load(x, (long) i * n + j, lanes));
            }
            total = total.add(part);
        }
        store(load(sums, j, lanes).add(total), sums, j, lanes);
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
