package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/**
 * The mLSTM session step over (row, head) pairs. An instance is filled in by one caller at a time and then only read, so that its range
 * can be run by several workers without a heap allocation.
 */
final class MlstmStep implements Workers.Range {
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    /** Value columns one pass over the matrix state covers. */
    static final int BLOCK = 4 * LANES;

    private boolean exponential;
    private boolean normalize;
    private float eps;
    private FoldSchedule schedule;
    private int layer;
    private int tokens;
    private int heads;
    private int dimQk;
    private int dimHv;
    private int ring;
    private float scale;
    private Tensor slots;
    private Tensor counts;
    private Tensor ringLength;
    private Tensor folded;
    private MemorySegment matC;
    private MemorySegment vecN;
    private MemorySegment scaM;
    private MemorySegment ringK;
    private MemorySegment ringV;
    private MemorySegment ringI;
    private MemorySegment ringF;
    private MemorySegment q;
    private MemorySegment k;
    private MemorySegment v;
    private MemorySegment i;
    private MemorySegment f;
    private MemorySegment h;

    MlstmStep with(
            MlstmSpec spec,
            FoldSchedule schedule,
            int layer,
            MlstmSlots state,
            Tensor slots,
            Tensor counts,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            Tensor h,
            int tokens,
            int heads,
            int dimQk,
            int dimHv,
            int ring) {
        exponential = spec.inputGate() == MlstmSpec.InputGate.EXPONENTIAL;
        normalize = spec.normalize();
        eps = spec.eps();
        this.schedule = schedule;
        this.layer = layer;
        this.tokens = tokens;
        this.heads = heads;
        this.dimQk = dimQk;
        this.dimHv = dimHv;
        this.ring = ring;
        scale = (float) (1 / Math.sqrt(dimQk));
        this.slots = slots;
        this.counts = counts;
        ringLength = state.ringLength();
        folded = state.folded();
        matC = state.matC().segment();
        vecN = state.vecN().segment();
        scaM = state.scaM().segment();
        ringK = state.ringK().segment();
        ringV = state.ringV().segment();
        ringI = state.ringI().segment();
        ringF = state.ringF().segment();
        this.q = q.segment();
        this.k = k.segment();
        this.v = v.segment();
        this.i = i.segment();
        this.f = f.segment();
        this.h = h.segment();
        return this;
    }

    @Override
    public void run(int from, int to) {
        StepScratch w = StepScratch.get();
        w.reserve(tokens, ring, dimQk, 0);
        for (int unit = from; unit < to; unit++) {
            int row = unit / heads;
            int n = counts.getInt(row);
            if (n > 0) {
                one(w, row, unit % heads, n);
            }
        }
    }

    private void one(StepScratch w, int row, int head, int n) {
        prepare(w, row, head, n);
        columns(w, row, head, n, 0, dimHv);
        commit(w, row, head, n);
    }

    /** Everything of the step of one (row, head) that does not depend on the value column: what it leaves in {@code w} serves {@link #columns}. */
    void prepare(StepScratch w, int row, int head, int n) {
        int cell = slots.getInt(row) * heads + head;
        int held = ringLength.getInt(cell);
        boolean hasC = folded.getInt(cell) != 0;
        int limit = hasC ? schedule.period() : schedule.firstOf(layer * heads + head);
        w.folding = held > 0 && held + n > limit ? held : 0;
        w.keep = 0;
        if (w.folding > 0) {
            w.keep = prepareFold(w, cell, w.folding, hasC);
            held = 0;
        }
        w.held = held;
        w.hasState = hasC || w.folding > 0;
        long first = first(row, head, n);
        append(cell, held, n, first);
        weigh(w, cell, held, n, first, w.hasState);
    }

    /** Row of the first new token in q, k, v and h. */
    private long first(int row, int head, int n) {
        return ((long) row * tokens + tokens - n) * heads + head;
    }

    /** Value columns {@code from} to {@code to} of the answers; from is a multiple of {@link #BLOCK}. */
    void columns(StepScratch w, int row, int head, int n, int from, int to) {
        int cell = slots.getInt(row) * heads + head;
        int folding = w.folding;
        int held = w.held;
        float keep = w.keep;
        long first = first(row, head, n);
        long cAt = 4L * cell * dimQk * dimHv;
        long vAt = 4L * cell * ring * dimHv;
        if (w.hasState && (folding == 0 || keep != 0)) {
            ReadAhead.touchRows(matC, cAt + 4L * from, dimQk, 4L * dimHv, 4L * (to - from));
        }
        for (int col = from; col < to; ) {
            boolean wide = col + BLOCK <= dimHv;
            int width = wide ? BLOCK : Math.min(LANES, dimHv - col);
            long c = cAt + 4L * col;
            long ringAt = vAt + 4L * col;
            if (folding > 0) {
                if (wide) {
                    fold4(matC, c, 4L * dimHv, dimQk, keep, w.foldKeys, ringV, ringAt, folding);
                } else {
                    fold1(
                            matC,
                            c,
                            4L * dimHv,
                            dimQk,
                            keep,
                            w.foldKeys,
                            ringV,
                            ringAt,
                            folding,
                            VectorMath.first(width));
                }
            }
            for (int t = 0; t < n; t++) {
                MemorySegment.copy(
                        v,
                        4 * ((first + (long) t * heads) * dimHv + col),
                        ringV,
                        ringAt + 4L * (held + t) * dimHv,
                        4L * width);
            }
            answer(w, c, ringAt, w.hasState ? dimQk : 0, held, n, first, col, wide, width);
            col += width;
        }
    }

    /** Counts the new tokens and the fold once all columns are done. */
    void commit(StepScratch w, int row, int head, int n) {
        int cell = slots.getInt(row) * heads + head;
        ringLength.setInt(cell, w.held + n);
        if (w.folding > 0) {
            folded.setInt(cell, 1);
        }
    }

    /** Stabiliser, normaliser and weighted keys for folding the ring's {@code held} tokens. @return the old state's factor */
    private float prepareFold(StepScratch w, int cell, int held, boolean hasC) {
        gateSums(w, cell, held);
        float m0 = scaM.get(FLOAT, 4L * cell);
        double total = w.sums[held - 1];
        double top = exponential ? total + m0 : 0;
        for (int s = 0; s < held && exponential; s++) {
            top = Math.max(top, total - w.sums[s] + w.inputs[s]);
        }
        float m = (float) top;
        double keep = hasC ? Math.exp(total + m0 - m) : 0;
        long n = 4L * cell * dimQk;
        for (int d = 0; d < dimQk; d++) {
            w.normaliser[d] = hasC ? keep * vecN.get(FLOAT, n + 4L * d) : 0;
        }
        for (int s = 0; s < held; s++) {
            double write = Math.exp(total - w.sums[s] + w.inputs[s] - m);
            long key = 4L * ((long) cell * ring + s) * dimQk;
            scaleKey(ringK, key, (float) write, w.foldKeys, s * dimQk, dimQk);
            addKey(ringK, key, write, w.normaliser, dimQk);
        }
        for (int d = 0; d < dimQk; d++) {
            vecN.set(FLOAT, n + 4L * d, (float) w.normaliser[d]);
        }
        scaM.set(FLOAT, 4L * cell, exponential ? m : 0f);
        return (float) keep;
    }

    private static void scaleKey(MemorySegment src, long at, float factor, float[] dst, int to, int n) {
        FloatVector w = FloatVector.broadcast(F, factor);
        int d = 0;
        for (; d + LANES <= n; d += LANES) {
            FloatVector.fromMemorySegment(F, src, at + 4L * d, LE).mul(w).intoArray(dst, to + d);
        }
        for (; d < n; d++) {
            dst[to + d] = src.get(FLOAT, at + 4L * d) * factor;
        }
    }

    /** Cumulative log forget gates and log input gates of ring tokens 0..held-1. */
    private void gateSums(StepScratch w, int cell, int held) {
        long at = 4L * cell * ring;
        double sum = 0;
        for (int s = 0; s < held; s++) {
            sum += ringF.get(FLOAT, at + 4L * s);
            w.sums[s] = sum;
            float gate = ringI.get(FLOAT, at + 4L * s);
            w.inputs[s] = exponential ? gate : VectorMath.logSigmoid((double) gate);
        }
    }

    /** Keys and gates of the new tokens into the ring; values follow column block by column block. */
    private void append(int cell, int held, int n, long first) {
        for (int t = 0; t < n; t++) {
            long from = first + (long) t * heads;
            long to = (long) cell * ring + held + t;
            MemorySegment.copy(k, 4 * from * dimQk, ringK, 4 * to * dimQk, 4L * dimQk);
            ringI.set(FLOAT, 4 * to, i.get(FLOAT, 4 * from));
            ringF.set(FLOAT, 4 * to, (float) VectorMath.logSigmoid((double) f.get(FLOAT, 4 * from)));
        }
    }

    /** Weights of state and ring in the answers to the n newest of held + n ring tokens, and the answers' divisors. */
    private void weigh(StepScratch w, int cell, int held, int n, long first, boolean hasC) {
        int all = held + n;
        gateSums(w, cell, all);
        float m0 = scaM.get(FLOAT, 4L * cell);
        double before = held == 0 ? 0 : w.sums[held - 1];
        double m = exponential ? before + m0 : 0;
        for (int s = 0; s < held && exponential; s++) {
            m = Math.max(m, before - w.sums[s] + w.inputs[s]);
        }
        normaliserBefore(w, cell, held, hasC ? before + m0 - m : Double.NEGATIVE_INFINITY, before - m);
        int pitch = (all + LANES - 1) / LANES * LANES;
        for (int t = 0; t < n; t++) {
            int at = held + t;
            double lf = ringF.get(FLOAT, 4 * ((long) cell * ring + at));
            double kept = lf + m;
            double next = exponential ? Math.max(kept, w.inputs[at]) : 0;
            long query = 4 * (first + (long) t * heads) * dimQk;
            long key = 4 * ((long) cell * ring + at) * dimQk;
            double den = scale
                    * advance(
                            ringK,
                            key,
                            q,
                            query,
                            Math.exp(kept - next),
                            Math.exp(w.inputs[at] - next),
                            w.normaliser,
                            dimQk);
            float floor = exponential ? (float) Math.exp(-next) : 1f;
            w.divisors[t] = normalize ? Math.max(Math.abs((float) den), floor) + eps : 1f;
            double base = w.sums[at] - next;
            int row = t * pitch;
            for (int s = 0; s <= at; s++) {
                w.weights[row + s] = (float) (base - w.sums[s] + w.inputs[s]);
            }
            expInPlace(w.weights, row, row + pitch);
            scores(q, query, ringK, 4L * cell * ring * dimQk, dimQk, at + 1, scale, w.weights, row, w.partial);
            for (int s = at + 1; s < all; s++) {
                w.weights[row + s] = 0;
            }
            if (hasC) {
                scaleKey(q, query, (float) (scale * Math.exp(w.sums[at] + m0 - next)), w.queries, t * dimQk, dimQk);
            }
            m = next;
        }
    }

    private static void expInPlace(float[] x, int from, int to) {
        for (int j = from; j < to; j += LANES) {
            VectorMath.exp(FloatVector.fromArray(F, x, j)).intoArray(x, j);
        }
    }

    /** Normaliser at ring token held - 1 under the running stabiliser, fp64: n e^state + sum of k_s e^(rest - sums_s + inputs_s). */
    private void normaliserBefore(StepScratch w, int cell, int held, double state, double rest) {
        double keep = Math.exp(state);
        long n = 4L * cell * dimQk;
        for (int d = 0; d < dimQk; d++) {
            w.normaliser[d] = keep == 0 ? 0 : keep * vecN.get(FLOAT, n + 4L * d);
        }
        for (int s = 0; s < held; s++) {
            double write = Math.exp(rest - w.sums[s] + w.inputs[s]);
            addKey(ringK, 4 * ((long) cell * ring + s) * dimQk, write, w.normaliser, dimQk);
        }
    }

    private static void addKey(MemorySegment keys, long at, double write, double[] sum, int n) {
        int d = 0;
        for (; d + DoubleMath.LANES <= n; d += DoubleMath.LANES) {
            ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, keys, at + 4L * d, LE)
                            .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                    .fma(DoubleVector.broadcast(DoubleMath.D, write), DoubleVector.fromArray(DoubleMath.D, sum, d))
                    .intoArray(sum, d);
        }
        for (; d < n; d++) {
            sum[d] = Math.fma(write, keys.get(FLOAT, at + 4L * d), sum[d]);
        }
    }

    /** n = keep n + write k. @return q . n */
    private static double advance(
            MemorySegment keys,
            long key,
            MemorySegment q,
            long query,
            double keep,
            double write,
            double[] normaliser,
            int n) {
        DoubleVector g = DoubleVector.broadcast(DoubleMath.D, keep);
        DoubleVector in = DoubleVector.broadcast(DoubleMath.D, write);
        DoubleVector sum = DoubleVector.zero(DoubleMath.D);
        int d = 0;
        for (; d + DoubleMath.LANES <= n; d += DoubleMath.LANES) {
            DoubleVector x = DoubleVector.fromArray(DoubleMath.D, normaliser, d).mul(g);
            x = ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, keys, key + 4L * d, LE)
                            .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                    .fma(in, x);
            x.intoArray(normaliser, d);
            sum = ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, q, query + 4L * d, LE)
                            .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                    .fma(x, sum);
        }
        double den = DoubleMath.sum(sum);
        for (; d < n; d++) {
            normaliser[d] = Math.fma(write, keys.get(FLOAT, key + 4L * d), keep * normaliser[d]);
            den += normaliser[d] * q.get(FLOAT, query + 4L * d);
        }
        return den;
    }

    /** weights[from + s] *= scale * q . key_s for s below {@code count}, four keys at a time. */
    private static void scores(
            MemorySegment q,
            long query,
            MemorySegment keys,
            long key,
            int n,
            int count,
            float scale,
            float[] weights,
            int from,
            float[] partial) {
        int whole = n / LANES * LANES;
        long pitch = 4L * n;
        for (int s = 0; s < count; s += 4) {
            int width = Math.min(4, count - s);
            long p = key + s * pitch;
            if (width == 4) {
                dot4(q, query, keys, p, pitch, whole, partial);
            } else {
                for (int j = 0; j < width; j++) {
                    dot1(q, query, keys, p + j * pitch, whole, partial, j * LANES);
                }
            }
            for (int j = 0; j < width; j++) {
                float dot = VectorMath.foldLanes(partial, j * LANES);
                for (int d = whole; d < n; d++) {
                    dot = Math.fma(q.get(FLOAT, query + 4L * d), keys.get(FLOAT, p + j * pitch + 4L * d), dot);
                }
                weights[from + s + j] *= scale * dot;
            }
        }
    }

    private static void dot4(
            MemorySegment q, long query, MemorySegment keys, long p, long pitch, int whole, float[] partial) {
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector s2 = FloatVector.zero(F);
        FloatVector s3 = FloatVector.zero(F);
        for (long o = 0; o < 4L * whole; o += 4L * LANES) {
            FloatVector x = FloatVector.fromMemorySegment(F, q, query + o, LE);
            s0 = x.fma(FloatVector.fromMemorySegment(F, keys, p + o, LE), s0);
            s1 = x.fma(FloatVector.fromMemorySegment(F, keys, p + pitch + o, LE), s1);
            s2 = x.fma(FloatVector.fromMemorySegment(F, keys, p + 2 * pitch + o, LE), s2);
            s3 = x.fma(FloatVector.fromMemorySegment(F, keys, p + 3 * pitch + o, LE), s3);
        }
        s0.intoArray(partial, 0);
        s1.intoArray(partial, LANES);
        s2.intoArray(partial, 2 * LANES);
        s3.intoArray(partial, 3 * LANES);
    }

    private static void dot1(
            MemorySegment q, long query, MemorySegment keys, long p, int whole, float[] partial, int to) {
        FloatVector sum = FloatVector.zero(F);
        for (long o = 0; o < 4L * whole; o += 4L * LANES) {
            sum = FloatVector.fromMemorySegment(F, q, query + o, LE)
                    .fma(FloatVector.fromMemorySegment(F, keys, p + o, LE), sum);
        }
        sum.intoArray(partial, to);
    }

    /** One column block of the matrix state: C = keep C + keys^T values, C unread where keep is 0. */
    private static void fold4(
            MemorySegment c,
            long at,
            long pitch,
            int rows,
            float keep,
            float[] keys,
            MemorySegment values,
            long va,
            int held) {
        float factor = keep;
        if (keep == 0) {
            for (int d = 0; d < rows; d++) {
                clear(c, at + d * pitch);
            }
            factor = 1;
        }
        int d = 0;
        for (; d + 2 <= rows; d += 2) {
            foldRows(c, at + d * pitch, at + (d + 1) * pitch, factor, keys, d, d + 1, rows, values, va, pitch, held);
        }
        if (d < rows) {
            foldRow(c, at + d * pitch, factor, keys, d, rows, values, va, pitch, held);
        }
    }

    private static void clear(MemorySegment c, long o) {
        for (int part = 0; part < 4; part++) {
            FloatVector.zero(F).intoMemorySegment(c, o + 4L * LANES * part, LE);
        }
    }

    /** Two rows of a block at once: every value is loaded once for both. */
    private static void foldRows(
            MemorySegment c,
            long oa,
            long ob,
            float keep,
            float[] keys,
            int ka,
            int kb,
            int rows,
            MemorySegment values,
            long va,
            long pitch,
            int held) {
        FloatVector g = FloatVector.broadcast(F, keep);
        FloatVector a0 = FloatVector.fromMemorySegment(F, c, oa, LE).mul(g);
        FloatVector a1 =
                FloatVector.fromMemorySegment(F, c, oa + 4L * LANES, LE).mul(g);
        FloatVector a2 =
                FloatVector.fromMemorySegment(F, c, oa + 8L * LANES, LE).mul(g);
        FloatVector a3 =
                FloatVector.fromMemorySegment(F, c, oa + 12L * LANES, LE).mul(g);
        FloatVector b0 = FloatVector.fromMemorySegment(F, c, ob, LE).mul(g);
        FloatVector b1 =
                FloatVector.fromMemorySegment(F, c, ob + 4L * LANES, LE).mul(g);
        FloatVector b2 =
                FloatVector.fromMemorySegment(F, c, ob + 8L * LANES, LE).mul(g);
        FloatVector b3 =
                FloatVector.fromMemorySegment(F, c, ob + 12L * LANES, LE).mul(g);
        long u = va;
        for (int s = 0; s < held; s++) {
            FloatVector x = FloatVector.broadcast(F, keys[s * rows + ka]);
            FloatVector y = FloatVector.broadcast(F, keys[s * rows + kb]);
            FloatVector w = FloatVector.fromMemorySegment(F, values, u, LE);
            a0 = x.fma(w, a0);
            b0 = y.fma(w, b0);
            w = FloatVector.fromMemorySegment(F, values, u + 4L * LANES, LE);
            a1 = x.fma(w, a1);
            b1 = y.fma(w, b1);
            w = FloatVector.fromMemorySegment(F, values, u + 8L * LANES, LE);
            a2 = x.fma(w, a2);
            b2 = y.fma(w, b2);
            w = FloatVector.fromMemorySegment(F, values, u + 12L * LANES, LE);
            a3 = x.fma(w, a3);
            b3 = y.fma(w, b3);
            u += pitch;
        }
        a0.intoMemorySegment(c, oa, LE);
        a1.intoMemorySegment(c, oa + 4L * LANES, LE);
        a2.intoMemorySegment(c, oa + 8L * LANES, LE);
        a3.intoMemorySegment(c, oa + 12L * LANES, LE);
        b0.intoMemorySegment(c, ob, LE);
        b1.intoMemorySegment(c, ob + 4L * LANES, LE);
        b2.intoMemorySegment(c, ob + 8L * LANES, LE);
        b3.intoMemorySegment(c, ob + 12L * LANES, LE);
    }

    private static void foldRow(
            MemorySegment c,
            long o,
            float keep,
            float[] keys,
            int k,
            int rows,
            MemorySegment values,
            long va,
            long pitch,
            int held) {
        for (int part = 0; part < 4; part++) {
            long p = o + 4L * LANES * part;
            FloatVector sum = FloatVector.fromMemorySegment(F, c, p, LE).mul(keep);
            for (int s = 0; s < held; s++) {
                sum = FloatVector.fromMemorySegment(F, values, va + s * pitch + 4L * LANES * part, LE)
                        .fma(FloatVector.broadcast(F, keys[s * rows + k]), sum);
            }
            sum.intoMemorySegment(c, p, LE);
        }
    }

    private static void fold1(
            MemorySegment c,
            long at,
            long pitch,
            int rows,
            float keep,
            float[] keys,
            MemorySegment values,
            long va,
            int held,
            VectorMask<Float> mask) {
        for (int d = 0; d < rows; d++) {
            long o = at + d * pitch;
            FloatVector sum = FloatVector.zero(F);
            for (int s = 0; s < held; s++) {
                sum = FloatVector.fromMemorySegment(F, values, va + s * pitch, LE, mask)
                        .fma(FloatVector.broadcast(F, keys[s * rows + d]), sum);
            }
            if (keep != 0) {
                sum = FloatVector.fromMemorySegment(F, c, o, LE, mask).fma(FloatVector.broadcast(F, keep), sum);
            }
            sum.intoMemorySegment(c, o, LE, mask);
        }
    }

    /** h of one column block: queries C + weights V, over the divisor. */
    private void answer(
            StepScratch w,
            long c,
            long values,
            int rows,
            int held,
            int n,
            long first,
            int col,
            boolean wide,
            int width) {
        long pitch = 4L * dimHv;
        int all = held + n;
        int step = (all + LANES - 1) / LANES * LANES;
        int t = 0;
        if (wide) {
            for (; t + 3 <= n; t += 3) {
                three(w, c, values, pitch, rows, all, step, t, first, col);
            }
            for (; t < n; t++) {
                single(w, c, values, pitch, rows, all, step, t, first, col);
            }
            return;
        }
        VectorMask<Float> mask = VectorMath.first(width);
        for (; t < n; t++) {
            FloatVector sum = FloatVector.zero(F);
            for (int d = 0; d < rows; d++) {
                sum = FloatVector.fromMemorySegment(F, matC, c + d * pitch, LE, mask)
                        .fma(FloatVector.broadcast(F, w.queries[t * dimQk + d]), sum);
            }
            for (int s = 0; s < all; s++) {
                sum = FloatVector.fromMemorySegment(F, ringV, values + s * pitch, LE, mask)
                        .fma(FloatVector.broadcast(F, w.weights[t * step + s]), sum);
            }
            sum.div(FloatVector.broadcast(F, w.divisors[t])).intoMemorySegment(h, out(first, t, col), LE, mask);
        }
    }

    private long out(long first, int t, int col) {
        return 4 * ((first + (long) t * heads) * dimHv + col);
    }

    private void single(
            StepScratch w, long c, long values, long pitch, int rows, int all, int step, int t, long first, int col) {
        long o = out(first, t, col);
        FloatVector zero = FloatVector.zero(F);
        for (int part = 0; part < 4; part++) {
            zero.intoMemorySegment(h, o + 4L * LANES * part, LE);
        }
        accumulate1(matC, c, pitch, rows, w.queries, t * dimQk, h, o);
        accumulate1(ringV, values, pitch, all, w.weights, t * step, h, o);
        divide(h, o, w.divisors[t]);
    }

    private void three(
            StepScratch w, long c, long values, long pitch, int rows, int all, int step, int t, long first, int col) {
        for (int u = t; u < t + 3; u++) {
            long o = out(first, u, col);
            FloatVector zero = FloatVector.zero(F);
            for (int part = 0; part < 4; part++) {
                zero.intoMemorySegment(h, o + 4L * LANES * part, LE);
            }
        }
        long o0 = out(first, t, col);
        long o1 = out(first, t + 1, col);
        long o2 = out(first, t + 2, col);
        accumulate3(matC, c, pitch, rows, w.queries, t * dimQk, dimQk, h, o0, o1, o2);
        accumulate3(ringV, values, pitch, all, w.weights, t * step, step, h, o0, o1, o2);
        divide(h, o0, w.divisors[t]);
        divide(h, o1, w.divisors[t + 1]);
        divide(h, o2, w.divisors[t + 2]);
    }

    private static void divide(MemorySegment x, long o, float divisor) {
        FloatVector d = FloatVector.broadcast(F, divisor);
        for (int part = 0; part < 4; part++) {
            long at = o + 4L * LANES * part;
            FloatVector.fromMemorySegment(F, x, at, LE).div(d).intoMemorySegment(x, at, LE);
        }
    }

    /** One token's block: out += sum over rows of a[r] * m[r,:]. */
    private static void accumulate1(
            MemorySegment m, long at, long pitch, int rows, float[] a, int from, MemorySegment out, long o) {
        FloatVector s0 = FloatVector.fromMemorySegment(F, out, o, LE);
        FloatVector s1 = FloatVector.fromMemorySegment(F, out, o + 4L * LANES, LE);
        FloatVector s2 = FloatVector.fromMemorySegment(F, out, o + 8L * LANES, LE);
        FloatVector s3 = FloatVector.fromMemorySegment(F, out, o + 12L * LANES, LE);
        long p = at;
        for (int r = 0; r < rows; r++) {
            FloatVector w = FloatVector.broadcast(F, a[from + r]);
            s0 = w.fma(FloatVector.fromMemorySegment(F, m, p, LE), s0);
            s1 = w.fma(FloatVector.fromMemorySegment(F, m, p + 4L * LANES, LE), s1);
            s2 = w.fma(FloatVector.fromMemorySegment(F, m, p + 8L * LANES, LE), s2);
            s3 = w.fma(FloatVector.fromMemorySegment(F, m, p + 12L * LANES, LE), s3);
            p += pitch;
        }
        s0.intoMemorySegment(out, o, LE);
        s1.intoMemorySegment(out, o + 4L * LANES, LE);
        s2.intoMemorySegment(out, o + 8L * LANES, LE);
        s3.intoMemorySegment(out, o + 12L * LANES, LE);
    }

    /** Three tokens' blocks at once: every row of the matrix is loaded once. */
    private static void accumulate3(
            MemorySegment m,
            long at,
            long pitch,
            int rows,
            float[] a,
            int from,
            int step,
            MemorySegment out,
            long o0,
            long o1,
            long o2) {
        FloatVector a0 = FloatVector.fromMemorySegment(F, out, o0, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, out, o0 + 4L * LANES, LE);
        FloatVector a2 = FloatVector.fromMemorySegment(F, out, o0 + 8L * LANES, LE);
        FloatVector a3 = FloatVector.fromMemorySegment(F, out, o0 + 12L * LANES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, out, o1, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, out, o1 + 4L * LANES, LE);
        FloatVector b2 = FloatVector.fromMemorySegment(F, out, o1 + 8L * LANES, LE);
        FloatVector b3 = FloatVector.fromMemorySegment(F, out, o1 + 12L * LANES, LE);
        FloatVector c0 = FloatVector.fromMemorySegment(F, out, o2, LE);
        FloatVector c1 = FloatVector.fromMemorySegment(F, out, o2 + 4L * LANES, LE);
        FloatVector c2 = FloatVector.fromMemorySegment(F, out, o2 + 8L * LANES, LE);
        FloatVector c3 = FloatVector.fromMemorySegment(F, out, o2 + 12L * LANES, LE);
        long p = at;
        for (int r = from; r < from + rows; r++) {
            FloatVector x = FloatVector.broadcast(F, a[r]);
            FloatVector y = FloatVector.broadcast(F, a[r + step]);
            FloatVector z = FloatVector.broadcast(F, a[r + 2 * step]);
            FloatVector w = FloatVector.fromMemorySegment(F, m, p, LE);
            a0 = x.fma(w, a0);
            b0 = y.fma(w, b0);
            c0 = z.fma(w, c0);
            w = FloatVector.fromMemorySegment(F, m, p + 4L * LANES, LE);
            a1 = x.fma(w, a1);
            b1 = y.fma(w, b1);
            c1 = z.fma(w, c1);
            w = FloatVector.fromMemorySegment(F, m, p + 8L * LANES, LE);
            a2 = x.fma(w, a2);
            b2 = y.fma(w, b2);
            c2 = z.fma(w, c2);
            w = FloatVector.fromMemorySegment(F, m, p + 12L * LANES, LE);
            a3 = x.fma(w, a3);
            b3 = y.fma(w, b3);
            c3 = z.fma(w, c3);
            p += pitch;
        }
        a0.intoMemorySegment(out, o0, LE);
        a1.intoMemorySegment(out, o0 + 4L * LANES, LE);
        a2.intoMemorySegment(out, o0 + 8L * LANES, LE);
        a3.intoMemorySegment(out, o0 + 12L * LANES, LE);
        b0.intoMemorySegment(out, o1, LE);
        b1.intoMemorySegment(out, o1 + 4L * LANES, LE);
        b2.intoMemorySegment(out, o1 + 8L * LANES, LE);
        b3.intoMemorySegment(out, o1 + 12L * LANES, LE);
        c0.intoMemorySegment(out, o2, LE);
        c1.intoMemorySegment(out, o2 + 4L * LANES, LE);
        c2.intoMemorySegment(out, o2 + 8L * LANES, LE);
        c3.intoMemorySegment(out, o2 + 12L * LANES, LE);
    }
}
