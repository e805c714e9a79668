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
        for (int head = from; head < to; head++) {
            for (int t = 0; t < tokens; t++) {
                for (int b = 0; b < rows; b++) {
                    if (t >= tokens - counts.getInt(b)) {
                        one(w.queries, head, b, t);
                    }
                }
            }
        }
    }

    private void one(float[] raw, int head, int b, int t) {
        long slot = 4 * (4L * slots.getInt(b) * width + (long) head * dh);
        long weights = 16L * head * dh * dh;
        recurrent(r, weights, dh, state, slot, raw);
        long at = 4 * (((long) b * tokens + t) * width + (long) head * dh);
        long bo = 4L * head * dh;
        for (int c = 0; c < dh; c += LANES) {
            cell(raw, slot + 4L * c, at + 4L * c, bo + 4L * c, c, F.indexInRange(c, dh));
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
            VectorMask<Float> mask = F.indexInRange(c, n);
            FloatVector sum = FloatVector.zero(F);
            for (int d = 0; d < dh; d++) {
                sum = FloatVector.fromMemorySegment(F, r, weights + d * pitch + 4L * c, LE, mask)
                        .fma(FloatVector.broadcast(F, y.get(FLOAT, at + 4L * d)), sum);
            }
            sum.intoArray(raw, c);
        }
    }

    private static void eight(MemorySegment r, long o, long pitch, int dh, MemorySegment y, long at, float[] raw, int c) {
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

    private FloatVector gate(MemorySegment x, float[] raw, int gate, long at, long bo, int c, VectorMask<Float> mask) {
        return FloatVector.fromMemorySegment(F, x, at, LE, mask)
                .add(FloatVector.fromMemorySegment(F, bias, bo + 4L * gate * width, LE, mask))
                .add(FloatVector.fromArray(F, raw, gate * dh + c, mask));
    }

    private void cell(float[] raw, long slot, long at, long bo, int c, VectorMask<Float> mask) {
        long part = 4L * width;
        FloatVector i = gate(xi, raw, 0, at, bo, c, mask);
        FloatVector n = FloatVector.fromMemorySegment(F, state, slot + 2 * part, LE, mask);
        FloatVector kept = FloatVector.fromMemorySegment(F, state, slot + 3 * part, LE, mask)
                .add(VectorMath.logSigmoid(gate(xf, raw, 1, at, bo, c, mask)));
        FloatVector m = SlstmCell.stabiliser(i, kept, n);
        FloatVector write = VectorMath.exp(i.sub(m)).min(1f);
        FloatVector keep = VectorMath.exp(kept.sub(m)).min(1f);
        FloatVector z = VectorMath.tanh(gate(xz, raw, 2, at, bo, c, mask));
        FloatVector cell = keep.mul(FloatVector.fromMemorySegment(F, state, slot + part, LE, mask)).add(write.mul(z));
        n = keep.mul(n).add(write);
        FloatVector out = VectorMath.sigmoid(gate(xo, raw, 3, at, bo, c, mask)).mul(cell.div(n));
        out.intoMemorySegment(state, slot, LE, mask);
        cell.intoMemorySegment(state, slot + part, LE, mask);
        n.intoMemorySegment(state, slot + 2 * part, LE, mask);
        m.intoMemorySegment(state, slot + 3 * part, LE, mask);
        out.intoMemorySegment(y, at, LE, mask);
    }
}
