package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.NormOps;
import ai.lram.backend.ops.NormSpec;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/** Normalisation row by row; sums of weight gradients column by column. */
final class CpuNorm implements NormOps {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    /** Elements below which a call stays on its thread. */
    private static final long INLINE = 32_768;

    private static final int ELEMENTS_PER_PIECE = 16_384;

    /** Columns of one strip of the weight gradient: two vectors. */
    private static final int STRIP = 2 * LANES;

    /** Rows summed on their own before they join the total: keeps the rounding error of long sums small. */
    private static final int SUM_ROWS = 64;

    private final Workers workers;

    CpuNorm(Workers workers) {
        this.workers = workers;
    }

    @Override
    public void forward(
            Stream s, NormSpec spec, Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor mean, Tensor rstd) {
        int width = width("norm", spec, weight);
        int rows = rows("norm", x, width);
        Check.f32("norm", "x", x, (long) rows * width);
        Check.optional("norm", "bias", bias, width);
        Check.f32("norm", "y", y, x.size());
        Check.optional("norm", "mean", mean, (long) rows * spec.groups());
        Check.optional("norm", "rstd", rstd, (long) rows * spec.groups());
        if (x.size() <= INLINE) {
            forwardRows(spec, width, x.segment(), weight.segment(), of(bias), y.segment(), of(mean), of(rstd), 0, rows);
        } else {
            forwardSplit(
                    workers,
                    spec,
                    rows,
                    width,
                    x.segment(),
                    weight.segment(),
                    of(bias),
                    y.segment(),
                    of(mean),
                    of(rstd));
        }
    }

    private static MemorySegment of(Tensor t) {
        return t == null ? null : t.segment();
    }

    private static int width(String kernel, NormSpec spec, Tensor weight) {
        Check.f32(kernel, "weight", weight, weight == null ? 1 : weight.size());
        if (!(weight.size() > 0 && weight.size() <= Integer.MAX_VALUE && weight.size() % spec.groups() == 0)) {
            throw new ShapeMismatchException(
                    kernel + ": weight is " + weight,
                    "its size is no multiple of the " + spec.groups() + " groups",
                    "pass one weight per column and a number of groups that divides the width");
        }
        return (int) weight.size();
    }

    private static int rows(String kernel, Tensor x, int width) {
        if (!(x != null && x.size() % width == 0)) {
            throw new ShapeMismatchException(
                    kernel + ": x is " + x,
                    "its size is no multiple of the " + width + " columns the weight has",
                    "pass whole rows");
        }
        return Math.toIntExact(x.size() / width);
    }

    private static int grain(int width) {
        return Math.max(1, ELEMENTS_PER_PIECE / width);
    }

    private static void forwardSplit(
            Workers workers,
            NormSpec spec,
            int rows,
            int width,
            MemorySegment x,
            MemorySegment weight,
            MemorySegment bias,
            MemorySegment y,
            MemorySegment mean,
            MemorySegment rstd) {
        workers.forRange(
                rows, grain(width), (from, to) -> forwardRows(spec, width, x, weight, bias, y, mean, rstd, from, to));
    }

    static void forwardRows(
            NormSpec spec,
            int width,
            MemorySegment x,
            MemorySegment weight,
            MemorySegment bias,
            MemorySegment y,
            MemorySegment mean,
            MemorySegment rstd,
            int from,
            int to) {
        int groups = spec.groups();
        int n = width / groups;
        float offset = spec.residualScale() ? 1f : 0f;
        for (int r = from; r < to; r++) {
            for (int g = 0; g < groups; g++) {
                long at = (long) r * width + (long) g * n;
                float m = spec.centred() ? sum(x, at, n) / n : 0f;
                float scale = (float) (1 / Math.sqrt(squares(x, at, n, m) / (double) n + spec.eps()));
                if (bias == null) {
                    write(x, at, n, m, scale, offset, weight, (long) g * n, y);
                } else {
                    writeBiased(x, at, n, m, scale, offset, weight, bias, (long) g * n, y);
                }
                if (mean != null) {
                    mean.set(FLOAT, ((long) r * groups + g) * 4, m);
                }
                if (rstd != null) {
                    rstd.set(FLOAT, ((long) r * groups + g) * 4, scale);
                }
            }
        }
    }

    /** One group of a row: element {@code at} on of x, weights from {@code wAt} on. */
    static void group(NormSpec spec, MemorySegment x, long at, int n, MemorySegment weight, long wAt, MemorySegment y) {
        float m = spec.centred() ? sum(x, at, n) / n : 0f;
        float scale = (float) (1 / Math.sqrt(squares(x, at, n, m) / (double) n + spec.eps()));
        write(x, at, n, m, scale, spec.residualScale() ? 1f : 0f, weight, wAt, y);
    }

    // One accumulator each: with more of them the compiler boxes vectors in some profiles, and the sums are short.
    private static float sum(MemorySegment x, long at, int n) {
        FloatVector a = FloatVector.zero(F);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            a = a.add(load(x, at + i));
        }
        float rest = 0;
        for (; i < n; i++) {
            rest += x.get(FLOAT, (at + i) * 4);
        }
        return VectorMath.sum(a) + rest;
    }

    private static float squares(MemorySegment x, long at, int n, float mean) {
        FloatVector m = FloatVector.broadcast(F, mean);
        FloatVector a = FloatVector.zero(F);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector p = load(x, at + i).sub(m);
            a = p.fma(p, a);
        }
        float rest = 0;
        for (; i < n; i++) {
            float p = x.get(FLOAT, (at + i) * 4) - mean;
            rest = Math.fma(p, p, rest);
        }
        return VectorMath.sum(a) + rest;
    }

    private static void write(
            MemorySegment x,
            long at,
            int n,
            float mean,
            float rstd,
            float offset,
            MemorySegment w,
            long wAt,
            MemorySegment y) {
        FloatVector m = FloatVector.broadcast(F, mean);
        FloatVector s = FloatVector.broadcast(F, rstd);
        FloatVector o = FloatVector.broadcast(F, offset);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            store(load(x, at + i).sub(m).mul(s).mul(load(w, wAt + i).add(o)), y, at + i);
        }
        for (; i < n; i++) {
            y.set(
                    FLOAT,
                    (at + i) * 4,
                    (x.get(FLOAT, (at + i) * 4) - mean) * rstd * (w.get(FLOAT, (wAt + i) * 4) + offset));
        }
    }

    private static void writeBiased(
            MemorySegment x,
            long at,
            int n,
            float mean,
            float rstd,
            float offset,
            MemorySegment w,
            MemorySegment bias,
            long wAt,
            MemorySegment y) {
        FloatVector m = FloatVector.broadcast(F, mean);
        FloatVector s = FloatVector.broadcast(F, rstd);
        FloatVector o = FloatVector.broadcast(F, offset);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector hat = load(x, at + i).sub(m).mul(s);
            store(hat.fma(load(w, wAt + i).add(o), load(bias, wAt + i)), y, at + i);
        }
        for (; i < n; i++) {
            float hat = (x.get(FLOAT, (at + i) * 4) - mean) * rstd;
            float v = Math.fma(hat, w.get(FLOAT, (wAt + i) * 4) + offset, bias.get(FLOAT, (wAt + i) * 4));
            y.set(FLOAT, (at + i) * 4, v);
        }
    }

    @Override
    public void backward(
            Stream s,
            NormSpec spec,
            Tensor dy,
            Tensor x,
            Tensor weight,
            Tensor mean,
            Tensor rstd,
            Tensor dx,
            Tensor dweight,
            Tensor dbias) {
        int width = width("normBackward", spec, weight);
        int rows = rows("normBackward", x, width);
        long statistics = (long) rows * spec.groups();
        Check.f32("normBackward", "x", x, x.size());
        Check.f32("normBackward", "dy", dy, x.size());
        if (spec.centred()) {
            Check.f32("normBackward", "mean", mean, statistics);
        }
        Check.f32("normBackward", "rstd", rstd, statistics);
        Check.f32("normBackward", "dx", dx, x.size());
        Check.optional("normBackward", "dweight", dweight, width);
        Check.optional("normBackward", "dbias", dbias, width);
        MemorySegment centre = spec.centred() ? mean.segment() : null;
        backwardInput(
                workers,
                spec,
                rows,
                width,
                dy.segment(),
                x.segment(),
                weight.segment(),
                centre,
                rstd.segment(),
                dx.segment());
        if (dweight != null || dbias != null) {
            backwardWeight(
                    workers,
                    spec,
                    rows,
                    width,
                    dy.segment(),
                    x.segment(),
                    centre,
                    rstd.segment(),
                    of(dweight),
                    of(dbias));
        }
    }

    private static void backwardInput(
            Workers workers,
            NormSpec spec,
            int rows,
            int width,
            MemorySegment dy,
            MemorySegment x,
            MemorySegment weight,
            MemorySegment mean,
            MemorySegment rstd,
            MemorySegment dx) {
        int groups = spec.groups();
        int n = width / groups;
        float offset = spec.residualScale() ? 1f : 0f;
        workers.forRange(rows, grain(width), (from, to) -> {
            for (int r = from; r < to; r++) {
                for (int g = 0; g < groups; g++) {
                    long statistic = ((long) r * groups + g) * 4;
                    long at = (long) r * width + (long) g * n;
                    float m = mean == null ? 0f : mean.get(FLOAT, statistic);
                    float scale = rstd.get(FLOAT, statistic);
                    float c1 = mean == null ? 0f : weighted(dy, at, n, weight, (long) g * n, offset) / n;
                    float c2 = weightedHat(dy, x, at, n, m, scale, weight, (long) g * n, offset) / n;
                    inputGradient(dy, x, at, n, m, scale, weight, (long) g * n, offset, c1, c2, dx);
                }
            }
        });
    }

    /** Sum of dy * (w + offset). */
    private static float weighted(MemorySegment dy, long at, int n, MemorySegment w, long wAt, float offset) {
        FloatVector o = FloatVector.broadcast(F, offset);
        FloatVector a = FloatVector.zero(F);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            a = load(dy, at + i).fma(load(w, wAt + i).add(o), a);
        }
        float rest = 0;
        for (; i < n; i++) {
            rest = Math.fma(dy.get(FLOAT, (at + i) * 4), w.get(FLOAT, (wAt + i) * 4) + offset, rest);
        }
        return VectorMath.sum(a) + rest;
    }

    /** Sum of dy * (w + offset) * (x - mean) * rstd. */
    private static float weightedHat(
            MemorySegment dy,
            MemorySegment x,
            long at,
            int n,
            float mean,
            float rstd,
            MemorySegment w,
            long wAt,
            float offset) {
        FloatVector o = FloatVector.broadcast(F, offset);
        FloatVector m = FloatVector.broadcast(F, mean);
        FloatVector a = FloatVector.zero(F);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector g = load(dy, at + i).mul(load(w, wAt + i).add(o));
            a = g.fma(load(x, at + i).sub(m), a);
        }
        float rest = 0;
        for (; i < n; i++) {
            float g = dy.get(FLOAT, (at + i) * 4) * (w.get(FLOAT, (wAt + i) * 4) + offset);
            rest = Math.fma(g, x.get(FLOAT, (at + i) * 4) - mean, rest);
        }
        return (VectorMath.sum(a) + rest) * rstd;
    }

    private static void inputGradient(
            MemorySegment dy,
            MemorySegment x,
            long at,
            int n,
            float mean,
            float rstd,
            MemorySegment w,
            long wAt,
            float offset,
            float c1,
            float c2,
            MemorySegment dx) {
        FloatVector o = FloatVector.broadcast(F, offset);
        FloatVector m = FloatVector.broadcast(F, mean);
        FloatVector s = FloatVector.broadcast(F, rstd);
        FloatVector a = FloatVector.broadcast(F, c1);
        FloatVector b = FloatVector.broadcast(F, -c2);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector g = load(dy, at + i).mul(load(w, wAt + i).add(o)).sub(a);
            store(load(x, at + i).sub(m).mul(s).fma(b, g).mul(s), dx, at + i);
        }
        for (; i < n; i++) {
            float g = dy.get(FLOAT, (at + i) * 4) * (w.get(FLOAT, (wAt + i) * 4) + offset) - c1;
            dx.set(FLOAT, (at + i) * 4, Math.fma((x.get(FLOAT, (at + i) * 4) - mean) * rstd, -c2, g) * rstd);
        }
    }

    private static void backwardWeight(
            Workers workers,
            NormSpec spec,
            int rows,
            int width,
            MemorySegment dy,
            MemorySegment x,
            MemorySegment mean,
            MemorySegment rstd,
            MemorySegment dweight,
            MemorySegment dbias) {
        int groups = spec.groups();
        int n = width / groups;
        int strips = (n + STRIP - 1) / STRIP;
        int grain = (int) Math.max(1, INLINE / ((long) Math.max(1, rows) * STRIP));
        workers.forRange(groups * strips, grain, (from, to) -> {
            for (int k = from; k < to; k++) {
                int g = k / strips;
                int begin = k % strips * STRIP;
                int end = Math.min(n, begin + STRIP);
                int j = g * n + begin;
                if (end - begin == STRIP) {
                    wideStrip(rows, width, groups, g, j, dy, x, mean, rstd, dweight, dbias);
                } else {
                    for (int i = begin; i < end; i += LANES) {
                        strip(
                                rows,
                                width,
                                groups,
                                g,
                                g * n + i,
                                Math.min(LANES, end - i),
                                dy,
                                x,
                                mean,
                                rstd,
                                dweight,
                                dbias);
                    }
                }
            }
        });
    }

    private static void strip(
            int rows,
            int width,
            int groups,
            int g,
            int j,
            int columns,
            MemorySegment dy,
            MemorySegment x,
            MemorySegment mean,
            MemorySegment rstd,
            MemorySegment dweight,
            MemorySegment dbias) {
        VectorMask<Float> lanes = F.indexInRange(0, columns);
        FloatVector w = FloatVector.zero(F);
        FloatVector b = FloatVector.zero(F);
        for (int r = 0; r < rows; r += SUM_ROWS) {
            FloatVector wPart = FloatVector.zero(F);
            FloatVector bPart = FloatVector.zero(F);
            for (int k = r; k < Math.min(rows, r + SUM_ROWS); k++) {
                long statistic = ((long) k * groups + g) * 4;
                float m = mean == null ? 0f : mean.get(FLOAT, statistic);
                FloatVector d = load(dy, (long) k * width + j, lanes);
                FloatVector hat = load(x, (long) k * width + j, lanes).sub(m).mul(rstd.get(FLOAT, statistic));
                wPart = d.fma(hat, wPart);
                bPart = bPart.add(d);
            }
            w = w.add(wPart);
            b = b.add(bPart);
        }
        add(dweight, j, w, lanes);
        add(dbias, j, b, lanes);
    }

    private static void add(MemorySegment sum, int j, FloatVector v, VectorMask<Float> lanes) {
        if (sum != null) {
            store(load(sum, j, lanes).add(v), sum, j, lanes);
        }
    }

    private static void wideStrip(
            int rows,
            int width,
            int groups,
            int g,
            int j,
            MemorySegment dy,
            MemorySegment x,
            MemorySegment mean,
            MemorySegment rstd,
            MemorySegment dweight,
            MemorySegment dbias) {
        FloatVector w0 = FloatVector.zero(F);
        FloatVector w1 = FloatVector.zero(F);
        FloatVector b0 = FloatVector.zero(F);
        FloatVector b1 = FloatVector.zero(F);
        for (int r = 0; r < rows; r += SUM_ROWS) {
            FloatVector p0 = FloatVector.zero(F);
            FloatVector p1 = FloatVector.zero(F);
            FloatVector q0 = FloatVector.zero(F);
            FloatVector q1 = FloatVector.zero(F);
            for (int k = r; k < Math.min(rows, r + SUM_ROWS); k++) {
                long statistic = ((long) k * groups + g) * 4;
                FloatVector m = FloatVector.broadcast(F, mean == null ? 0f : mean.get(FLOAT, statistic));
                FloatVector s = FloatVector.broadcast(F, rstd.get(FLOAT, statistic));
                long at = (long) k * width + j;
                FloatVector d0 = load(dy, at);
                FloatVector d1 = load(dy, at + LANES);
                p0 = load(x, at).sub(m).mul(s).fma(d0, p0);
                p1 = load(x, at + LANES).sub(m).mul(s).fma(d1, p1);
                q0 = q0.add(d0);
                q1 = q1.add(d1);
            }
            w0 = w0.add(p0);
            w1 = w1.add(p1);
            b0 = b0.add(q0);
            b1 = b1.add(q1);
        }
        addWide(dweight, j, w0, w1);
        addWide(dbias, j, b0, b1);
    }

    private static void addWide(MemorySegment sum, int j, FloatVector a, FloatVector b) {
        if (sum != null) {
            store(load(sum, j).add(a), sum, j);
            store(load(sum, j + LANES).add(b), sum, j + LANES);
        }
    }
}
