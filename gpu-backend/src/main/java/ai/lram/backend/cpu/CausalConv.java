package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/**
 * Causal depthwise convolution along tokens, vectorised over channels. Weights come as taps: a (K+1, C) array, tap by
 * tap, the bias last (zeros where there is none). The published width K = 4 keeps its window in registers; other widths
 * take a general path, which adds in the same order going forward.
 */
final class CausalConv {
    /** Tokens summed in fp32 before a compensated addition to the weight gradient, an even number. */
    private static final int CHUNK = 64;

    /** Channels whose gradients are computed together where K = 4, a multiple of every vector length. */
    private static final int STRIP = 512;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    private final MemorySegment x;
    private final MemorySegment history;
    private final float[] taps;
    private final int tokens;
    private final int channels;
    private final int kernel;

    /** @param history (B, K-1, C) or null for zeros */
    CausalConv(MemorySegment x, MemorySegment history, float[] taps, int tokens, int channels, int kernel) {
        this.x = x;
        this.history = history;
        this.taps = taps;
        this.tokens = tokens;
        this.channels = channels;
        this.kernel = kernel;
    }

    /** Transposes w (C, K) and bias (C, or null) into taps (K+1, C). */
    static void taps(MemorySegment w, MemorySegment bias, int channels, int kernel, float[] taps) {
        for (int c = 0; c < channels; c++) {
            for (int j = 0; j < kernel; j++) {
                taps[j * channels + c] = w.get(FLOAT, 4L * ((long) c * kernel + j));
            }
            taps[kernel * channels + c] = bias == null ? 0 : bias.get(FLOAT, 4L * c);
        }
    }

    /** Rows {@code from .. to-1} of the (B*S, C) output. */
    void forward(MemorySegment y, int from, int to) {
        long pitch = 4L * channels;
        for (int row = from; row < to; row++) {
            int t = row % tokens;
            if (kernel == 4 && t >= 3) {
                row4(x, (row - 3) * pitch, taps, y, row * pitch, channels);
            } else {
                rowAny(y, row / tokens, t);
            }
        }
    }

    private static void row4(MemorySegment x, long oldest, float[] taps, MemorySegment y, long at, int channels) {
        long pitch = 4L * channels;
        int c = 0;
        for (; c <= channels - LANES; c += LANES) {
            long o = oldest + 4L * c;
            FloatVector a = FloatVector.fromArray(F, taps, 4 * channels + c);
            a = FloatVector.fromMemorySegment(F, x, o, LE).fma(FloatVector.fromArray(F, taps, c), a);
            a = FloatVector.fromMemorySegment(F, x, o + pitch, LE).fma(FloatVector.fromArray(F, taps, channels + c), a);
            a = FloatVector.fromMemorySegment(F, x, o + 2 * pitch, LE)
                    .fma(FloatVector.fromArray(F, taps, 2 * channels + c), a);
            a = FloatVector.fromMemorySegment(F, x, o + 3 * pitch, LE)
                    .fma(FloatVector.fromArray(F, taps, 3 * channels + c), a);
            a.intoMemorySegment(y, at + 4L * c, LE);
        }
        for (; c < channels; c++) {
            float a = taps[4 * channels + c];
            for (int j = 0; j < 4; j++) {
                a = Math.fma(x.get(FLOAT, oldest + j * pitch + 4L * c), taps[j * channels + c], a);
            }
            y.set(FLOAT, at + 4L * c, a);
        }
    }

    private void rowAny(MemorySegment y, int b, int t) {
        long at = 4L * ((long) b * tokens + t) * channels;
        MemorySegment.copy(taps, kernel * channels, y, FLOAT, at, channels);
        for (int j = 0; j < kernel; j++) {
            int u = t - kernel + 1 + j;
            if (u >= 0) {
                addScaledRow(x, rowOf(b, u), taps, j * channels, y, at, channels);
            } else if (history != null) {
                addScaledRow(history, historyRowOf(b, u), taps, j * channels, y, at, channels);
            }
        }
    }

    private long rowOf(int b, int t) {
        return 4L * ((long) b * tokens + t) * channels;
    }

    /** Byte offset of the history row that stands for token {@code t} < 0. */
    private long historyRowOf(int b, int t) {
        return 4L * ((long) b * (kernel - 1) + kernel - 1 + t) * channels;
    }

    private static void addScaledRow(
            MemorySegment x, long xAt, float[] taps, int tap, MemorySegment y, long yAt, int channels) {
        int c = 0;
        for (; c <= channels - LANES; c += LANES) {
            FloatVector.fromMemorySegment(F, x, xAt + 4L * c, LE)
                    .fma(FloatVector.fromArray(F, taps, tap + c), FloatVector.fromMemorySegment(F, y, yAt + 4L * c, LE))
                    .intoMemorySegment(y, yAt + 4L * c, LE);
        }
        for (; c < channels; c++) {
            long o = yAt + 4L * c;
            y.set(FLOAT, o, Math.fma(x.get(FLOAT, xAt + 4L * c), taps[tap + c], y.get(FLOAT, o)));
        }
    }

    /** Vectors of channels, the last one perhaps incomplete: the units {@link #backward} is split by. */
    static int strips(int channels) {
        return (channels + LANES - 1) / LANES;
    }

    /**
     * Gradients of the channels in strips {@code from .. to-1}: dx and dhistory (or null) written, dw (C, K) and dbias
     * (or null) added to.
     */
    void backward(
            MemorySegment dy,
            int batch,
            MemorySegment dx,
            MemorySegment dhistory,
            MemorySegment dw,
            MemorySegment dbias,
            int from,
            int to) {
        int full = Math.min(to, channels / LANES);
        int width = Math.max(0, full - from) * LANES;
        int sums = (kernel + 1) * width;
        float[] acc = ThreadFloats.get(ThreadFloats.BODY, 2 * sums + 10 * STRIP);
        Arrays.fill(acc, 0, 2 * sums, 0);
        for (int b = 0; b < batch; b++) {
            if (kernel == 4) {
                for (int c = 0; c < width; c += STRIP) {
                    wide4(dy, dx, b, from * LANES + c, Math.min(STRIP, width - c), acc, c, width);
                }
                continue;
            }
            for (int t0 = 0; t0 < tokens; t0 += CHUNK) {
                int t1 = Math.min(tokens, t0 + CHUNK);
                for (int strip = from; strip < full; strip++) {
                    stripAny(dy, dx, b, t0, t1, strip * LANES, acc, (strip - from) * LANES, width);
                }
            }
        }
        for (int i = 0; i < width; i++) {
            long c = (long) from * LANES + i;
            for (int j = 0; j < kernel; j++) {
                addTo(dw, c * kernel + j, acc[j * width + i] - acc[sums + j * width + i]);
            }
            if (dbias != null) {
                addTo(dbias, c, acc[kernel * width + i] - acc[sums + kernel * width + i]);
            }
        }
        if (to > channels / LANES) {
            for (int c = channels - channels % LANES; c < channels; c++) {
                oneChannel(dy, batch, dx, dw, dbias, c);
            }
        }
        if (dhistory != null) {
            for (int c = from * LANES; c < Math.min(channels, to * LANES); c++) {
                historyGradient(dy, batch, dhistory, c);
            }
        }
    }

    private static void addTo(MemorySegment m, long i, float v) {
        m.set(FLOAT, 4 * i, m.get(FLOAT, 4 * i) + v);
    }

    /** The convolution's input at any token: {@code x}, before it the history, before that or without it zero. */
    private FloatVector input(int b, int t, int c) {
        if (t >= 0) {
            return FloatVector.fromMemorySegment(F, x, rowOf(b, t) + 4L * c, LE);
        }
        return history == null
                ? FloatVector.zero(F)
                : FloatVector.fromMemorySegment(F, history, historyRowOf(b, t) + 4L * c, LE);
    }

    private FloatVector later(MemorySegment dy, int b, int t, int c) {
        return t < tokens ? FloatVector.fromMemorySegment(F, dy, rowOf(b, t) + 4L * c, LE) : FloatVector.zero(F);
    }

    /**
     * A sequence's gradients of {@code n} channels, whole vectors, two tokens at a time where all their neighbours exist. {@code acc} holds
     * the sums of all channels, behind them the compensations and room for the sums of a few tokens.
     */
    private void wide4(MemorySegment dy, MemorySegment dx, int b, int channel, int n, float[] acc, int at, int width) {
        int strip = 10 * width;
        int part = strip + 5 * STRIP;
        for (int j = 0; j < 4; j++) {
            System.arraycopy(taps, j * channels + channel, acc, strip + j * STRIP, n);
        }
        int t = Math.min(3, tokens);
        edge4(dy, dx, b, 0, t, channel, n, acc, at, width);
        while (t + 4 < tokens) {
            int end = Math.min(tokens - 4, t + CHUNK);
            Arrays.fill(acc, part, part + 5 * STRIP, 0f);
            for (; t < end; t += 2) {
                long o = ((long) b * tokens + t) * channels + channel;
                inputPair(dy, o, channels, acc, strip, dx, n);
                weightPair(dy, x, o, channels, acc, part, n);
            }
            for (int j = 0; j < 5; j++) {
                for (int c = 0; c < n; c += LANES) {
                    FloatVector sum = FloatVector.fromArray(F, acc, part + j * STRIP + c);
                    compensatedAdd(acc, at + j * width + c, 5 * width, sum);
                }
            }
        }
        edge4(dy, dx, b, t, tokens, channel, n, acc, at, width);
    }

    private void edge4(
            MemorySegment dy,
            MemorySegment dx,
            int b,
            int t0,
            int t1,
            int channel,
            int n,
            float[] acc,
            int at,
            int width) {
        for (int c = 0; c < n && t0 < t1; c += LANES) {
            strip4(dy, dx, b, t0, t1, channel + c, acc, at + c, width);
        }
    }

    /** dx of two tokens; offsets in elements. */
    private static void inputPair(
            MemorySegment dy, long o, int pitch, float[] acc, int strip, MemorySegment dx, int n) {
        long o1 = o + pitch;
        long o2 = o1 + pitch;
        long o3 = o2 + pitch;
        long o4 = o3 + pitch;
        for (int c = 0; c < n; c += LANES) {
            FloatVector w0 = FloatVector.fromArray(F, acc, strip + c);
            FloatVector w1 = FloatVector.fromArray(F, acc, strip + STRIP + c);
            FloatVector w2 = FloatVector.fromArray(F, acc, strip + 2 * STRIP + c);
            FloatVector w3 = FloatVector.fromArray(F, acc, strip + 3 * STRIP + c);
            FloatVector g1 = load(dy, o1 + c);
            FloatVector g2 = load(dy, o2 + c);
            FloatVector g3 = load(dy, o3 + c);
            store(load(dy, o + c).mul(w3).add(g1.mul(w2)).add(g2.fma(w1, g3.mul(w0))), dx, o + c);
            store(g1.mul(w3).add(g2.mul(w2)).add(g3.fma(w1, load(dy, o4 + c).mul(w0))), dx, o1 + c);
        }
    }

    /** Adds what two tokens give to the sums for the taps and the bias. */
    private static void weightPair(MemorySegment dy, MemorySegment x, long o, int pitch, float[] acc, int part, int n) {
        long o1 = o + pitch;
        long p1 = o - pitch;
        long p2 = p1 - pitch;
        long p3 = p2 - pitch;
        for (int c = 0; c < n; c += LANES) {
            int i = part + c;
            FloatVector g = load(dy, o + c);
            FloatVector h = load(dy, o1 + c);
            FloatVector x2 = load(x, p2 + c);
            FloatVector x1 = load(x, p1 + c);
            FloatVector x0 = load(x, o + c);
            FloatVector s = g.fma(load(x, p3 + c), FloatVector.fromArray(F, acc, i));
            h.fma(x2, s).intoArray(acc, i);
            s = g.fma(x2, FloatVector.fromArray(F, acc, i + STRIP));
            h.fma(x1, s).intoArray(acc, i + STRIP);
            s = g.fma(x1, FloatVector.fromArray(F, acc, i + 2 * STRIP));
            h.fma(x0, s).intoArray(acc, i + 2 * STRIP);
            s = g.fma(x0, FloatVector.fromArray(F, acc, i + 3 * STRIP));
            h.fma(load(x, o1 + c), s).intoArray(acc, i + 3 * STRIP);
            s = g.add(h);
            s.add(FloatVector.fromArray(F, acc, i + 4 * STRIP)).intoArray(acc, i + 4 * STRIP);
        }
    }

    private void strip4(
            MemorySegment dy, MemorySegment dx, int b, int t0, int t1, int c, float[] acc, int at, int width) {
        FloatVector w0 = FloatVector.fromArray(F, taps, c);
        FloatVector w1 = FloatVector.fromArray(F, taps, channels + c);
        FloatVector w2 = FloatVector.fromArray(F, taps, 2 * channels + c);
        FloatVector w3 = FloatVector.fromArray(F, taps, 3 * channels + c);
        FloatVector x3 = input(b, t0 - 3, c);
        FloatVector x2 = input(b, t0 - 2, c);
        FloatVector x1 = input(b, t0 - 1, c);
        FloatVector g0 = later(dy, b, t0, c);
        FloatVector g1 = later(dy, b, t0 + 1, c);
        FloatVector g2 = later(dy, b, t0 + 2, c);
        FloatVector d0 = FloatVector.zero(F);
        FloatVector d1 = d0;
        FloatVector d2 = d0;
        FloatVector d3 = d0;
        FloatVector db = d0;
        long pitch = 4L * channels;
        long o = rowOf(b, t0) + 4L * c;
        int inside = Math.min(t1, tokens - 3);
        int t = t0;
        for (; t < inside; t++, o += pitch) {
            FloatVector g3 = FloatVector.fromMemorySegment(F, dy, o + 3 * pitch, LE);
            FloatVector x0 = FloatVector.fromMemorySegment(F, x, o, LE);
            d0 = g0.fma(x3, d0);
            d1 = g0.fma(x2, d1);
            d2 = g0.fma(x1, d2);
            d3 = g0.fma(x0, d3);
            db = db.add(g0);
            g0.mul(w3).add(g1.mul(w2)).add(g2.fma(w1, g3.mul(w0))).intoMemorySegment(dx, o, LE);
            x3 = x2;
            x2 = x1;
            x1 = x0;
            g0 = g1;
            g1 = g2;
            g2 = g3;
        }
        for (; t < t1; t++, o += pitch) {
            FloatVector x0 = FloatVector.fromMemorySegment(F, x, o, LE);
            d0 = g0.fma(x3, d0);
            d1 = g0.fma(x2, d1);
            d2 = g0.fma(x1, d2);
            d3 = g0.fma(x0, d3);
            db = db.add(g0);
            g0.mul(w3).add(g1.mul(w2)).add(g2.mul(w1)).intoMemorySegment(dx, o, LE);
            x3 = x2;
            x2 = x1;
            x1 = x0;
            g0 = g1;
            g1 = g2;
            g2 = FloatVector.zero(F);
        }
        int sums = 5 * width;
        compensatedAdd(acc, at, sums, d0);
        compensatedAdd(acc, at + width, sums, d1);
        compensatedAdd(acc, at + 2 * width, sums, d2);
        compensatedAdd(acc, at + 3 * width, sums, d3);
        compensatedAdd(acc, at + 4 * width, sums, db);
    }

    private void stripAny(
            MemorySegment dy, MemorySegment dx, int b, int t0, int t1, int c, float[] acc, int at, int width) {
        int sums = (kernel + 1) * width;
        for (int j = 0; j < kernel; j++) {
            FloatVector d = FloatVector.zero(F);
            for (int t = t0; t < t1; t++) {
                d = later(dy, b, t, c).fma(input(b, t - kernel + 1 + j, c), d);
            }
            compensatedAdd(acc, at + j * width, sums, d);
        }
        FloatVector db = FloatVector.zero(F);
        for (int t = t0; t < t1; t++) {
            db = db.add(later(dy, b, t, c));
            FloatVector d = FloatVector.zero(F);
            for (int j = Math.max(0, t + kernel - tokens); j < kernel; j++) {
                d = later(dy, b, t + kernel - 1 - j, c).fma(FloatVector.fromArray(F, taps, j * channels + c), d);
            }
            d.intoMemorySegment(dx, rowOf(b, t) + 4L * c, LE);
        }
        compensatedAdd(acc, at + kernel * width, sums, db);
    }

    /** Kahan's summation; the compensation lies {@code comp} elements after the sum. */
    private static void compensatedAdd(float[] acc, int at, int comp, FloatVector v) {
        FloatVector sum = FloatVector.fromArray(F, acc, at);
        FloatVector y = v.sub(FloatVector.fromArray(F, acc, at + comp));
        FloatVector t = sum.add(y);
        t.sub(sum).sub(y).intoArray(acc, at + comp);
        t.intoArray(acc, at);
    }

    private void oneChannel(
            MemorySegment dy, int batch, MemorySegment dx, MemorySegment dw, MemorySegment dbias, int c) {
        for (int j = 0; j < kernel; j++) {
            double d = 0;
            for (int b = 0; b < batch; b++) {
                for (int t = 0; t < tokens; t++) {
                    int u = t - kernel + 1 + j;
                    float in = u >= 0
                            ? x.get(FLOAT, rowOf(b, u) + 4L * c)
                            : history == null ? 0 : history.get(FLOAT, historyRowOf(b, u) + 4L * c);
                    d += (double) dy.get(FLOAT, rowOf(b, t) + 4L * c) * in;
                }
            }
            addTo(dw, (long) c * kernel + j, (float) d);
        }
        double db = 0;
        for (int b = 0; b < batch; b++) {
            for (int t = 0; t < tokens; t++) {
                db += dy.get(FLOAT, rowOf(b, t) + 4L * c);
                float d = 0;
                for (int j = Math.max(0, t + kernel - tokens); j < kernel; j++) {
                    d = Math.fma(dy.get(FLOAT, rowOf(b, t + kernel - 1 - j) + 4L * c), taps[j * channels + c], d);
                }
                dx.set(FLOAT, rowOf(b, t) + 4L * c, d);
            }
        }
        if (dbias != null) {
            addTo(dbias, c, (float) db);
        }
    }

    private void historyGradient(MemorySegment dy, int batch, MemorySegment dhistory, int c) {
        for (int b = 0; b < batch; b++) {
            for (int r = 0; r < kernel - 1; r++) {
                float d = 0;
                for (int j = Math.max(0, r - tokens + 1); j <= r; j++) {
                    d = Math.fma(dy.get(FLOAT, rowOf(b, r - j) + 4L * c), taps[j * channels + c], d);
                }
                dhistory.set(FLOAT, historyRowOf(b, r - kernel + 1) + 4L * c, d);
            }
        }
    }
}
