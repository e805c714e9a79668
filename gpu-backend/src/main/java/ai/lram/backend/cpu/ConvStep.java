package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;

/** Causal depthwise convolution of a session step, over blocks of {@link VectorMath#LANES} channels. Kernels of 4 taps are vectorised. */
final class ConvStep implements Workers.Range {
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private Tensor slots;
    private Tensor counts;
    private MemorySegment x;
    private MemorySegment w;
    private MemorySegment bias;
    private MemorySegment history;
    private MemorySegment y;
    private int rows;
    private int tokens;
    private int channels;
    private int taps;

    void with(
            Tensor slots,
            Tensor counts,
            Tensor x,
            Tensor w,
            Tensor bias,
            Tensor history,
            Tensor y,
            int rows,
            int tokens,
            int channels,
            int taps) {
        this.slots = slots;
        this.counts = counts;
        this.x = x.segment();
        this.w = w.segment();
        this.bias = bias == null ? null : bias.segment();
        this.history = history.segment();
        this.y = y.segment();
        this.rows = rows;
        this.tokens = tokens;
        this.channels = channels;
        this.taps = taps;
    }

    int units() {
        return (channels + LANES - 1) / LANES;
    }

    @Override
    public void run(int from, int to) {
        for (int unit = from; unit < to; unit++) {
            int c = unit * LANES;
            if (taps == 4 && c + LANES <= channels) {
                vectorBlock(c);
            } else {
                for (int e = c; e < Math.min(channels, c + LANES); e++) {
                    for (int b = 0; b < rows; b++) {
                        channel(e, b);
                    }
                }
            }
        }
    }

    private void vectorBlock(int c) {
        FloatVector w0 = FloatVector.fromMemorySegment(F, w, 16L * c, LE);
        FloatVector w1 = FloatVector.fromMemorySegment(F, w, 16L * c + 4L * LANES, LE);
        FloatVector w2 = FloatVector.fromMemorySegment(F, w, 16L * c + 8L * LANES, LE);
        FloatVector w3 = FloatVector.fromMemorySegment(F, w, 16L * c + 12L * LANES, LE);
        FloatVector t0 = tap(w0, w1, w2, w3, TAP_0);
        FloatVector t1 = tap(w0, w1, w2, w3, TAP_1);
        FloatVector t2 = tap(w0, w1, w2, w3, TAP_2);
        FloatVector t3 = tap(w0, w1, w2, w3, TAP_3);
        FloatVector start = bias == null ? FloatVector.zero(F) : FloatVector.fromMemorySegment(F, bias, 4L * c, LE);
        for (int b = 0; b < rows; b++) {
            long past = 4 * (3L * slots.getInt(b) * channels + c);
            FloatVector h0 = FloatVector.fromMemorySegment(F, history, past, LE);
            FloatVector h1 = FloatVector.fromMemorySegment(F, history, past + 4L * channels, LE);
            FloatVector h2 = FloatVector.fromMemorySegment(F, history, past + 8L * channels, LE);
            for (int t = tokens - counts.getInt(b); t < tokens; t++) {
                long at = 4 * (((long) b * tokens + t) * channels + c);
                FloatVector h3 = FloatVector.fromMemorySegment(F, x, at, LE);
                h3.fma(t3, h2.fma(t2, h1.fma(t1, h0.fma(t0, start)))).intoMemorySegment(y, at, LE);
                h0 = h1;
                h1 = h2;
                h2 = h3;
            }
            h0.intoMemorySegment(history, past, LE);
            h1.intoMemorySegment(history, past + 4L * channels, LE);
            h2.intoMemorySegment(history, past + 8L * channels, LE);
        }
    }

    private static final VectorShuffle<Float> TAP_0 = everyFourth(0);
    private static final VectorShuffle<Float> TAP_1 = everyFourth(1);
    private static final VectorShuffle<Float> TAP_2 = everyFourth(2);
    private static final VectorShuffle<Float> TAP_3 = everyFourth(3);
    private static final VectorMask<Float> QUARTER_1 = quarter(1);
    private static final VectorMask<Float> QUARTER_2 = quarter(2);
    private static final VectorMask<Float> QUARTER_3 = quarter(3);

    private static VectorShuffle<Float> everyFourth(int tap) {
        return VectorShuffle.fromOp(F, lane -> lane % (LANES / 4) * 4 + tap);
    }

    private static VectorMask<Float> quarter(int part) {
        boolean[] on = new boolean[LANES];
        for (int j = 0; j < LANES; j++) {
            on[j] = j / (LANES / 4) == part;
        }
        return VectorMask.fromArray(F, on, 0);
    }

    /** One tap of {@link VectorMath#LANES} channels out of their interleaved weights. */
    private static FloatVector tap(
            FloatVector w0, FloatVector w1, FloatVector w2, FloatVector w3, VectorShuffle<Float> s) {
        return w0.rearrange(s)
                .blend(w1.rearrange(s), QUARTER_1)
                .blend(w2.rearrange(s), QUARTER_2)
                .blend(w3.rearrange(s), QUARTER_3);
    }

    private void channel(int c, int b) {
        int n = counts.getInt(b);
        long past = (long) slots.getInt(b) * (taps - 1) * channels + c;
        long row = (long) b * tokens * channels + c;
        for (int t = tokens - n; t < tokens; t++) {
            float sum = bias == null ? 0 : bias.get(FLOAT, 4L * c);
            for (int j = 0; j < taps; j++) {
                int before = t - (tokens - n) + j - (taps - 1);
                float v = before < 0
                        ? history.get(FLOAT, 4 * (past + (long) (before + taps - 1) * channels))
                        : x.get(FLOAT, 4 * (row + (long) (tokens - n + before) * channels));
                sum = Math.fma(w.get(FLOAT, 4 * ((long) c * taps + j)), v, sum);
            }
            y.set(FLOAT, 4 * (row + (long) t * channels), sum);
        }
        for (int j = 0; j < taps - 1; j++) {
            int from = j + n;
            float v = from < taps - 1
                    ? history.get(FLOAT, 4 * (past + (long) from * channels))
                    : x.get(FLOAT, 4 * (row + (long) (tokens - n + from - (taps - 1)) * channels));
            history.set(FLOAT, 4 * (past + (long) j * channels), v);
        }
    }
}
