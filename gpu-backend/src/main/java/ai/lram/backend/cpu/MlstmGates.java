package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/** The two narrow products from q, k and v to the input and forget gates of every head. */
final class MlstmGates {
    /** Below this many rows x width x heads the forward product runs on the calling thread. */
    static final long INLINE = 1 << 18;

    /** Columns of the weights' gradient that one pass over the rows computes. */
    static final int BLOCK = 4 * LANES;

    /** Rows summed before a partial sum is added to the total: bounds rounding over long batches. */
    private static final int SPAN = 128;

    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private MlstmGates() {}

    static void forward(
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor wi,
            Tensor bi,
            Tensor wf,
            Tensor bf,
            Tensor i,
            Tensor f,
            int width,
            int heads,
            int from,
            int to) {
        MemorySegment qs = q.segment();
        MemorySegment ks = k.segment();
        MemorySegment vs = v.segment();
        MemorySegment wis = wi.segment();
        MemorySegment wfs = wf.segment();
        MemorySegment is = i.segment();
        MemorySegment fs = f.segment();
        for (int h = 0; h < heads; h++) {
            float biasI = bi.get(h);
            float biasF = bf.get(h);
            int m = from;
            for (; m + 4 <= to; m += 4) {
                four(qs, ks, vs, wis, wfs, is, fs, width, heads, h, m, biasI, biasF);
            }
            for (; m < to; m++) {
                one(qs, ks, vs, wis, wfs, is, fs, width, heads, h, m, biasI, biasF);
            }
        }
    }

    private static FloatVector load(MemorySegment m, long o) {
        return FloatVector.fromMemorySegment(F, m, o, LE);
    }

    private static FloatVector load(MemorySegment m, long o, VectorMask<Float> mask) {
        return FloatVector.fromMemorySegment(F, m, o, LE, mask);
    }

    private static void four(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            MemorySegment wi,
            MemorySegment wf,
            MemorySegment i,
            MemorySegment f,
            int width,
            int heads,
            int h,
            int m,
            float biasI,
            float biasF) {
        FloatVector i0 = FloatVector.zero(F);
        FloatVector i1 = i0;
        FloatVector i2 = i0;
        FloatVector i3 = i0;
        FloatVector f0 = i0;
        FloatVector f1 = i0;
        FloatVector f2 = i0;
        FloatVector f3 = i0;
        long row = 4L * width;
        for (int part = 0; part < 3; part++) {
            MemorySegment x = part == 0 ? q : part == 1 ? k : v;
            long xo = m * row;
            long wo = (3L * h + part) * row;
            int c = 0;
            for (; c + LANES <= width; c += LANES) {
                FloatVector a = load(wi, wo + 4L * c);
                FloatVector b = load(wf, wo + 4L * c);
                FloatVector y = load(x, xo + 4L * c);
                i0 = y.fma(a, i0);
                f0 = y.fma(b, f0);
                y = load(x, xo + row + 4L * c);
                i1 = y.fma(a, i1);
                f1 = y.fma(b, f1);
                y = load(x, xo + 2 * row + 4L * c);
                i2 = y.fma(a, i2);
                f2 = y.fma(b, f2);
                y = load(x, xo + 3 * row + 4L * c);
                i3 = y.fma(a, i3);
                f3 = y.fma(b, f3);
            }
            if (c < width) {
                VectorMask<Float> tail = F.indexInRange(c, width);
                FloatVector a = load(wi, wo + 4L * c, tail);
                FloatVector b = load(wf, wo + 4L * c, tail);
                FloatVector y = load(x, xo + 4L * c, tail);
                i0 = y.fma(a, i0);
                f0 = y.fma(b, f0);
                y = load(x, xo + row + 4L * c, tail);
                i1 = y.fma(a, i1);
                f1 = y.fma(b, f1);
                y = load(x, xo + 2 * row + 4L * c, tail);
                i2 = y.fma(a, i2);
                f2 = y.fma(b, f2);
                y = load(x, xo + 3 * row + 4L * c, tail);
                i3 = y.fma(a, i3);
                f3 = y.fma(b, f3);
            }
        }
        long step = 4L * heads;
        long o = m * step + 4L * h;
        i.set(FLOAT, o, VectorMath.sum(i0) + biasI);
        i.set(FLOAT, o + step, VectorMath.sum(i1) + biasI);
        i.set(FLOAT, o + 2 * step, VectorMath.sum(i2) + biasI);
        i.set(FLOAT, o + 3 * step, VectorMath.sum(i3) + biasI);
        f.set(FLOAT, o, VectorMath.sum(f0) + biasF);
        f.set(FLOAT, o + step, VectorMath.sum(f1) + biasF);
        f.set(FLOAT, o + 2 * step, VectorMath.sum(f2) + biasF);
        f.set(FLOAT, o + 3 * step, VectorMath.sum(f3) + biasF);
    }

    private static void one(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            MemorySegment wi,
            MemorySegment wf,
            MemorySegment i,
            MemorySegment f,
            int width,
            int heads,
            int h,
            int m,
            float biasI,
            float biasF) {
        FloatVector i0 = FloatVector.zero(F);
        FloatVector f0 = i0;
        long row = 4L * width;
        for (int part = 0; part < 3; part++) {
            MemorySegment x = part == 0 ? q : part == 1 ? k : v;
            long xo = m * row;
            long wo = (3L * h + part) * row;
            int c = 0;
            for (; c + LANES <= width; c += LANES) {
                FloatVector y = load(x, xo + 4L * c);
                i0 = y.fma(load(wi, wo + 4L * c), i0);
                f0 = y.fma(load(wf, wo + 4L * c), f0);
            }
            if (c < width) {
                VectorMask<Float> tail = F.indexInRange(c, width);
                FloatVector y = load(x, xo + 4L * c, tail);
                i0 = y.fma(load(wi, wo + 4L * c, tail), i0);
                f0 = y.fma(load(wf, wo + 4L * c, tail), f0);
            }
        }
        long o = 4L * ((long) m * heads + h);
        i.set(FLOAT, o, VectorMath.sum(i0) + biasI);
        f.set(FLOAT, o, VectorMath.sum(f0) + biasF);
    }

    /** dx[m,:] += sum over heads of di[m,h] wi[h,part,:] + df[m,h] wf[h,part,:]. */
    static void backwardInput(
            Tensor wi, Tensor wf, Tensor di, Tensor df, Tensor dx, int width, int heads, int part, int from, int to) {
        MemorySegment wis = wi.segment();
        MemorySegment wfs = wf.segment();
        MemorySegment dis = di.segment();
        MemorySegment dfs = df.segment();
        MemorySegment out = dx.segment();
        long row = 4L * width;
        for (int m = from; m < to; m++) {
            for (int c = 0; c < width; c += LANES) {
                VectorMask<Float> mask = F.indexInRange(c, width);
                boolean whole = c + LANES <= width;
                long o = m * row + 4L * c;
                FloatVector y = whole ? load(out, o) : load(out, o, mask);
                for (int h = 0; h < heads; h++) {
                    long wo = (3L * h + part) * row + 4L * c;
                    long go = 4L * ((long) m * heads + h);
                    FloatVector gi = FloatVector.broadcast(F, dis.get(FLOAT, go));
                    FloatVector gf = FloatVector.broadcast(F, dfs.get(FLOAT, go));
                    y = gi.fma(whole ? load(wis, wo) : load(wis, wo, mask), y);
                    y = gf.fma(whole ? load(wfs, wo) : load(wfs, wo, mask), y);
                }
                if (whole) {
                    y.intoMemorySegment(out, o, LE);
                } else {
                    y.intoMemorySegment(out, o, LE, mask);
                }
            }
        }
    }

    /** dwi[h,part,col..] += sum over rows of di[m,h] x[m,col..] for one block of columns; dwf alike. */
    static void backwardWeight(
            Tensor x, Tensor di, Tensor df, Tensor dwi, Tensor dwf, int width, int heads, int part, int col, int rows) {
        MemorySegment xs = x.segment();
        MemorySegment dis = di.segment();
        MemorySegment dfs = df.segment();
        MemorySegment wi = dwi.segment();
        MemorySegment wf = dwf.segment();
        for (int h = 0; h < heads; h++) {
            long wo = 4 * ((3L * h + part) * width + col);
            for (int m = 0; m < rows; m += SPAN) {
                int end = Math.min(rows, m + SPAN);
                if (col + BLOCK <= width) {
                    blockOf4(xs, dis, dfs, wi, wf, width, heads, h, col, wo, m, end);
                } else {
                    for (int c = col; c < width; c += LANES) {
                        blockTail(xs, dis, dfs, wi, wf, width, heads, h, c, wo + 4L * (c - col), m, end);
                    }
                }
            }
        }
    }

    private static void blockOf4(
            MemorySegment x,
            MemorySegment di,
            MemorySegment df,
            MemorySegment wi,
            MemorySegment wf,
            int width,
            int heads,
            int h,
            int col,
            long wo,
            int from,
            int to) {
        FloatVector i0 = FloatVector.zero(F);
        FloatVector i1 = i0;
        FloatVector i2 = i0;
        FloatVector i3 = i0;
        FloatVector f0 = i0;
        FloatVector f1 = i0;
        FloatVector f2 = i0;
        FloatVector f3 = i0;
        for (int m = from; m < to; m++) {
            long xo = 4 * ((long) m * width + col);
            long go = 4 * ((long) m * heads + h);
            FloatVector a = FloatVector.broadcast(F, di.get(FLOAT, go));
            FloatVector b = FloatVector.broadcast(F, df.get(FLOAT, go));
            FloatVector y = load(x, xo);
            i0 = a.fma(y, i0);
            f0 = b.fma(y, f0);
            y = load(x, xo + 4L * LANES);
            i1 = a.fma(y, i1);
            f1 = b.fma(y, f1);
            y = load(x, xo + 8L * LANES);
            i2 = a.fma(y, i2);
            f2 = b.fma(y, f2);
            y = load(x, xo + 12L * LANES);
            i3 = a.fma(y, i3);
            f3 = b.fma(y, f3);
        }
        addTo(wi, wo, i0);
        addTo(wi, wo + 4L * LANES, i1);
        addTo(wi, wo + 8L * LANES, i2);
        addTo(wi, wo + 12L * LANES, i3);
        addTo(wf, wo, f0);
        addTo(wf, wo + 4L * LANES, f1);
        addTo(wf, wo + 8L * LANES, f2);
        addTo(wf, wo + 12L * LANES, f3);
    }

    private static void addTo(MemorySegment m, long o, FloatVector v) {
        load(m, o).add(v).intoMemorySegment(m, o, LE);
    }

    private static void blockTail(
            MemorySegment x,
            MemorySegment di,
            MemorySegment df,
            MemorySegment wi,
            MemorySegment wf,
            int width,
            int heads,
            int h,
            int col,
            long wo,
            int from,
            int to) {
        VectorMask<Float> mask = F.indexInRange(col, width);
        FloatVector i0 = FloatVector.zero(F);
        FloatVector f0 = i0;
        for (int m = from; m < to; m++) {
            FloatVector y = load(x, 4 * ((long) m * width + col), mask);
            long go = 4 * ((long) m * heads + h);
            i0 = FloatVector.broadcast(F, di.get(FLOAT, go)).fma(y, i0);
            f0 = FloatVector.broadcast(F, df.get(FLOAT, go)).fma(y, f0);
        }
        load(wi, wo, mask).add(i0).intoMemorySegment(wi, wo, LE, mask);
        load(wf, wo, mask).add(f0).intoMemorySegment(wf, wo, LE, mask);
    }

    /** out[h] += sum over rows of x[m,h], in fp64. */
    static void columnSums(Tensor x, int heads, int rows, Tensor out) {
        for (int h = 0; h < heads; h++) {
            double sum = 0;
            for (int m = 0; m < rows; m++) {
                sum += x.get((long) m * heads + h);
            }
            out.set(h, (float) (out.get(h) + sum));
        }
    }
}
