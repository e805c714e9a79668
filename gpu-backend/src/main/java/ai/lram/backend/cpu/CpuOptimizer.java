package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.OptimizerOps;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** AdamW and the gradient norm. */
final class CpuOptimizer implements OptimizerOps {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final VectorSpecies<Double> D = DoubleVector.SPECIES_PREFERRED;

    /** Elements per unit of work, a multiple of every vector length; each has a partial sum of its own. */
    private static final int BLOCK = 16_384;

    /**
     * Elements whose gradient and moments stay in the first-level cache from one loop to the next. One loop for all three is now and then
     * compiled with boxed vectors, and is then ten times slower.
     */
    private static final int PIECE = 1024;

    private final Workers workers;

    CpuOptimizer(Workers workers) {
        this.workers = workers;
    }

    @Override
    public void sumSquares(Stream s, Tensor x, Tensor out) {
        Check.f32("sumSquares", "x", x, x == null ? 1 : x.size());
        Check.f32("sumSquares", "out", out, 1);
        double sum = sumSquares(workers, x.segment(), x.size());
        out.segment().set(FLOAT, 0, (float) (out.segment().get(FLOAT, 0) + sum));
    }

    private static double sumSquares(Workers workers, MemorySegment x, long n) {
        double[] parts = new double[Math.toIntExact((n + BLOCK - 1) / BLOCK)];
        workers.forRange(parts.length, 2, (from, to) -> {
            for (int b = from; b < to; b++) {
                parts[b] = blockSquares(x, (long) b * BLOCK, Math.min(n, (long) (b + 1) * BLOCK));
            }
        });
        double sum = 0;
        for (double p : parts) {
            sum += p;
        }
        return sum;
    }

    private static double blockSquares(MemorySegment x, long from, long to) {
        DoubleVector a = DoubleVector.zero(D);
        DoubleVector b = DoubleVector.zero(D);
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            FloatVector v = load(x, i);
            DoubleVector low = (DoubleVector) v.convertShape(VectorOperators.F2D, D, 0);
            DoubleVector high = (DoubleVector) v.convertShape(VectorOperators.F2D, D, 1);
            a = low.fma(low, a);
            b = high.fma(high, b);
        }
        double sum = 0;
        for (; i < to; i++) {
            double v = x.get(FLOAT, i * 4);
            sum = Math.fma(v, v, sum);
        }
        // Lane by lane: the order of reduceLanes is not defined.
        DoubleVector ab = a.add(b);
        for (int k = 0; k < D.length(); k++) {
            sum += ab.lane(k);
        }
        return sum;
    }

    @Override
    public void adamW(
            Stream s, Tensor hyper, Tensor sumSquares, boolean decay, Tensor param, Tensor grad, Tensor m, Tensor v) {
        Check.f32("adamW", "hyper", hyper, 8);
        Check.optional("adamW", "sumSquares", sumSquares, 1);
        Check.f32("adamW", "param", param, param == null ? 1 : param.size());
        Check.f32("adamW", "grad", grad, param.size());
        Check.f32("adamW", "m", m, param.size());
        Check.f32("adamW", "v", v, param.size());
        if (sumSquares != null && !Float.isFinite(sumSquares.segment().get(FLOAT, 0))) {
            return;
        }
        Step step = Step.of(hyper.segment(), sumSquares == null ? null : sumSquares.segment(), decay);
        update(workers, step, param.size(), param.segment(), grad.segment(), m.segment(), v.segment());
    }

    /**
     * The numbers of one step. p = p * keep - rate * m / (sqrt(v) * root + eps), with rate = lr / bc1 and root = 1 / sqrt(bc2).
     */
    private record Step(
            float clip,
            float b1,
            float b2,
            float oneMinusB1,
            float oneMinusB2,
            float keep,
            float rate,
            float root,
            float eps) {
        static Step of(MemorySegment hyper, MemorySegment sumSquares, boolean decay) {
            double lr = hyper.get(FLOAT, 0);
            float b1 = hyper.get(FLOAT, 4);
            float b2 = hyper.get(FLOAT, 8);
            double weightDecay = hyper.get(FLOAT, 16);
            double maxNorm = hyper.get(FLOAT, 28);
            double clip = 1;
            if (sumSquares != null && maxNorm != 0) {
                clip = Math.min(1, maxNorm / (Math.sqrt(sumSquares.get(FLOAT, 0)) + 1e-6));
            }
            return new Step(
                    (float) clip,
                    b1,
                    b2,
                    (float) (1 - (double) b1),
                    (float) (1 - (double) b2),
                    (float) (decay ? 1 - lr * weightDecay : 1),
                    (float) (lr / hyper.get(FLOAT, 20)),
                    (float) (1 / Math.sqrt(hyper.get(FLOAT, 24))),
                    hyper.get(FLOAT, 12));
        }
    }

    private static void update(
            Workers workers, Step step, long n, MemorySegment p, MemorySegment g, MemorySegment m, MemorySegment v) {
        workers.forRange(Math.toIntExact((n + BLOCK - 1) / BLOCK), 1, (from, to) -> {
            updateRange(step, p, g, m, v, (long) from * BLOCK, Math.min(n, (long) to * BLOCK));
        });
    }

    private static void updateRange(
            Step t, MemorySegment p, MemorySegment g, MemorySegment m, MemorySegment v, long from, long to) {
        for (long at = from; at < to; at += PIECE) {
            long end = Math.min(to, at + PIECE);
            means(t, g, m, at, end);
            squares(t, g, v, at, end);
            move(t, p, m, v, at, end);
        }
    }

    private static void means(Step t, MemorySegment g, MemorySegment m, long from, long to) {
        FloatVector clip = FloatVector.broadcast(F, t.clip);
        FloatVector b1 = FloatVector.broadcast(F, t.b1);
        FloatVector c1 = FloatVector.broadcast(F, t.oneMinusB1);
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            store(load(m, i).mul(b1).add(load(g, i).mul(clip).mul(c1)), m, i);
        }
        for (; i < to; i++) {
            float grad = g.get(FLOAT, i * 4) * t.clip;
            m.set(FLOAT, i * 4, m.get(FLOAT, i * 4) * t.b1 + grad * t.oneMinusB1);
        }
    }

    private static void squares(Step t, MemorySegment g, MemorySegment v, long from, long to) {
        FloatVector clip = FloatVector.broadcast(F, t.clip);
        FloatVector b2 = FloatVector.broadcast(F, t.b2);
        FloatVector c2 = FloatVector.broadcast(F, t.oneMinusB2);
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            FloatVector grad = load(g, i).mul(clip);
            store(load(v, i).mul(b2).add(grad.mul(grad).mul(c2)), v, i);
        }
        for (; i < to; i++) {
            float grad = g.get(FLOAT, i * 4) * t.clip;
            v.set(FLOAT, i * 4, v.get(FLOAT, i * 4) * t.b2 + grad * grad * t.oneMinusB2);
        }
    }

    private static void move(Step t, MemorySegment p, MemorySegment m, MemorySegment v, long from, long to) {
        FloatVector keep = FloatVector.broadcast(F, t.keep);
        FloatVector rate = FloatVector.broadcast(F, -t.rate);
        FloatVector root = FloatVector.broadcast(F, t.root);
        FloatVector eps = FloatVector.broadcast(F, t.eps);
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            FloatVector delta = load(m, i).mul(rate).div(load(v, i).sqrt().fma(root, eps));
            store(load(p, i).fma(keep, delta), p, i);
        }
        for (; i < to; i++) {
            float divisor = Math.fma((float) Math.sqrt(v.get(FLOAT, i * 4)), t.root, t.eps);
            float delta = -t.rate * m.get(FLOAT, i * 4) / divisor;
            p.set(FLOAT, i * 4, Math.fma(p.get(FLOAT, i * 4), t.keep, delta));
        }
    }
}
