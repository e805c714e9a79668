package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.LossOps;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/**
 * Cross-entropy of the CPU engine. Rows are summed in fp64 in blocks of fixed size, so that the loss does not depend on
 * the number of threads. Rows whose mask is zero are not read at all.
 */
final class CpuLoss implements LossOps {
    private static final int BLOCK = 64;

    /** Classes summed in fp32 before the sum goes on in fp64. */
    private static final int SPAN = 1024;

    /** Deviations from the target beyond which a bin gets no mass; 1e-9 of the whole is cut off. */
    private static final double REACH = 6;

    /** A target this many deviations outside the bins has lost its mass in fp64 and is moved to the nearest edge. */
    private static final double FAR = 8;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    /** Bins whose edges fit into a thread's block, with room for whole vectors. */
    private static final int EDGES = Staging.BLOCK / 2 - 2 * DoubleMath.LANES;

    /** 0, 1, 2 ... */
    private static final DoubleVector INDEX = DoubleVector.zero(DoubleMath.D).addIndex(1);

    private static final ValueLayout.OfDouble DOUBLE = ValueLayout.JAVA_DOUBLE_UNALIGNED;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;

    private final Workers workers;

    CpuLoss(Workers workers) {
        this.workers = workers;
    }

    @Override
    public void crossEntropy(
            Stream s,
            Tensor logits,
            Tensor target,
            Tensor mask,
            Tensor whole,
            float gradScale,
            Tensor dlogits,
            Tensor stats) {
        Rows r = rows("crossEntropy", logits, mask, whole, dlogits, stats);
        Check.size("crossEntropy", "target", target, DType.I32, r.count);
        MemorySegment ids = target.segment();
        for (int m = 0; m < r.count; m++) {
            int id = ids.get(INT, 4L * m);
            if ((id < 0 || id >= r.width) && r.mask.get(FLOAT, 4L * m) != 0) {
                Check.that(
                        false,
                        "crossEntropy: target[" + m + "] is " + id,
                        "the logits have " + r.width + " classes",
                        "pass ids within 0.." + (r.width - 1) + ", or mask the row");
            }
        }
        run(
                r,
                gradScale,
                stats,
                (row, weight, scale, sums, at) -> hardRow(r, row, ids.get(INT, 4L * row), weight, scale, sums, at));
    }

    @Override
    public void crossEntropySoftBins(
            Stream s,
            Tensor logits,
            Tensor target,
            Tensor mask,
            Tensor whole,
            int firstBin,
            int bins,
            float sigma,
            float gradScale,
            Tensor dlogits,
            Tensor stats) {
        String kernel = "crossEntropySoftBins";
        Rows r = rows(kernel, logits, mask, whole, dlogits, stats);
        Check.f32(kernel, "target", target, r.count);
        Check.that(
                firstBin >= 0 && bins >= 1 && (long) firstBin + bins <= r.width,
                kernel + ": bins " + firstBin + ".." + ((long) firstBin + bins - 1),
                "the logits have " + r.width + " classes",
                "name bins that exist, at least one");
        Check.that(
                sigma > 0 && Float.isFinite(sigma),
                kernel + ": sigma is " + sigma,
                "a target density needs a finite deviation > 0",
                "pass sigma in bins, for example 0.75");
        MemorySegment targets = target.segment();
        run(
                r,
                gradScale,
                stats,
                (row, weight, scale, sums, at) ->
                        softRow(r, row, targets.get(FLOAT, 4L * row), firstBin, bins, sigma, weight, scale, sums, at));
    }

    /** The arguments common to both losses; {@code gradient} may be null. */
    private record Rows(
            MemorySegment logits,
            MemorySegment mask,
            MemorySegment whole,
            int wholeCount,
            MemorySegment gradient,
            int count,
            int width) {}

    private static Rows rows(String kernel, Tensor logits, Tensor mask, Tensor whole, Tensor dlogits, Tensor stats) {
        Check.f32(kernel, "logits", logits, logits == null ? 0 : logits.size());
        Check.that(
                logits.rank() >= 1 && logits.dim(-1) >= 1,
                kernel + ": logits is " + logits,
                "rows of at least one class are needed",
                "pass logits [M,V] with V >= 1");
        int count = logits.rows();
        Check.f32(kernel, "mask", mask, count);
        Check.f32(kernel, "whole", whole, whole == null ? 0 : whole.size());
        Check.optional(kernel, "dlogits", dlogits, logits.size());
        Check.f32(kernel, "stats", stats, 3);
        return new Rows(
                logits.segment(),
                mask.segment(),
                whole.segment(),
                Math.toIntExact(whole.size()),
                dlogits == null ? null : dlogits.segment(),
                count,
                logits.dim(-1));
    }

    /**
     * Adds one row's mask * loss to sums[at] and its hit, 0 or 1, to sums[at + 1]; writes the gradient, if wanted,
     * times {@code scale}.
     */
    @FunctionalInterface
    private interface RowLoss {
        void add(int row, float weight, float scale, double[] sums, int at);
    }

    private void run(Rows r, float gradScale, Tensor stats, RowLoss loss) {
        double total = 0;
        for (int m = 0; m < r.wholeCount; m++) {
            total += r.whole.get(FLOAT, 4L * m);
        }
        double weightSum = total;
        int blocks = (r.count + BLOCK - 1) / BLOCK;
        double[] sums = new double[2 * blocks];
        workers.forRange(blocks, 1, (from, to) -> {
            for (int b = from; b < to; b++) {
                int end = Math.min(r.count, (b + 1) * BLOCK);
                for (int m = b * BLOCK; m < end; m++) {
                    float w = r.mask.get(FLOAT, 4L * m);
                    if (w == 0 || weightSum == 0) {
                        if (r.gradient != null) {
                            r.gradient.asSlice(4L * m * r.width, 4L * r.width).fill((byte) 0);
                        }
                    } else {
                        loss.add(m, w, (float) (gradScale * (w / weightSum)), sums, 2 * b);
                    }
                }
            }
        });
        double ce = 0;
        double hits = 0;
        for (int b = 0; b < blocks; b++) {
            ce += sums[2 * b];
            hits += sums[2 * b + 1];
        }
        stats.set(0, weightSum == 0 ? 0 : (float) (ce / weightSum));
        stats.set(1, (float) weightSum);
        stats.set(2, weightSum == 0 ? 0 : (float) (hits / weightSum));
    }

    private static void hardRow(Rows r, int row, int id, float weight, float scale, double[] sums, int at) {
        long o = 4L * row * r.width;
        float max = max(r.logits, o, r.width);
        float own = r.logits.get(FLOAT, o + 4L * id);
        boolean hit = own == max && isFirst(r.logits, o, id, max);
        double sum;
        if (r.gradient == null) {
            sum = sumExp(r.logits, o, r.width, max);
        } else {
            sum = storeExp(r.logits, o, r.width, max, r.gradient);
            multiply(r.gradient, o, r.width, (float) (scale / sum));
            subtract(r.gradient, o + 4L * id, scale);
        }
        sums[at] += weight * ((double) max - own + Math.log(sum));
        sums[at + 1] += hit ? 1 : 0;
    }

    private static void softRow(
            Rows r,
            int row,
            float target,
            int firstBin,
            int bins,
            float sigma,
            float weight,
            float scale,
            double[] sums,
            int at) {
        long o = 4L * row * r.width;
        if (Float.isNaN(target)) {
            sums[at] = Double.NaN;
            if (r.gradient != null) {
                for (int j = 0; j < r.width; j++) {
                    r.gradient.set(FLOAT, o + 4L * j, Float.NaN);
                }
            }
            return;
        }
        int end = firstBin + bins;
        float max = max(r.logits, o, r.width);
        int bin = (int) Math.clamp(Math.floor(target), firstBin, end - 1.0);
        boolean hit = r.logits.get(FLOAT, o + 4L * bin) == max && isFirst(r.logits, o, bin, max);
        double sum;
        if (r.gradient == null) {
            sum = sumExp(r.logits, o, r.width, max);
        } else {
            sum = storeExp(r.logits, o, r.width, max, r.gradient);
            multiply(r.gradient, o, r.width, (float) (scale / sum));
        }
        double expected = softTarget(r, o, target, firstBin, end, sigma, max, scale);
        sums[at] += weight * (Math.log(sum) - expected);
        sums[at + 1] += hit ? 1 : 0;
    }

    /**
     * Subtracts scale * p from the gradient and returns the sum of p * (logit - max), p being the target distribution.
     */
    private static double softTarget(
            Rows r, long o, float target, int first, int end, double sigma, float max, float scale) {
        double t = target;
        if (t < first - FAR * sigma) {
            t = first;
        } else if (t > end + FAR * sigma) {
            t = end;
        }
        int low = (int) Math.clamp(Math.floor(Math.min(t, end) - REACH * sigma), first, end - 1.0);
        int high = (int) Math.clamp(Math.ceil(Math.max(t, first) + REACH * sigma), low + 1.0, end);
        // In the lower tail differences of the distribution function keep their digits: mirror the axis for targets
        // below the bins.
        double sign = t < first ? -1 : 1;
        double from = NormalCdf.cdf(sign * (low - t) / sigma);
        double mass = Math.abs(NormalCdf.cdf(sign * (high - t) / sigma) - from);
        double expected = 0;
        MemorySegment edges = Staging.own().block0;
        for (int j = low; j < high; j += EDGES) {
            int n = Math.min(EDGES, high - j);
            cdfs(sign * (j - t) / sigma, sign / sigma, n + 1, edges);
            expected += subtractBins(r, o + 4L * j, n, edges, 1 / mass, max, scale);
        }
        return expected;
    }

    /** The distribution function at {@code n} points, {@code step} apart. */
    private static void cdfs(double first, double step, int n, MemorySegment out) {
        DoubleVector z =
                INDEX.fma(DoubleVector.broadcast(DoubleMath.D, step), DoubleVector.broadcast(DoubleMath.D, first));
        for (int i = 0; i < n; i += DoubleMath.LANES) {
            DoubleVector at = z.add(i * step);
            DoubleVector tail = DoubleMath.upperTail(at.abs());
            DoubleMath.store(tail.blend(DoubleMath.ONE.sub(tail), at.compare(VectorOperators.GT, 0)), out, i * 8L);
        }
    }

    /** Bins from byte {@code o} on, given the distribution function at their edges. */
    private static double subtractBins(
            Rows r, long o, int n, MemorySegment edges, double inverseMass, float max, float scale) {
        double expected = 0;
        double from = edges.get(DOUBLE, 0);
        for (int j = 0; j < n; j++) {
            double to = edges.get(DOUBLE, 8L * (j + 1));
            double p = Math.abs(to - from) * inverseMass;
            from = to;
            if (p != 0) {
                expected += p * ((double) r.logits.get(FLOAT, o + 4L * j) - max);
                if (r.gradient != null) {
                    subtract(r.gradient, o + 4L * j, (float) (scale * p));
                }
            }
        }
        return expected;
    }

    private static void subtract(MemorySegment m, long at, float v) {
        m.set(FLOAT, at, m.get(FLOAT, at) - v);
    }

    /** The largest of {@code n} elements, NaN if there is one. */
    private static float max(MemorySegment x, long at, int n) {
        FloatVector m = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            m = m.max(load(x, at / 4 + i));
        }
        float max = m.reduceLanes(VectorOperators.MAX);
        for (; i < n; i++) {
            max = Math.max(max, x.get(FLOAT, at + 4L * i));
        }
        return max;
    }

    /** No element before {@code index} equals {@code max}. */
    private static boolean isFirst(MemorySegment x, long at, int index, float max) {
        for (int i = 0; i < index; i++) {
            if (x.get(FLOAT, at + 4L * i) == max) {
                return false;
            }
        }
        return true;
    }

    private static double sumExp(MemorySegment x, long at, int n, float max) {
        double sum = 0;
        for (int start = 0; start < n; start += SPAN) {
            int end = Math.min(n, start + SPAN);
            FloatVector acc = FloatVector.zero(F);
            int i = start;
            for (; i <= end - LANES; i += LANES) {
                acc = acc.add(VectorMath.exp(load(x, at / 4 + i).sub(max)));
            }
            if (i < end) {
                VectorMask<Float> tail = F.indexInRange(i, end);
                FloatVector e = VectorMath.exp(load(x, at / 4 + i, tail).sub(max));
                acc = acc.add(e, tail);
            }
            sum += VectorMath.sum(acc);
        }
        return sum;
    }

    private static double storeExp(MemorySegment x, long at, int n, float max, MemorySegment out) {
        double sum = 0;
        for (int start = 0; start < n; start += SPAN) {
            int end = Math.min(n, start + SPAN);
            FloatVector acc = FloatVector.zero(F);
            int i = start;
            for (; i <= end - LANES; i += LANES) {
                FloatVector e = VectorMath.exp(load(x, at / 4 + i).sub(max));
                store(e, out, at / 4 + i);
                acc = acc.add(e);
            }
            if (i < end) {
                VectorMask<Float> tail = F.indexInRange(i, end);
                FloatVector e = VectorMath.exp(load(x, at / 4 + i, tail).sub(max));
                store(e, out, at / 4 + i, tail);
                acc = acc.add(e, tail);
            }
            sum += VectorMath.sum(acc);
        }
        return sum;
    }

    private static void multiply(MemorySegment x, long at, int n, float factor) {
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            store(load(x, at / 4 + i).mul(factor), x, at / 4 + i);
        }
        for (; i < n; i++) {
            x.set(FLOAT, at + 4L * i, x.get(FLOAT, at + 4L * i) * factor);
        }
    }
}
