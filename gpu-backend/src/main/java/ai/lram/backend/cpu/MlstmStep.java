package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.GemmTile.HEIGHT;
import static ai.lram.backend.cpu.GemmTile.WIDTH;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
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

    /** Those of a pass over what is left of a head that is no multiple of it. */
    private static final int HALF = 2 * LANES;

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
        long keys = 4L * cell * ring * dimQk;
        ReadAhead.touch(ringK, keys, keys + 4L * held * dimQk);
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

    /** Value columns {@code from} to {@code to} of the answers; from is a multiple of {@link #BLOCK}, to is one or the last. */
    void columns(StepScratch w, int row, int head, int n, int from, int to) {
        int cell = slots.getInt(row) * heads + head;
        long first = first(row, head, n);
        int read = w.folding > 0 ? w.folding : w.held;
        ReadAhead.touchRows(ringV, 4 * ((long) cell * ring * dimHv + from), read, 4L * dimHv, 4L * (to - from));
        if (w.hasState && (w.folding == 0 || w.keep != 0)) {
            ReadAhead.touchRows(matC, 4 * ((long) cell * dimQk * dimHv + from), dimQk, 4L * dimHv, 4L * (to - from));
        }
        if (w.folding > 0) {
            fold(w, cell, from, to);
        }
        for (int t = 0; t < n; t++) {
            MemorySegment.copy(
                    v,
                    4 * ((first + (long) t * heads) * dimHv + from),
                    ringV,
                    4 * (((long) cell * ring + w.held + t) * dimHv + from),
                    4L * (to - from));
        }
        answer(w, cell, n, first, from, to);
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
        normaliser(w, cell, held, keep, total - m);
        packKeys(ringK, 4L * cell * ring * dimQk, dimQk, held, w.writes, w.foldKeys);
        long n = 4L * cell * dimQk;
        for (int d = 0; d < dimQk; d++) {
            vecN.set(FLOAT, n + 4L * d, (float) w.normaliser[d]);
        }
        scaM.set(FLOAT, 4L * cell, exponential ? m : 0f);
        return (float) keep;
    }

    /**
     * Keys of the ring, each times its weight, as the left panels of {@link GemmTile}. A vector may reach over the end of its row: the next
     * token's row, or the next panel, is written later.
     */
    private static void packKeys(MemorySegment keys, long at, int n, int held, double[] writes, float[] panels) {
        for (int d = 0; d < n; d += HEIGHT) {
            for (int j = 0; j < HEIGHT && d + j < n; j += LANES) {
                long from = at + 4L * (d + j);
                int to = d * held + j;
                if (d + j + LANES <= n) {
                    for (int s = 0; s < held; s++) {
                        FloatVector.fromMemorySegment(F, keys, from + 4L * s * n, LE)
                                .mul((float) writes[s])
                                .intoArray(panels, to + s * HEIGHT);
                    }
                } else {
                    VectorMask<Float> rest = VectorMath.first(n - d - j);
                    for (int s = 0; s < held; s++) {
                        FloatVector.fromMemorySegment(F, keys, from + 4L * s * n, LE, rest)
                                .mul((float) writes[s])
                                .intoArray(panels, to + s * HEIGHT);
                    }
                }
            }
        }
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
        normaliser(w, cell, held, hasC ? Math.exp(before + m0 - m) : 0, before - m);
        int pitch = (all + LANES - 1) / LANES * LANES;
        dots(w, cell, n, all, first, pitch);
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
                            dimQk,
                            w.lanes);
            float floor = exponential ? (float) Math.exp(-next) : 1f;
            w.divisors[t] = normalize ? Math.max(Math.abs((float) den), floor) + eps : 1f;
            double base = w.sums[at] - next;
            int row = t * pitch;
            for (int s = 0; s <= at; s++) {
                w.weights[row + s] = (float) (base - w.sums[s] + w.inputs[s]);
            }
            VectorMath.expTimes(w.weights, row, row + pitch, scale, w.dots);
            for (int s = at + 1; s < all; s++) {
                w.weights[row + s] = 0;
            }
            if (hasC) {
                scaleKey(q, query, (float) (scale * Math.exp(w.sums[at] + m0 - next)), w.queries, t * dimQk, dimQk);
            }
            m = next;
        }
    }

    /** Products of the n new queries with all keys of the ring, a query's from float t * pitch on. */
    private void dots(StepScratch w, int cell, int n, int all, long first, int pitch) {
        int blocks = (all + FewRows.BLOCK - 1) / FewRows.BLOCK;
        long keys = (long) cell * ring * dimQk;
        FewRows.multiply(
                n,
                all,
                dimQk,
                q,
                first * dimQk,
                (long) heads * dimQk,
                ringK,
                keys,
                null,
                0,
                w.dots,
                0,
                pitch,
                0,
                blocks);
    }

    /** Normaliser after ring token held - 1, fp64: keep n + sum of k_s e^(rest - sums_s + inputs_s), whose factors stay in {@code w.writes}. */
    private void normaliser(StepScratch w, int cell, int held, double keep, double rest) {
        for (int s = 0; s < held; s++) {
            w.writes[s] = Math.exp(rest - w.sums[s] + w.inputs[s]);
        }
        sumKeys(vecN, 4L * cell * dimQk, keep, ringK, 4L * cell * ring * dimQk, held, w.writes, w.normaliser, dimQk);
    }

    /** sum = keep n + writes keys, n unread where keep is 0. One method with all its vectors: helpers would be boxed where it is inlined late. */
    private static void sumKeys(
            MemorySegment n,
            long nAt,
            double keep,
            MemorySegment keys,
            long at,
            int held,
            double[] writes,
            double[] sum,
            int size) {
        int whole = size - size % DoubleMath.LANES;
        if (keep == 0) {
            Arrays.fill(sum, 0, size, 0);
        } else {
            DoubleVector g = DoubleVector.broadcast(DoubleMath.D, keep);
            for (int d = 0; d < whole; d += DoubleMath.LANES) {
                ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, n, nAt + 4L * d, LE)
                                .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                        .mul(g)
                        .intoArray(sum, d);
            }
            for (int d = whole; d < size; d++) {
                sum[d] = keep * n.get(FLOAT, nAt + 4L * d);
            }
        }
        int s = 0;
        for (; s + 4 <= held; s += 4) {
            DoubleVector w0 = DoubleVector.broadcast(DoubleMath.D, writes[s]);
            DoubleVector w1 = DoubleVector.broadcast(DoubleMath.D, writes[s + 1]);
            DoubleVector w2 = DoubleVector.broadcast(DoubleMath.D, writes[s + 2]);
            DoubleVector w3 = DoubleVector.broadcast(DoubleMath.D, writes[s + 3]);
            long o = at + 4L * s * size;
            for (int d = 0; d < whole; d += DoubleMath.LANES) {
                DoubleVector x = DoubleVector.fromArray(DoubleMath.D, sum, d);
                x = ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, keys, o, LE)
                                .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                        .fma(w0, x);
                x = ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, keys, o + 4L * size, LE)
                                .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                        .fma(w1, x);
                x = ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, keys, o + 8L * size, LE)
                                .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                        .fma(w2, x);
                x = ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, keys, o + 12L * size, LE)
                                .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                        .fma(w3, x);
                x.intoArray(sum, d);
                o += 4L * DoubleMath.LANES;
            }
        }
        for (; s < held; s++) {
            DoubleVector w = DoubleVector.broadcast(DoubleMath.D, writes[s]);
            long o = at + 4L * s * size;
            for (int d = 0; d < whole; d += DoubleMath.LANES) {
                ((DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, keys, o, LE)
                                .convertShape(VectorOperators.F2D, DoubleMath.D, 0))
                        .fma(w, DoubleVector.fromArray(DoubleMath.D, sum, d))
                        .intoArray(sum, d);
                o += 4L * DoubleMath.LANES;
            }
        }
        for (int d = whole; d < size; d++) {
            for (int t = 0; t < held; t++) {
                sum[d] = Math.fma(writes[t], keys.get(FLOAT, at + 4L * ((long) t * size + d)), sum[d]);
            }
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
            int n,
            double[] lanes) {
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
        // Not by a helper: where the compiler does not inline it, it boxes the vector.
        sum.intoArray(lanes, 0);
        double den = 0;
        for (int j = 0; j < DoubleMath.LANES; j++) {
            den += lanes[j];
        }
        for (; d < n; d++) {
            normaliser[d] = Math.fma(write, keys.get(FLOAT, key + 4L * d), keep * normaliser[d]);
            den += normaliser[d] * q.get(FLOAT, query + 4L * d);
        }
        return den;
    }

    /** C = keep C + keys^T values for value columns {@code from} to {@code to}; C is unread where keep is 0. */
    private void fold(StepScratch w, int cell, int from, int to) {
        Staging staging = Staging.own();
        int held = w.folding;
        float[] values = staging.packedB(held * WIDTH + LANES);
        long pitch = 4L * dimHv;
        for (int col = from; col < to; col += WIDTH) {
            int width = Math.min(WIDTH, to - col);
            GemmPacking.panel(ringV, (long) cell * ring * dimHv + col, dimHv, held, width, WIDTH, values, 0);
            long at = 4 * ((long) cell * dimQk * dimHv + col);
            for (int d = 0; d < dimQk; d += HEIGHT) {
                GemmTile.multiply(w.foldKeys, d * held, values, 0, held, staging.tile);
                addTile(matC, at + d * pitch, pitch, Math.min(HEIGHT, dimQk - d), width, w.keep, staging.tile);
            }
        }
    }

    private static void addTile(MemorySegment c, long at, long pitch, int rows, int width, float keep, float[] tile) {
        if (width == WIDTH && keep != 0) {
            addWhole(c, at, pitch, rows, keep, tile);
            return;
        }
        for (int j = 0; j < width; j += LANES) {
            VectorMask<Float> lanes = VectorMath.first(Math.min(LANES, width - j));
            for (int i = 0; i < rows; i++) {
                long o = at + i * pitch + 4L * j;
                FloatVector sum = FloatVector.fromArray(F, tile, i * WIDTH + j);
                if (keep != 0) {
                    sum = FloatVector.fromMemorySegment(F, c, o, LE, lanes).fma(FloatVector.broadcast(F, keep), sum);
                }
                sum.intoMemorySegment(c, o, LE, lanes);
            }
        }
    }

    private static void addWhole(MemorySegment c, long at, long pitch, int rows, float keep, float[] tile) {
        FloatVector g = FloatVector.broadcast(F, keep);
        for (int i = 0; i < rows; i++) {
            long o = at + i * pitch;
            FloatVector.fromMemorySegment(F, c, o, LE)
                    .fma(g, FloatVector.fromArray(F, tile, i * WIDTH))
                    .intoMemorySegment(c, o, LE);
            FloatVector.fromMemorySegment(F, c, o + 4L * LANES, LE)
                    .fma(g, FloatVector.fromArray(F, tile, i * WIDTH + LANES))
                    .intoMemorySegment(c, o + 4L * LANES, LE);
        }
    }

    /** h of value columns {@code from} to {@code to}: queries C + weights V, over the divisor; by blocks of four vectors, of two, and single ones. */
    private void answer(StepScratch w, int cell, int n, long first, int from, int to) {
        long c = 4L * cell * dimQk * dimHv;
        long values = 4L * cell * ring * dimHv;
        int rows = w.hasState ? dimQk : 0;
        int all = w.held + n;
        int step = (all + LANES - 1) / LANES * LANES;
        int col = from;
        for (; col + BLOCK <= to; col += BLOCK) {
            int t = 0;
            for (; t + 3 <= n; t += 3) {
                three(w, c + 4L * col, values + 4L * col, 4L * dimHv, rows, all, step, t, first, col);
            }
            for (; t < n; t++) {
                single(w, c + 4L * col, values + 4L * col, 4L * dimHv, rows, all, step, t, first, col);
            }
        }
        for (; n == 3 && col + HALF <= to; col += HALF) {
            threeHalf(w, c + 4L * col, values + 4L * col, 4L * dimHv, rows, all, step, first, col);
        }
        for (; col < to; col += LANES) {
            VectorMask<Float> lanes = VectorMath.first(Math.min(LANES, to - col));
            for (int t = 0; t < n; t++) {
                part(w, c + 4L * col, values + 4L * col, 4L * dimHv, rows, all, step, t, first, col, lanes);
            }
        }
    }

    private void part(
            StepScratch w,
            long c,
            long values,
            long pitch,
            int rows,
            int all,
            int step,
            int t,
            long first,
            int col,
            VectorMask<Float> lanes) {
        FloatVector even = FloatVector.zero(F);
        FloatVector odd = FloatVector.zero(F);
        int query = t * dimQk;
        int d = 0;
        for (; d + 1 < rows; d += 2) {
            even = FloatVector.fromMemorySegment(F, matC, c + d * pitch, LE, lanes)
                    .fma(FloatVector.broadcast(F, w.queries[query + d]), even);
            odd = FloatVector.fromMemorySegment(F, matC, c + (d + 1) * pitch, LE, lanes)
                    .fma(FloatVector.broadcast(F, w.queries[query + d + 1]), odd);
        }
        FloatVector sum = even.add(odd);
        if (d < rows) {
            sum = FloatVector.fromMemorySegment(F, matC, c + d * pitch, LE, lanes)
                    .fma(FloatVector.broadcast(F, w.queries[query + d]), sum);
        }
        for (int s = 0; s < all; s++) {
            sum = FloatVector.fromMemorySegment(F, ringV, values + s * pitch, LE, lanes)
                    .fma(FloatVector.broadcast(F, w.weights[t * step + s]), sum);
        }
        sum.div(FloatVector.broadcast(F, w.divisors[t])).intoMemorySegment(h, out(first, t, col), LE, lanes);
    }

    /** Three tokens and two vectors of columns. */
    private void threeHalf(
            StepScratch w, long c, long values, long pitch, int rows, int all, int step, long first, int col) {
        long o0 = out(first, 0, col);
        long o1 = out(first, 1, col);
        long o2 = out(first, 2, col);
        clear(h, o0, 2);
        clear(h, o1, 2);
        clear(h, o2, 2);
        accumulate3Half(matC, c, pitch, rows, w.queries, dimQk, h, o0, o1, o2);
        accumulate3Half(ringV, values, pitch, all, w.weights, step, h, o0, o1, o2);
        divide(h, o0, 2, w.divisors[0]);
        divide(h, o1, 2, w.divisors[1]);
        divide(h, o2, 2, w.divisors[2]);
    }

    private static void clear(MemorySegment x, long o, int vectors) {
        for (int part = 0; part < vectors; part++) {
            FloatVector.zero(F).intoMemorySegment(x, o + 4L * LANES * part, LE);
        }
    }

    private long out(long first, int t, int col) {
        return 4 * ((first + (long) t * heads) * dimHv + col);
    }

    private void single(
            StepScratch w, long c, long values, long pitch, int rows, int all, int step, int t, long first, int col) {
        long o = out(first, t, col);
        clear(h, o, 4);
        accumulate1(matC, c, pitch, rows, w.queries, t * dimQk, h, o);
        accumulate1(ringV, values, pitch, all, w.weights, t * step, h, o);
        divide(h, o, 4, w.divisors[t]);
    }

    private void three(
            StepScratch w, long c, long values, long pitch, int rows, int all, int step, int t, long first, int col) {
        long o0 = out(first, t, col);
        long o1 = out(first, t + 1, col);
        long o2 = out(first, t + 2, col);
        clear(h, o0, 4);
        clear(h, o1, 4);
        clear(h, o2, 4);
        accumulate3(matC, c, pitch, rows, w.queries, t * dimQk, dimQk, h, o0, o1, o2);
        accumulate3(ringV, values, pitch, all, w.weights, t * step, step, h, o0, o1, o2);
        divide(h, o0, 4, w.divisors[t]);
        divide(h, o1, 4, w.divisors[t + 1]);
        divide(h, o2, 4, w.divisors[t + 2]);
    }

    private static void divide(MemorySegment x, long o, int vectors, float divisor) {
        FloatVector d = FloatVector.broadcast(F, divisor);
        for (int part = 0; part < vectors; part++) {
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

    /** The same for two vectors of columns. */
    private static void accumulate3Half(
            MemorySegment m,
            long at,
            long pitch,
            int rows,
            float[] a,
            int step,
            MemorySegment out,
            long o0,
            long o1,
            long o2) {
        FloatVector a0 = FloatVector.fromMemorySegment(F, out, o0, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, out, o0 + 4L * LANES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, out, o1, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, out, o1 + 4L * LANES, LE);
        FloatVector c0 = FloatVector.fromMemorySegment(F, out, o2, LE);
        FloatVector c1 = FloatVector.fromMemorySegment(F, out, o2 + 4L * LANES, LE);
        long p = at;
        for (int r = 0; r < rows; r++) {
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
            p += pitch;
        }
        a0.intoMemorySegment(out, o0, LE);
        a1.intoMemorySegment(out, o0 + 4L * LANES, LE);
        b0.intoMemorySegment(out, o1, LE);
        b1.intoMemorySegment(out, o1 + 4L * LANES, LE);
        c0.intoMemorySegment(out, o2, LE);
        c1.intoMemorySegment(out, o2 + 4L * LANES, LE);
    }
}
