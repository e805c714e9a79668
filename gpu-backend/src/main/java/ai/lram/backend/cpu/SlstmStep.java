package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/** The sLSTM of a session step, over heads: a head's recurrent weights serve all rows while they are in the cache. */
final class SlstmStep implements Workers.Range {
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private int dh;
    private int rows;
    private int pad;
    private int tokens;
    private int width;
    private Tensor slots;
    private Tensor counts;
    private MemorySegment xi;
    private MemorySegment xf;
    private MemorySegment xz;
    private MemorySegment xo;
    private MemorySegment r;
    private MemorySegment bias;
    private MemorySegment state;
    private MemorySegment y;

    void with(
            int heads,
            Tensor slots,
            Tensor counts,
            Tensor xi,
            Tensor xf,
            Tensor xz,
            Tensor xo,
            Tensor r,
            Tensor bias,
            Tensor state,
            Tensor y,
            int rows,
            int tokens,
            int width) {
        dh = width / heads;
        pad = (dh + LANES - 1) / LANES * LANES;
        this.rows = rows;
        this.tokens = tokens;
        this.width = width;
        this.slots = slots;
        this.counts = counts;
        this.xi = xi.segment();
        this.xf = xf.segment();
        this.xz = xz.segment();
        this.xo = xo.segment();
        this.r = r.segment();
        this.bias = bias.segment();
        this.state = state.segment();
        this.y = y.segment();
    }

    @Override
    public void run(int from, int to) {
        StepScratch w = StepScratch.get();
        w.reserve(0, 0, 0, 4 * dh + LANES);
        w.reserveCell(8L * pad);
        for (int head = from; head < to; head++) {
            for (int t = 0; t < tokens; t++) {
                for (int b = 0; b < rows; b++) {
                    if (t >= tokens - counts.getInt(b)) {
                        one(w.queries, w.cell, head, b, t);
                    }
                }
            }
        }
    }

    private void one(float[] raw, MemorySegment w, int head, int b, int t) {
        long slot = 4 * (4L * slots.getInt(b) * width + (long) head * dh);
        recurrent(r, 16L * head * dh * dh, dh, state, slot, raw);
        long at = 4 * (((long) b * tokens + t) * width + (long) head * dh);
        long bo = 4L * head * dh;
        long plane = 4L * pad;
        gate(xi, at, bias, bo, raw, 0, w, 0, dh);
        gate(xf, at, bias, bo + 4L * width, raw, dh, w, plane, dh);
        gate(xz, at, bias, bo + 8L * width, raw, 2 * dh, w, 2 * plane, dh);
        gate(xo, at, bias, bo + 12L * width, raw, 3 * dh, w, 3 * plane, dh);
        for (int part = 1; part < 4; part++) {
            MemorySegment.copy(state, slot + 4L * part * width, w, (4 + part) * plane, 4L * dh);
        }
        SlstmCell.step(w, 0, pad, 4 * plane, 5 * plane, 6 * plane, 7 * plane);
        for (int part = 0; part < 4; part++) {
            MemorySegment.copy(w, (4 + part) * plane, state, slot + 4L * part * width, 4L * dh);
        }
        MemorySegment.copy(w, 4 * plane, y, at, 4L * dh);
    }

    /** One gate's raw values: input + bias + recurrent part. */
    private static void gate(
            MemorySegment x,
            long at,
            MemorySegment bias,
            long bo,
            float[] raw,
            int from,
            MemorySegment w,
            long to,
            int n) {
        int c = 0;
        for (; c + LANES <= n; c += LANES) {
            FloatVector.fromMemorySegment(F, x, at + 4L * c, LE)
                    .add(FloatVector.fromMemorySegment(F, bias, bo + 4L * c, LE))
                    .add(FloatVector.fromArray(F, raw, from + c))
                    .intoMemorySegment(w, to + 4L * c, LE);
        }
        for (; c < n; c++) {
            w.set(FLOAT, to + 4L * c, x.get(FLOAT, at + 4L * c) + bias.get(FLOAT, bo + 4L * c) + raw[from + c]);
        }
    }

    /** raw[0..4 DH) = y R, where the head's weights are DH rows of 4 DH. */
    private static void recurrent(MemorySegment r, long weights, int dh, MemorySegment y, long at, float[] raw) {
        int n = 4 * dh;
        long pitch = 4L * n;
        int c = 0;
        for (; c + 8 * LANES <= n; c += 8 * LANES) {
            eight(r, weights + 4L * c, pitch, dh, y, at, raw, c);
        }
        for (; c < n; c += LANES) {
            narrow(r, weights + 4L * c, pitch, dh, y, at, raw, c, VectorMath.first(Math.min(LANES, n - c)));
        }
    }

    /** Up to one vector of columns. */
    private static void narrow(
            MemorySegment r,
            long o,
            long pitch,
            int dh,
            MemorySegment y,
            long at,
            float[] raw,
            int c,
            VectorMask<Float> mask) {
        FloatVector sum = FloatVector.zero(F);
        for (int d = 0; d < dh; d++) {
            sum = FloatVector.fromMemorySegment(F, r, o + d * pitch, LE, mask)
                    .fma(FloatVector.broadcast(F, y.get(FLOAT, at + 4L * d)), sum);
        }
        sum.intoArray(raw, c);
    }

    private static void eight(
            MemorySegment r, long o, long pitch, int dh, MemorySegment y, long at, float[] raw, int c) {
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector s2 = FloatVector.zero(F);
        FloatVector s3 = FloatVector.zero(F);
        FloatVector s4 = FloatVector.zero(F);
        FloatVector s5 = FloatVector.zero(F);
        FloatVector s6 = FloatVector.zero(F);
        FloatVector s7 = FloatVector.zero(F);
        long p = o;
        for (int d = 0; d < dh; d++) {
            FloatVector w = FloatVector.broadcast(F, y.get(FLOAT, at + 4L * d));
            s0 = w.fma(FloatVector.fromMemorySegment(F, r, p, LE), s0);
            s1 = w.fma(FloatVector.fromMemorySegment(F, r, p + 4L * LANES, LE), s1);
            s2 = w.fma(FloatVector.fromMemorySegment(F, r, p + 8L * LANES, LE), s2);
            s3 = w.fma(FloatVector.fromMemorySegment(F, r, p + 12L * LANES, LE), s3);
            s4 = w.fma(FloatVector.fromMemorySegment(F, r, p + 16L * LANES, LE), s4);
            s5 = w.fma(FloatVector.fromMemorySegment(F, r, p + 20L * LANES, LE), s5);
            s6 = w.fma(FloatVector.fromMemorySegment(F, r, p + 24L * LANES, LE), s6);
            s7 = w.fma(FloatVector.fromMemorySegment(F, r, p + 28L * LANES, LE), s7);
            p += pitch;
        }
        s0.intoArray(raw, c);
        s1.intoArray(raw, c + LANES);
        s2.intoArray(raw, c + 2 * LANES);
        s3.intoArray(raw, c + 3 * LANES);
        s4.intoArray(raw, c + 4 * LANES);
        s5.intoArray(raw, c + 5 * LANES);
        s6.intoArray(raw, c + 6 * LANES);
        s7.intoArray(raw, c + 7 * LANES);
    }
}
