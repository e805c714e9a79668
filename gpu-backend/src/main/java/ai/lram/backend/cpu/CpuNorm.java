package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.NormOps;
import ai.lram.backend.ops.NormSpec;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;

/** Normalisation row by row. */
final class CpuNorm implements NormOps {
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    /** Elements below which a call stays on its thread. */
    private static final long INLINE = 32_768;

    private static final int ELEMENTS_PER_PIECE = 16_384;

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
        float[] lanes = Staging.own().tile;
        for (int r = from; r < to; r++) {
            for (int g = 0; g < groups; g++) {
                long at = (long) r * width + (long) g * n;
                float m = spec.centred() ? sum(x, at, n, lanes) / n : 0f;
                float scale = (float) (1 / Math.sqrt(squares(x, at, n, m, lanes) / (double) n + spec.eps()));
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
        float[] lanes = Staging.own().tile;
        float m = spec.centred() ? sum(x, at, n, lanes) / n : 0f;
        float scale = (float) (1 / Math.sqrt(squares(x, at, n, m, lanes) / (double) n + spec.eps()));
        write(x, at, n, m, scale, spec.residualScale() ? 1f : 0f, weight, wAt, y);
    }

    // One accumulator each: with more of them the compiler boxes vectors in some profiles, and the sums are short.
    // Lanes
    // are added up in an array, and vectors are loaded and stored without helpers, for the same reason: one is boxed
    // where the compiler stops inlining in the middle of a caller.
    private static float sum(MemorySegment x, long at, int n, float[] lanes) {
        FloatVector a = FloatVector.zero(F);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            a = a.add(FloatVector.fromMemorySegment(F, x, (at + i) * 4, LE));
        }
        a.intoArray(lanes, 0);
        float rest = 0;
        for (; i < n; i++) {
            rest += x.get(FLOAT, (at + i) * 4);
        }
        return VectorMath.foldLanes(lanes, 0) + rest;
    }

    private static float squares(MemorySegment x, long at, int n, float mean, float[] lanes) {
        FloatVector m = FloatVector.broadcast(F, mean);
        FloatVector a = FloatVector.zero(F);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector p =
                    FloatVector.fromMemorySegment(F, x, (at + i) * 4, LE).sub(m);
            a = p.fma(p, a);
        }
        a.intoArray(lanes, 0);
        float rest = 0;
        for (; i < n; i++) {
            float p = x.get(FLOAT, (at + i) * 4) - mean;
            rest = Math.fma(p, p, rest);
        }
        return VectorMath.foldLanes(lanes, 0) + rest;
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
            FloatVector hat =
                    FloatVector.fromMemorySegment(F, x, (at + i) * 4, LE).sub(m).mul(s);
            hat.mul(FloatVector.fromMemorySegment(F, w, (wAt + i) * 4, LE).add(o))
                    .intoMemorySegment(y, (at + i) * 4, LE);
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
            FloatVector hat =
                    FloatVector.fromMemorySegment(F, x, (at + i) * 4, LE).sub(m).mul(s);
            FloatVector by =
                    FloatVector.fromMemorySegment(F, w, (wAt + i) * 4, LE).add(o);
            hat.fma(by, FloatVector.fromMemorySegment(F, bias, (wAt + i) * 4, LE))
                    .intoMemorySegment(y, (at + i) * 4, LE);
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
        backwardSplit(
                workers,
                spec,
                rows,
                width,
                dy.segment(),
                x.segment(),
                weight.segment(),
                centre,
                rstd.segment(),
                dx.segment(),
                of(dweight),
                of(dbias));
    }

    private static void backwardSplit(
            Workers workers,
            NormSpec spec,
            int rows,
            int width,
            MemorySegment dy,
            MemorySegment x,
            MemorySegment weight,
            MemorySegment mean,
            MemorySegment rstd,
            MemorySegment dx,
            MemorySegment dweight,
            MemorySegment dbias) {
        int groups = spec.groups();
        int n = width / groups;
        float offset = spec.residualScale() ? 1f : 0f;
        // A line of partial sums: the weight's, then the bias's.
        ColumnSums sums = new ColumnSums(rows, 2 * width);
        sums.over(workers, (from, to, partial, line) -> {
            for (int r = from; r < to; r++) {
                for (int g = 0; g < groups; g++) {
                    long statistic = ((long) r * groups + g) * 4;
                    long at = (long) r * width + (long) g * n;
                    float m = mean == null ? 0f : mean.get(FLOAT, statistic);
                    float scale = rstd.get(FLOAT, statistic);
                    if (dweight != null) {
                        addWeighted(dy, x, at, n, m, scale, partial, line + g * n);
                    }
                    if (dbias != null) {
                        addRow(dy, at, n, partial, line + width + g * n);
                    }
                    float c1 = mean == null ? 0f : weighted(dy, at, n, weight, (long) g * n, offset) / n;
                    float c2 = weightedHat(dy, x, at, n, m, scale, weight, (long) g * n, offset) / n;
                    inputGradient(dy, x, at, n, m, scale, weight, (long) g * n, offset, c1, c2, dx);
                }
            }
        });
        if (dweight != null) {
            sums.addTo(workers, 0, width, dweight);
        }
        if (dbias != null) {
            sums.addTo(workers, width, width, dbias);
        }
    }

    /** Adds dy * (x - mean) * rstd to the partial sums. */
    private static void addWeighted(
            MemorySegment dy, MemorySegment x, long at, int n, float mean, float rstd, float[] partial, int line) {
        FloatVector m = FloatVector.broadcast(F, mean);
        FloatVector s = FloatVector.broadcast(F, rstd);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector hat = load(x, at + i).sub(m).mul(s);
            hat.fma(load(dy, at + i), FloatVector.fromArray(F, partial, line + i))
                    .intoArray(partial, line + i);
        }
        for (; i < n; i++) {
            float hat = (x.get(FLOAT, (at + i) * 4) - mean) * rstd;
            partial[line + i] = Math.fma(hat, dy.get(FLOAT, (at + i) * 4), partial[line + i]);
        }
    }

    private static void addRow(MemorySegment dy, long at, int n, float[] partial, int line) {
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            load(dy, at + i).add(FloatVector.fromArray(F, partial, line + i)).intoArray(partial, line + i);
        }
        for (; i < n; i++) {
            partial[line + i] += dy.get(FLOAT, (at + i) * 4);
        }
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
}
