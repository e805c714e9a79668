package ai.lram.backend.cpu;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.ConvOps;
import java.lang.foreign.MemorySegment;

/** Convolutions of the CPU engine: checks shapes and splits the work over outputs. */
final class CpuConv implements ConvOps {
    /** Floats below which a loop is not worth a second thread. */
    private static final int GRAIN = 1 << 14;

    private final Workers workers;

    CpuConv(Workers workers) {
        this.workers = workers;
    }

    @Override
    public void causalConv1d(Stream s, Tensor x, Tensor w, Tensor bias, Tensor history, Tensor y) {
        Sequence q = Sequence.of("causalConv1d", x, w);
        Check.optional("causalConv1d", "bias", bias, q.channels);
        Check.optional("causalConv1d", "history", history, q.historySize());
        Check.f32("causalConv1d", "y", y, x.size());
        float[] taps = Scratch.floats(Scratch.CALL, (q.kernel + 1) * q.channels);
        CausalConv.taps(w.segment(), segment(bias), q.channels, q.kernel, taps);
        CausalConv conv = new CausalConv(x.segment(), segment(history), taps, q.tokens, q.channels, q.kernel);
        MemorySegment out = y.segment();
        workers.forRange(q.batch * q.tokens, Math.max(1, GRAIN / Math.max(1, q.channels)), (from, to) -> conv.forward(out, from, to));
    }

    @Override
    public void causalConv1dBackward(
            Stream s, Tensor dy, Tensor x, Tensor w, Tensor history, Tensor dx, Tensor dhistory, Tensor dw, Tensor dbias) {
        String kernel = "causalConv1dBackward";
        Sequence q = Sequence.of(kernel, x, w);
        Check.f32(kernel, "dy", dy, x.size());
        Check.optional(kernel, "history", history, q.historySize());
        Check.f32(kernel, "dx", dx, x.size());
        Check.optional(kernel, "dhistory", dhistory, q.historySize());
        Check.f32(kernel, "dw", dw, w.size());
        Check.optional(kernel, "dbias", dbias, q.channels);
        float[] taps = Scratch.floats(Scratch.CALL, (q.kernel + 1) * q.channels);
        CausalConv.taps(w.segment(), null, q.channels, q.kernel, taps);
        CausalConv conv = new CausalConv(x.segment(), segment(history), taps, q.tokens, q.channels, q.kernel);
        MemorySegment gy = dy.segment();
        MemorySegment gx = dx.segment();
        MemorySegment gh = segment(dhistory);
        MemorySegment gw = dw.segment();
        MemorySegment gb = segment(dbias);
        int strips = CausalConv.strips(q.channels);
        int grain = x.size() < GRAIN ? strips : (strips + 2 * workers.threads() - 1) / (2 * workers.threads());
        workers.forRange(strips, Math.max(1, grain), (from, to) -> conv.backward(gy, q.batch, gx, gh, gw, gb, from, to));
    }

    /** Sizes of a causal convolution, from x (B, S, C) and w (C, K). */
    private record Sequence(int batch, int tokens, int channels, int kernel) {
        static Sequence of(String kernel, Tensor x, Tensor w) {
            Check.f32(kernel, "x", x, x == null ? 0 : x.size());
            Check.f32(kernel, "w", w, w == null ? 0 : w.size());
            Check.that(
                    x.rank() >= 2 && w.rank() == 2 && w.dim(0) == x.dim(-1) && w.dim(1) >= 1,
                    kernel + ": x is " + x + ", w is " + w,
                    "x (B, S, C) and w (C, K) must agree in C, with K >= 1",
                    "pass one row of taps for each channel");
            int tokens = x.dim(-2);
            int channels = x.dim(-1);
            int batch = x.size() == 0 ? 0 : Math.toIntExact(x.size() / ((long) tokens * channels));
            Math.multiplyExact(w.dim(1) + 1, 4 * channels);
            return new Sequence(batch, tokens, channels, w.dim(1));
        }

        long historySize() {
            return (long) batch * (kernel - 1) * channels;
        }
    }

    private static MemorySegment segment(Tensor t) {
        return t == null ? null : t.segment();
    }

    @Override
    public void conv2d(Stream s, int stride, int pad, Tensor x, Tensor w, Tensor bias, Tensor scratch, Tensor y) {
        throw new UnsupportedOperationException("conv2d");
    }

    @Override
    public void conv2dBackward(
            Stream s, int stride, int pad, Tensor dy, Tensor x, Tensor w, Tensor scratch, Tensor dx, Tensor dw, Tensor dbias) {
        throw new UnsupportedOperationException("conv2dBackward");
    }

    @Override
    public long conv2dScratch(int n, int c, int h, int w, int outChannels, int kernel, int stride, int pad) {
        throw new UnsupportedOperationException("conv2dScratch");
    }

    @Override
    public void maxPool2d(Stream s, int kernel, int stride, int pad, Tensor x, Tensor y, Tensor index) {
        throw new UnsupportedOperationException("maxPool2d");
    }

    @Override
    public void maxPool2dBackward(Stream s, Tensor dy, Tensor index, Tensor dx) {
        throw new UnsupportedOperationException("maxPool2dBackward");
    }
}
