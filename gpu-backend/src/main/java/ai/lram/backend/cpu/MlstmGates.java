package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/** The two narrow products from q, k and v to the input and forget gates of every head. */
final class MlstmGates {
    /** Below this many rows x width x heads the forward product runs on the calling thread. */
    static final long INLINE = 1 << 18;

    /** Columns of the weights' gradient are shared among threads in multiples of this. */
    static final int BLOCK = 4 * LANES;

    /** Rows that share their loads of the weights, or of their gradient's sums. */
    private static final int ROWS = 4;

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
        float[] sums = ThreadFloats.get(ThreadFloats.BODY, 2 * ROWS);
        for (int m = from; m < to; m += ROWS) {
            int rows = Math.min(ROWS, to - m);
            for (int h = 0; h < heads; h++) {
                Arrays.fill(sums, 0, ROWS, bi.get(h));
                Arrays.fill(sums, ROWS, 2 * ROWS, bf.get(h));
                for (int part = 0; part < 3; part++) {
                    MemorySegment x = part == 0 ? qs : part == 1 ? ks : vs;
                    long xo = 4L * m * width;
                    long wo = 4L * (3L * h + part) * width;
                    if (rows == ROWS) {
                        addFour(wis, wo, x, xo, width, sums, 0);
                        addFour(wfs, wo, x, xo, width, sums, ROWS);
                    } else {
                        for (int r = 0; r < rows; r++) {
                            addOne(wis, wo, x, xo + 4L * r * width, width, sums, r);
                            addOne(wfs, wo, x, xo + 4L * r * width, width, sums, ROWS + r);
                        }
                    }
                }
                for (int r = 0; r < rows; r++) {
                    long o = 4L * ((long) (m + r) * heads + h);
                    is.set(FLOAT, o, sums[r]);
                    fs.set(FLOAT, o, sums[ROWS + r]);
                }
            }
        }
    }

    private static FloatVector load(MemorySegment m, long o) {
        return FloatVector.fromMemorySegment(F, m, o, LE);
    }

    /** sums[at..at+4) += one gate's weights times four rows of x. One gate at a time: with both, the compiler boxes the sums. */
    private static void addFour(MemorySegment w, long wo, MemorySegment x, long xo, int width, float[] sums, int at) {
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector s2 = FloatVector.zero(F);
        FloatVector s3 = FloatVector.zero(F);
        long row = 4L * width;
        int whole = width - width % LANES;
        for (long c = 0; c < 4L * whole; c += 4L * LANES) {
            FloatVector a = load(w, wo + c);
            s0 = a.fma(load(x, xo + c), s0);
            s1 = a.fma(load(x, xo + row + c), s1);
            s2 = a.fma(load(x, xo + 2 * row + c), s2);
            s3 = a.fma(load(x, xo + 3 * row + c), s3);
        }
        sums[at] += VectorMath.sum(s0);
        sums[at + 1] += VectorMath.sum(s1);
        sums[at + 2] += VectorMath.sum(s2);
        sums[at + 3] += VectorMath.sum(s3);
        for (int r = 0; r < 4 && whole < width; r++) {
            sums[at + r] += rest(w, wo, x, xo + r * row, whole, width);
        }
    }

    private static void addOne(MemorySegment w, long wo, MemorySegment x, long xo, int width, float[] sums, int at) {
        FloatVector s = FloatVector.zero(F);
        int whole = width - width % LANES;
        for (long c = 0; c < 4L * whole; c += 4L * LANES) {
            s = load(w, wo + c).fma(load(x, xo + c), s);
        }
        sums[at] += VectorMath.sum(s) + rest(w, wo, x, xo, whole, width);
    }

    private static float rest(MemorySegment w, long wo, MemorySegment x, long xo, int from, int to) {
        float sum = 0;
        for (long c = 4L * from; c < 4L * to; c += 4) {
            sum = Math.fma(w.get(FLOAT, wo + c), x.get(FLOAT, xo + c), sum);
        }
        return sum;
    }

    /**
     * What columns {@code from} to {@code to} (a multiple of LANES) of q, k and v add to the gates of {@code m} rows: sums[at + (r * NH + h) * 2] for
     * the input gate, the next for the forget gate.
     */
    static void partial(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            MemorySegment wi,
            MemorySegment wf,
            int m,
            int width,
            int heads,
            int from,
            int to,
            float[] sums,
            int at) {
        for (int r = 0; r < m; r++) {
            long row = 4L * r * width;
            for (int h = 0; h < heads; h++) {
                long weights = 12L * h * width;
                int out = at + (r * heads + h) * 2;
                sums[out] = three(q, k, v, row, wi, weights, 4L * width, 4L * from, 4L * to);
                sums[out + 1] = three(q, k, v, row, wf, weights, 4L * width, 4L * from, 4L * to);
            }
        }
    }

    private static float three(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            long row,
            MemorySegment w,
            long weights,
            long part,
            long from,
            long to) {
        FloatVector a = FloatVector.zero(F);
        FloatVector b = a;
        FloatVector c = a;
        for (long o = from; o < to; o += 4L * LANES) {
            a = load(w, weights + o).fma(load(q, row + o), a);
            b = load(w, weights + part + o).fma(load(k, row + o), b);
            c = load(w, weights + 2 * part + o).fma(load(v, row + o), c);
        }
        return VectorMath.sum(a.add(b).add(c));
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
        int whole = width - width % LANES;
        for (int m = from; m < to; m++) {
            for (int h = 0; h < heads; h += 2) {
                long go = 4L * ((long) m * heads + h);
                long wo = (3L * h + part) * row;
                if (h + 1 < heads) {
                    addTwoHeads(
                            wis,
                            wfs,
                            wo,
                            wo + 3 * row,
                            dis.get(FLOAT, go),
                            dfs.get(FLOAT, go),
                            dis.get(FLOAT, go + 4),
                            dfs.get(FLOAT, go + 4),
                            out,
                            m * row,
                            whole);
                } else {
                    addOneHead(wis, wfs, wo, dis.get(FLOAT, go), dfs.get(FLOAT, go), out, m * row, whole);
                }
            }
            for (long c = 4L * whole; c < row; c += 4) {
                float y = out.get(FLOAT, m * row + c);
                for (int h = 0; h < heads; h++) {
                    long go = 4L * ((long) m * heads + h);
                    long wo = (3L * h + part) * row + c;
                    y = Math.fma(dis.get(FLOAT, go), wis.get(FLOAT, wo), y);
                    y = Math.fma(dfs.get(FLOAT, go), wfs.get(FLOAT, wo), y);
                }
                out.set(FLOAT, m * row + c, y);
            }
        }
    }

    private static void addTwoHeads(
            MemorySegment wi,
            MemorySegment wf,
            long first,
            long second,
            float di0,
            float df0,
            float di1,
            float df1,
            MemorySegment out,
            long o,
            int width) {
        FloatVector i0 = FloatVector.broadcast(F, di0);
        FloatVector f0 = FloatVector.broadcast(F, df0);
        FloatVector i1 = FloatVector.broadcast(F, di1);
        FloatVector f1 = FloatVector.broadcast(F, df1);
        for (long c = 0; c < 4L * width; c += 4L * LANES) {
            FloatVector y = load(out, o + c);
            y = i0.fma(load(wi, first + c), y);
            y = f0.fma(load(wf, first + c), y);
            y = i1.fma(load(wi, second + c), y);
            y = f1.fma(load(wf, second + c), y);
            y.intoMemorySegment(out, o + c, LE);
        }
    }

    private static void addOneHead(
            MemorySegment wi, MemorySegment wf, long wo, float di, float df, MemorySegment out, long o, int width) {
        FloatVector i = FloatVector.broadcast(F, di);
        FloatVector f = FloatVector.broadcast(F, df);
        for (long c = 0; c < 4L * width; c += 4L * LANES) {
            FloatVector y = load(out, o + c);
            y = i.fma(load(wi, wo + c), y);
            f.fma(load(wf, wo + c), y).intoMemorySegment(out, o + c, LE);
        }
    }

    /**
     * dwi[h,part,c] += sum over rows of di[m,h] x[m,c] for columns {@code first} to {@code last - 1}; dwf alike. A few rows at a time, so that
     * memory is read in its order.
     */
    static void backwardWeight(
            Tensor x,
            Tensor di,
            Tensor df,
            Tensor dwi,
            Tensor dwf,
            int width,
            int heads,
            int part,
            int first,
            int last,
            int rows) {
        int n = last - first;
        float[] sums = ThreadFloats.get(ThreadFloats.BODY, 2 * heads * n);
        for (int from = 0; from < rows; from += SPAN) {
            int to = Math.min(rows, from + SPAN);
            Arrays.fill(sums, 0, 2 * heads * n, 0f);
            sumRows(x.segment(), di, df, width, heads, first, n, from, to, sums);
            for (int h = 0; h < heads; h++) {
                long wo = 4 * ((3L * h + part) * width + first);
                addSums(sums, 2 * h * n, n, dwi.segment(), wo);
                addSums(sums, (2 * h + 1) * n, n, dwf.segment(), wo);
            }
        }
    }

    /** Adds rows {@code from} to {@code to - 1} of {@code n} columns, each times every gate's number, to the gates' sums. */
    private static void sumRows(
            MemorySegment x,
            Tensor di,
            Tensor df,
            int width,
            int heads,
            int column,
            int n,
            int from,
            int to,
            float[] sums) {
        int m = from;
        for (; m + ROWS <= to; m += ROWS) {
            for (int h = 0; h < heads; h++) {
                addRows(x, (long) m * width + column, width, n, di, df, (long) m * heads + h, heads, sums, 2 * h * n);
            }
        }
        for (; m < to; m++) {
            for (int h = 0; h < heads; h++) {
                long at = (long) m * heads + h;
                addRow(x, (long) m * width + column, n, di.get(at), sums, 2 * h * n);
                addRow(x, (long) m * width + column, n, df.get(at), sums, (2 * h + 1) * n);
            }
        }
    }

    /** Adds four rows of x to the sums of a head's input gate and, behind them, of its forget gate. */
    private static void addRows(
            MemorySegment x,
            long xo,
            int width,
            int n,
            Tensor di,
            Tensor df,
            long at,
            int stride,
            float[] sums,
            int to) {
        FloatVector i0 = FloatVector.broadcast(F, di.get(at));
        FloatVector i1 = FloatVector.broadcast(F, di.get(at + stride));
        FloatVector i2 = FloatVector.broadcast(F, di.get(at + 2L * stride));
        FloatVector i3 = FloatVector.broadcast(F, di.get(at + 3L * stride));
        FloatVector f0 = FloatVector.broadcast(F, df.get(at));
        FloatVector f1 = FloatVector.broadcast(F, df.get(at + stride));
        FloatVector f2 = FloatVector.broadcast(F, df.get(at + 2L * stride));
        FloatVector f3 = FloatVector.broadcast(F, df.get(at + 3L * stride));
        int forget = to + n;
        long x1 = xo + width;
        long x2 = xo + 2L * width;
        long x3 = xo + 3L * width;
        int whole = n - n % LANES;
        for (int c = 0; c < whole; c += LANES) {
            FloatVector v = VectorMath.load(x, xo + c);
            FloatVector i = i0.fma(v, FloatVector.fromArray(F, sums, to + c));
            FloatVector f = f0.fma(v, FloatVector.fromArray(F, sums, forget + c));
            v = VectorMath.load(x, x1 + c);
            i = i1.fma(v, i);
            f = f1.fma(v, f);
            v = VectorMath.load(x, x2 + c);
            i = i2.fma(v, i);
            f = f2.fma(v, f);
            v = VectorMath.load(x, x3 + c);
            i3.fma(v, i).intoArray(sums, to + c);
            f3.fma(v, f).intoArray(sums, forget + c);
        }
        for (int r = 0; r < ROWS && whole < n; r++) {
            addRest(x, xo + (long) r * width, whole, n, di.get(at + (long) r * stride), sums, to);
            addRest(x, xo + (long) r * width, whole, n, df.get(at + (long) r * stride), sums, forget);
        }
    }

    private static void addRow(MemorySegment x, long xo, int n, float g, float[] sums, int to) {
        FloatVector by = FloatVector.broadcast(F, g);
        int whole = n - n % LANES;
        for (int c = 0; c < whole; c += LANES) {
            by.fma(VectorMath.load(x, xo + c), FloatVector.fromArray(F, sums, to + c))
                    .intoArray(sums, to + c);
        }
        addRest(x, xo, whole, n, g, sums, to);
    }

    private static void addRest(MemorySegment x, long xo, int from, int n, float g, float[] sums, int to) {
        for (int c = from; c < n; c++) {
            sums[to + c] = Math.fma(g, x.get(FLOAT, 4 * (xo + c)), sums[to + c]);
        }
    }

    private static void addSums(float[] sums, int at, int n, MemorySegment w, long wo) {
        int whole = n - n % LANES;
        for (int c = 0; c < whole; c += LANES) {
            load(w, wo + 4L * c).add(FloatVector.fromArray(F, sums, at + c)).intoMemorySegment(w, wo + 4L * c, LE);
        }
        for (int c = whole; c < n; c++) {
            w.set(FLOAT, wo + 4L * c, w.get(FLOAT, wo + 4L * c) + sums[at + c]);
        }
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
