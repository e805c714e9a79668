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
        float[] sums = ThreadFloats.get(ThreadFloats.BODY, 4 * ROWS * (1 + LANES));
        for (int m = from; m < to; m += ROWS) {
            int rows = Math.min(ROWS, to - m);
            int h = 0;
            for (; h + 1 < heads && rows == ROWS; h += 2) {
                Arrays.fill(sums, 0, ROWS, bi.get(h));
                Arrays.fill(sums, ROWS, 2 * ROWS, bf.get(h));
                Arrays.fill(sums, 2 * ROWS, 3 * ROWS, bi.get(h + 1));
                Arrays.fill(sums, 3 * ROWS, 4 * ROWS, bf.get(h + 1));
                for (int part = 0; part < 3; part++) {
                    MemorySegment x = part == 0 ? qs : part == 1 ? ks : vs;
                    addTwoHeads(wis, wfs, (3L * h + part) * width, x, (long) m * width, width, sums);
                }
                put(is, fs, m, h, heads, ROWS, sums, 0);
                put(is, fs, m, h + 1, heads, ROWS, sums, 2 * ROWS);
            }
            for (; h < heads; h++) {
                Arrays.fill(sums, 0, ROWS, bi.get(h));
                Arrays.fill(sums, ROWS, 2 * ROWS, bf.get(h));
                for (int part = 0; part < 3; part++) {
                    MemorySegment x = part == 0 ? qs : part == 1 ? ks : vs;
                    long xo = 4L * m * width;
                    long wo = 4L * (3L * h + part) * width;
                    for (int r = 0; r < rows; r++) {
                        addOne(wis, wo, x, xo + 4L * r * width, width, sums, r);
                        addOne(wfs, wo, x, xo + 4L * r * width, width, sums, ROWS + r);
                    }
                }
                put(is, fs, m, h, heads, rows, sums, 0);
            }
        }
    }

    private static void put(MemorySegment i, MemorySegment f, int m, int h, int heads, int rows, float[] sums, int at) {
        for (int r = 0; r < rows; r++) {
            long o = 4L * ((long) (m + r) * heads + h);
            i.set(FLOAT, o, sums[at + r]);
            f.set(FLOAT, o, sums[at + ROWS + r]);
        }
    }

    /**
     * sums += both gates' weights, of two heads, times four rows of one part: the first head's input gate, its forget gate, the second head's.
     * Behind the sums is room for their lanes. Offsets in elements.
     */
    private static void addTwoHeads(
            MemorySegment wi, MemorySegment wf, long wo, MemorySegment x, long xo, int width, float[] sums) {
        int whole = width - width % LANES;
        lanesOfTwoHeads(wi, wf, wo, wo + 3L * width, x, xo, width, whole, sums);
        for (int i = 0; i < 4 * ROWS; i++) {
            float sum = VectorMath.sum(FloatVector.fromArray(F, sums, 4 * ROWS + i * LANES));
            if (whole < width) {
                long head = 4 * (i < 2 * ROWS ? wo : wo + 3L * width);
                long row = 4 * (xo + (long) (i % ROWS) * width);
                sum += rest(i / ROWS % 2 == 0 ? wi : wf, head, x, row, whole, width);
            }
            sums[i] += sum;
        }
    }

    private static void lanesOfTwoHeads(
            MemorySegment wi,
            MemorySegment wf,
            long first,
            long second,
            MemorySegment x,
            long xo,
            int width,
            int whole,
            float[] sums) {
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = FloatVector.zero(F);
        FloatVector a2 = FloatVector.zero(F);
        FloatVector a3 = FloatVector.zero(F);
        FloatVector b0 = FloatVector.zero(F);
        FloatVector b1 = FloatVector.zero(F);
        FloatVector b2 = FloatVector.zero(F);
        FloatVector b3 = FloatVector.zero(F);
        FloatVector c0 = FloatVector.zero(F);
        FloatVector c1 = FloatVector.zero(F);
        FloatVector c2 = FloatVector.zero(F);
        FloatVector c3 = FloatVector.zero(F);
        FloatVector d0 = FloatVector.zero(F);
        FloatVector d1 = FloatVector.zero(F);
        FloatVector d2 = FloatVector.zero(F);
        FloatVector d3 = FloatVector.zero(F);
        long x1 = xo + width;
        long x2 = x1 + width;
        long x3 = x2 + width;
        for (int c = 0; c < whole; c += LANES) {
            FloatVector p = NativeFloats.load(x, xo + c);
            FloatVector q = NativeFloats.load(x, x1 + c);
            FloatVector s = NativeFloats.load(x, x2 + c);
            FloatVector t = NativeFloats.load(x, x3 + c);
            FloatVector w = NativeFloats.load(wi, first + c);
            a0 = w.fma(p, a0);
            a1 = w.fma(q, a1);
            a2 = w.fma(s, a2);
            a3 = w.fma(t, a3);
            w = NativeFloats.load(wf, first + c);
            b0 = w.fma(p, b0);
            b1 = w.fma(q, b1);
            b2 = w.fma(s, b2);
            b3 = w.fma(t, b3);
            w = NativeFloats.load(wi, second + c);
            c0 = w.fma(p, c0);
            c1 = w.fma(q, c1);
            c2 = w.fma(s, c2);
            c3 = w.fma(t, c3);
            w = NativeFloats.load(wf, second + c);
            d0 = w.fma(p, d0);
            d1 = w.fma(q, d1);
            d2 = w.fma(s, d2);
            d3 = w.fma(t, d3);
        }
        int at = 4 * ROWS;
        a0.intoArray(sums, at + 0 * LANES);
        a1.intoArray(sums, at + 1 * LANES);
        a2.intoArray(sums, at + 2 * LANES);
        a3.intoArray(sums, at + 3 * LANES);
        b0.intoArray(sums, at + 4 * LANES);
        b1.intoArray(sums, at + 5 * LANES);
        b2.intoArray(sums, at + 6 * LANES);
        b3.intoArray(sums, at + 7 * LANES);
        c0.intoArray(sums, at + 8 * LANES);
        c1.intoArray(sums, at + 9 * LANES);
        c2.intoArray(sums, at + 10 * LANES);
        c3.intoArray(sums, at + 11 * LANES);
        d0.intoArray(sums, at + 12 * LANES);
        d1.intoArray(sums, at + 13 * LANES);
        d2.intoArray(sums, at + 14 * LANES);
        d3.intoArray(sums, at + 15 * LANES);
    }

    private static FloatVector load(MemorySegment m, long o) {
        return FloatVector.fromMemorySegment(F, m, o, LE);
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
                            oneRow(q, k, v, (r + i) * pitch, pitch, wi, wf, weights, 4L * from, 4L * to, lanes, o);
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

    /** The same for one row, in the same order of additions. */
    private static void oneRow(
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
        FloatVector i = FloatVector.zero(F);
        FloatVector f = FloatVector.zero(F);
        for (long c = from; c < to; c += 4L * LANES) {
            FloatVector x = FloatVector.fromMemorySegment(F, q, row + c, LE);
            i = FloatVector.fromMemorySegment(F, wi, weights + c, LE).fma(x, i);
            f = FloatVector.fromMemorySegment(F, wf, weights + c, LE).fma(x, f);
            x = FloatVector.fromMemorySegment(F, k, row + c, LE);
            i = FloatVector.fromMemorySegment(F, wi, weights + pitch + c, LE).fma(x, i);
            f = FloatVector.fromMemorySegment(F, wf, weights + pitch + c, LE).fma(x, f);
            x = FloatVector.fromMemorySegment(F, v, row + c, LE);
            i = FloatVector.fromMemorySegment(F, wi, weights + 2 * pitch + c, LE)
                    .fma(x, i);
            f = FloatVector.fromMemorySegment(F, wf, weights + 2 * pitch + c, LE)
                    .fma(x, f);
        }
        i.intoArray(lanes, at);
        f.intoArray(lanes, at + LANES);
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
        int m = from;
        for (; m + 1 < to && heads % 2 == 0; m += 2) {
            for (int h = 0; h < heads; h += 2) {
                twoRows(
                        wis,
                        wfs,
                        (3L * h + part) * width,
                        dis,
                        dfs,
                        (long) m * heads + h,
                        heads,
                        out,
                        (long) m * width,
                        width,
                        whole);
            }
            inputRest(wis, wfs, dis, dfs, out, m, heads, part, width, whole);
            inputRest(wis, wfs, dis, dfs, out, m + 1, heads, part, width, whole);
        }
        for (; m < to; m++) {
            for (int h = 0; h < heads; h += 2) {
                long go = 4L * ((long) m * heads + h);
                long wo = (3L * h + part) * row;
                if (h + 1 < heads) {
                    addToOneRow(
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
            inputRest(wis, wfs, dis, dfs, out, m, heads, part, width, whole);
        }
    }

    private static void inputRest(
            MemorySegment wi,
            MemorySegment wf,
            MemorySegment di,
            MemorySegment df,
            MemorySegment out,
            int m,
            int heads,
            int part,
            int width,
            int from) {
        long row = 4L * width;
        for (long c = 4L * from; c < row; c += 4) {
            float y = out.get(FLOAT, m * row + c);
            for (int h = 0; h < heads; h++) {
                long go = 4L * ((long) m * heads + h);
                long wo = (3L * h + part) * row + c;
                y = Math.fma(di.get(FLOAT, go), wi.get(FLOAT, wo), y);
                y = Math.fma(df.get(FLOAT, go), wf.get(FLOAT, wo), y);
            }
            out.set(FLOAT, m * row + c, y);
        }
    }

    /** Adds two heads' shares to two rows; offsets in elements. */
    private static void twoRows(
            MemorySegment wi,
            MemorySegment wf,
            long wo,
            MemorySegment di,
            MemorySegment df,
            long g,
            int heads,
            MemorySegment out,
            long o,
            int width,
            int whole) {
        FloatVector i0 = FloatVector.broadcast(F, di.get(FLOAT, 4 * g));
        FloatVector f0 = FloatVector.broadcast(F, df.get(FLOAT, 4 * g));
        FloatVector i1 = FloatVector.broadcast(F, di.get(FLOAT, 4 * g + 4));
        FloatVector f1 = FloatVector.broadcast(F, df.get(FLOAT, 4 * g + 4));
        FloatVector j0 = FloatVector.broadcast(F, di.get(FLOAT, 4 * (g + heads)));
        FloatVector k0 = FloatVector.broadcast(F, df.get(FLOAT, 4 * (g + heads)));
        FloatVector j1 = FloatVector.broadcast(F, di.get(FLOAT, 4 * (g + heads) + 4));
        FloatVector k1 = FloatVector.broadcast(F, df.get(FLOAT, 4 * (g + heads) + 4));
        long second = wo + 3L * width;
        long below = o + width;
        for (int c = 0; c < whole; c += LANES) {
            FloatVector w = NativeFloats.load(wi, wo + c);
            FloatVector y = i0.fma(w, NativeFloats.load(out, o + c));
            FloatVector z = j0.fma(w, NativeFloats.load(out, below + c));
            w = NativeFloats.load(wf, wo + c);
            y = f0.fma(w, y);
            z = k0.fma(w, z);
            w = NativeFloats.load(wi, second + c);
            y = i1.fma(w, y);
            z = j1.fma(w, z);
            w = NativeFloats.load(wf, second + c);
            NativeFloats.store(f1.fma(w, y), out, o + c);
            NativeFloats.store(k1.fma(w, z), out, below + c);
        }
    }

    private static void addToOneRow(
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
            FloatVector v = NativeFloats.load(x, xo + c);
            FloatVector i = i0.fma(v, FloatVector.fromArray(F, sums, to + c));
            FloatVector f = f0.fma(v, FloatVector.fromArray(F, sums, forget + c));
            v = NativeFloats.load(x, x1 + c);
            i = i1.fma(v, i);
            f = f1.fma(v, f);
            v = NativeFloats.load(x, x2 + c);
            i = i2.fma(v, i);
            f = f2.fma(v, f);
            v = NativeFloats.load(x, x3 + c);
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
            by.fma(NativeFloats.load(x, xo + c), FloatVector.fromArray(F, sums, to + c))
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
