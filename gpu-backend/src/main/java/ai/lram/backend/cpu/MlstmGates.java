package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/** The two narrow products from q, k and v to the input and forget gates of every head. */
final class MlstmGates {
    /** Below this many rows x width x heads the forward product runs on the calling thread. */
    static final long INLINE = 1 << 18;

    /** Columns of the weights' gradient that one pass over the rows computes. */
    static final int BLOCK = 4 * LANES;

    /** Rows of the forward product that share their loads of the weights. */
    private static final int ROWS = 4;

    /** Rows, the tokens of a session, whose partial products share their loads of the weights. */
    private static final int THREE = 3;

    /** Heads whose lane sums are added up together: two gates each make a block of {@link FewRows#fold}. */
    private static final int HEADS = FewRows.BLOCK / 2;

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

    private static FloatVector load(MemorySegment m, long o, VectorMask<Float> mask) {
        return FloatVector.fromMemorySegment(F, m, o, LE, mask);
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
     * What columns {@code from} to {@code to} (a multiple of LANES) of q, k and v add to the gates of {@code m} rows: float at + (r * NH + h) * 2 of
     * {@code sums} for the input gate, the next for the forget gate.
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
            MemorySegment sums,
            long at) {
        float[] lanes = Staging.own().tile;
        long pitch = 4L * width;
        for (int r = 0; r < m; r += THREE) {
            int rows = Math.min(THREE, m - r);
            for (int h = 0; h < heads; h += HEADS) {
                int some = Math.min(HEADS, heads - h);
                for (int j = 0; j < some; j++) {
                    long weights = 3 * (h + j) * pitch;
                    if (rows == THREE) {
                        threeRows(q, k, v, r * pitch, pitch, wi, wf, weights, 4L * from, 4L * to, lanes, j * 2 * LANES);
                    } else {
                        for (int i = 0; i < rows; i++) {
                            int o = (i * HEADS + j) * 2 * LANES;
                            oneRow(q, k, v, (r + i) * pitch, wi, weights, pitch, 4L * from, 4L * to, lanes, o);
                            oneRow(q, k, v, (r + i) * pitch, wf, weights, pitch, 4L * from, 4L * to, lanes, o + LANES);
                        }
                    }
                }
                for (int i = 0; i < rows; i++) {
                    FewRows.fold(2 * some, lanes, i * HEADS * 2 * LANES, sums, at + ((r + i) * heads + h) * 2L);
                }
            }
        }
    }

    /** Lane sums of both gates of a head, for three rows {@link #HEADS} pairs of vectors apart. */
    private static void threeRows(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            long row,
            long pitch,
            MemorySegment wi,
            MemorySegment wf,
            long weights,
            long from,
            long to,
            float[] lanes,
            int at) {
        FloatVector i0 = FloatVector.zero(F);
        FloatVector f0 = FloatVector.zero(F);
        FloatVector i1 = FloatVector.zero(F);
        FloatVector f1 = FloatVector.zero(F);
        FloatVector i2 = FloatVector.zero(F);
        FloatVector f2 = FloatVector.zero(F);
        for (long c = from; c < to; c += 4L * LANES) {
            FloatVector a = FloatVector.fromMemorySegment(F, wi, weights + c, LE);
            FloatVector b = FloatVector.fromMemorySegment(F, wf, weights + c, LE);
            FloatVector x = FloatVector.fromMemorySegment(F, q, row + c, LE);
            i0 = a.fma(x, i0);
            f0 = b.fma(x, f0);
            x = FloatVector.fromMemorySegment(F, q, row + pitch + c, LE);
            i1 = a.fma(x, i1);
            f1 = b.fma(x, f1);
            x = FloatVector.fromMemorySegment(F, q, row + 2 * pitch + c, LE);
            i2 = a.fma(x, i2);
            f2 = b.fma(x, f2);
            a = FloatVector.fromMemorySegment(F, wi, weights + pitch + c, LE);
            b = FloatVector.fromMemorySegment(F, wf, weights + pitch + c, LE);
            x = FloatVector.fromMemorySegment(F, k, row + c, LE);
            i0 = a.fma(x, i0);
            f0 = b.fma(x, f0);
            x = FloatVector.fromMemorySegment(F, k, row + pitch + c, LE);
            i1 = a.fma(x, i1);
            f1 = b.fma(x, f1);
            x = FloatVector.fromMemorySegment(F, k, row + 2 * pitch + c, LE);
            i2 = a.fma(x, i2);
            f2 = b.fma(x, f2);
            a = FloatVector.fromMemorySegment(F, wi, weights + 2 * pitch + c, LE);
            b = FloatVector.fromMemorySegment(F, wf, weights + 2 * pitch + c, LE);
            x = FloatVector.fromMemorySegment(F, v, row + c, LE);
            i0 = a.fma(x, i0);
            f0 = b.fma(x, f0);
            x = FloatVector.fromMemorySegment(F, v, row + pitch + c, LE);
            i1 = a.fma(x, i1);
            f1 = b.fma(x, f1);
            x = FloatVector.fromMemorySegment(F, v, row + 2 * pitch + c, LE);
            i2 = a.fma(x, i2);
            f2 = b.fma(x, f2);
        }
        i0.intoArray(lanes, at);
        f0.intoArray(lanes, at + LANES);
        i1.intoArray(lanes, at + 2 * HEADS * LANES);
        f1.intoArray(lanes, at + (2 * HEADS + 1) * LANES);
        i2.intoArray(lanes, at + 4 * HEADS * LANES);
        f2.intoArray(lanes, at + (4 * HEADS + 1) * LANES);
    }

    private static void oneRow(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            long row,
            MemorySegment w,
            long weights,
            long part,
            long from,
            long to,
            float[] lanes,
            int at) {
        FloatVector a = FloatVector.zero(F);
        FloatVector b = FloatVector.zero(F);
        FloatVector c = FloatVector.zero(F);
        for (long o = from; o < to; o += 4L * LANES) {
            a = load(w, weights + o).fma(load(q, row + o), a);
            b = load(w, weights + part + o).fma(load(k, row + o), b);
            c = load(w, weights + 2 * part + o).fma(load(v, row + o), c);
        }
        a.add(b).add(c).intoArray(lanes, at);
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

    /** dwi[h,part,col..] += sum over rows of di[m,h] x[m,col..] for one block of columns; dwf alike. */
    static void backwardWeight(
            Tensor x, Tensor di, Tensor df, Tensor dwi, Tensor dwf, int width, int heads, int part, int col, int rows) {
        MemorySegment xs = x.segment();
        MemorySegment dis = di.segment();
        MemorySegment dfs = df.segment();
        MemorySegment wi = dwi.segment();
        MemorySegment wf = dwf.segment();
        for (int m = 0; m < rows; m += SPAN) {
            int end = Math.min(rows, m + SPAN);
            for (int h = 0; h < heads; h++) {
                long wo = 4 * ((3L * h + part) * width + col);
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
