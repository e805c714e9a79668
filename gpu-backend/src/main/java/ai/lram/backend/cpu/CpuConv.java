package ai.lram.backend.cpu;

import ai.lram.backend.DType;
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
        float[] taps = ThreadFloats.get(ThreadFloats.CALL, (q.kernel + 1) * q.channels);
        CausalConv.taps(w.segment(), segment(bias), q.channels, q.kernel, taps);
        CausalConv conv = new CausalConv(x.segment(), segment(history), taps, q.tokens, q.channels, q.kernel);
        MemorySegment out = y.segment();
        workers.forRange(
                q.batch * q.tokens,
                Math.max(1, GRAIN / Math.max(1, q.channels)),
                (from, to) -> conv.forward(out, from, to));
    }

    @Override
    public void causalConv1dBackward(
            Stream s,
            Tensor dy,
            Tensor x,
            Tensor w,
            Tensor history,
            Tensor dx,
            Tensor dhistory,
            Tensor dw,
            Tensor dbias) {
        String kernel = "causalConv1dBackward";
        Sequence q = Sequence.of(kernel, x, w);
        Check.f32(kernel, "dy", dy, x.size());
        Check.optional(kernel, "history", history, q.historySize());
        Check.f32(kernel, "dx", dx, x.size());
        Check.optional(kernel, "dhistory", dhistory, q.historySize());
        Check.f32(kernel, "dw", dw, w.size());
        Check.optional(kernel, "dbias", dbias, q.channels);
        float[] taps = ThreadFloats.get(ThreadFloats.CALL, (q.kernel + 1) * q.channels);
        CausalConv.taps(w.segment(), null, q.channels, q.kernel, taps);
        CausalConv conv = new CausalConv(x.segment(), segment(history), taps, q.tokens, q.channels, q.kernel);
        MemorySegment gy = dy.segment();
        MemorySegment gx = dx.segment();
        MemorySegment gh = segment(dhistory);
        MemorySegment gw = dw.segment();
        MemorySegment gb = segment(dbias);
        int strips = CausalConv.strips(q.channels);
        int grain = x.size() < GRAIN ? strips : (strips + 2 * workers.threads() - 1) / (2 * workers.threads());
        workers.forRange(
                strips, Math.max(1, grain), (from, to) -> conv.backward(gy, q.batch, gx, gh, gw, gb, from, to));
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
        Conv2d.Shape shape = shape("conv2d", stride, pad, x, w);
        Check.optional("conv2d", "bias", bias, shape.outputs());
        Check.f32("conv2d", "y", y, outputSize(shape));
        requireScratch("conv2d", scratch, shape);
        Conv2d conv = new Conv2d(shape);
        MemorySegment m = scratch.segment();
        conv.prepare(m, w.segment(), segment(bias));
        fill(conv, m, x.segment());
        product(conv, shape, m, y.segment());
    }

    @Override
    public void conv2dBackward(
            Stream s,
            int stride,
            int pad,
            Tensor dy,
            Tensor x,
            Tensor w,
            Tensor scratch,
            Tensor dx,
            Tensor dw,
            Tensor dbias) {
        String kernel = "conv2dBackward";
        Conv2d.Shape shape = shape(kernel, stride, pad, x, w);
        Check.f32(kernel, "dy", dy, outputSize(shape));
        Check.optional(kernel, "dx", dx, x.size());
        Check.f32(kernel, "dw", dw, w.size());
        Check.optional(kernel, "dbias", dbias, shape.outputs());
        requireScratch(kernel, scratch, shape);
        Conv2d conv = new Conv2d(shape);
        MemorySegment m = scratch.segment();
        MemorySegment gy = dy.segment();
        MemorySegment gw = dw.segment();
        conv.prepare(m, w.segment(), null);
        fill(conv, m, x.segment());
        workers.forRange(
                shape.images() * shape.outputs(),
                grain(shape.pixels()),
                (from, to) -> conv.fillGradients(m, gy, from, to));
        int blocks = conv.tapBlocks();
        workers.forRange(
                blocks,
                (blocks + 2 * workers.threads() - 1) / (2 * workers.threads()),
                (from, to) -> conv.weightGradient(m, gy, gw, from, to));
        if (dbias != null) {
            MemorySegment gb = dbias.segment();
            workers.forRange(
                    shape.outputs(),
                    grain((long) shape.images() * shape.pixels()),
                    (from, to) -> conv.biasGradient(gy, gb, from, to));
        }
        if (dx != null) {
            Conv2d mirrored = new Conv2d(shape.mirrored());
            mirrored.prepareMirrored(m, w.segment());
            workers.forRange(
                    mirrored.planes(),
                    grain((long) shape.height() * shape.width()),
                    (from, to) -> mirrored.fillMirrored(m, gy, shape, from, to));
            product(mirrored, shape.mirrored(), m, dx.segment());
        }
    }

    private void fill(Conv2d conv, MemorySegment scratch, MemorySegment x) {
        workers.forRange(conv.planes(), grain(conv.planeSize()), (from, to) -> conv.fill(scratch, x, from, to));
    }

    private void product(Conv2d conv, Conv2d.Shape shape, MemorySegment scratch, MemorySegment y) {
        workers.forRange(
                shape.images() * conv.blocks(),
                grain((long) shape.pixels() * shape.taps()),
                (from, to) -> conv.product(scratch, y, from, to));
    }

    private static int grain(long floatsEach) {
        return (int) Math.max(1, GRAIN / Math.max(1, floatsEach));
    }

    private static Conv2d.Shape shape(String kernel, int stride, int pad, Tensor x, Tensor w) {
        Check.f32(kernel, "x", x, x == null ? 0 : x.size());
        Check.f32(kernel, "w", w, w == null ? 0 : w.size());
        Check.that(
                x.rank() == 4 && w.rank() == 4 && w.dim(1) == x.dim(1) && w.dim(2) == w.dim(3),
                kernel + ": x is " + x + ", w is " + w,
                "x (N, C, H, W) and w (O, C, k, k) must agree in C",
                "pass a square kernel for the input's channels");
        return shape(kernel, x.dim(0), x.dim(1), x.dim(2), x.dim(3), w.dim(0), w.dim(2), stride, pad);
    }

    private static Conv2d.Shape shape(
            String what, int n, int c, int h, int w, int outChannels, int kernel, int stride, int pad) {
        Check.that(
                n >= 0
                        && c >= 1
                        && outChannels >= 1
                        && kernel >= 1
                        && stride >= 1
                        && pad >= 0
                        && h + 2L * pad >= kernel
                        && w + 2L * pad >= kernel,
                what + ": " + n + " images of " + c + "x" + h + "x" + w + ", kernel " + kernel + ", stride " + stride
                        + ", padding " + pad,
                "the kernel must fit into the padded image, and sizes must be positive",
                "use a smaller kernel or more padding");
        return Conv2d.Shape.of(n, c, h, w, outChannels, kernel, stride, pad);
    }

    private static long outputSize(Conv2d.Shape shape) {
        return (long) shape.images() * shape.outputs() * shape.pixels();
    }

    private static void requireScratch(String kernel, Tensor scratch, Conv2d.Shape shape) {
        Check.f32(kernel, "scratch", scratch, scratch == null ? shape.scratch() : scratch.size());
        Check.that(
                scratch.size() >= shape.scratch(),
                kernel + ": scratch is " + scratch,
                shape.scratch() + " floats are needed",
                "allocate what conv2dScratch says");
    }

    @Override
    public long conv2dScratch(int n, int c, int h, int w, int outChannels, int kernel, int stride, int pad) {
        return shape("conv2dScratch", n, c, h, w, outChannels, kernel, stride, pad)
                .scratch();
    }

    @Override
    public void maxPool2d(Stream s, int kernel, int stride, int pad, Tensor x, Tensor y, Tensor index) {
        Check.f32("maxPool2d", "x", x, x == null ? 0 : x.size());
        Check.that(
                x.rank() == 4
                        && kernel >= 1
                        && stride >= 1
                        && pad >= 0
                        && pad <= kernel / 2
                        && x.dim(2) + 2L * pad >= kernel
                        && x.dim(3) + 2L * pad >= kernel,
                "maxPool2d: x is " + x + ", kernel " + kernel + ", stride " + stride + ", padding " + pad,
                "a window must fit into the padded image (N, C, H, W) and meet at least one pixel",
                "use padding of at most half the kernel, and a kernel that fits");
        int height = (x.dim(2) + 2 * pad - kernel) / stride + 1;
        int width = (x.dim(3) + 2 * pad - kernel) / stride + 1;
        int planes = x.dim(0) * x.dim(1);
        Check.f32("maxPool2d", "y", y, (long) planes * height * width);
        Check.size("maxPool2d", "index", index, DType.I32, y.size());
        Pool pool = new Pool(x.dim(2), x.dim(3), height, width, kernel, stride, pad);
        MemorySegment in = x.segment();
        MemorySegment out = y.segment();
        MemorySegment at = index.segment();
        workers.forRange(planes, grain((long) x.dim(2) * x.dim(3)), (from, to) -> pool.forward(in, out, at, from, to));
    }

    @Override
    public void maxPool2dBackward(Stream s, Tensor dy, Tensor index, Tensor dx) {
        String kernel = "maxPool2dBackward";
        Check.f32(kernel, "dy", dy, dy == null ? 0 : dy.size());
        Check.f32(kernel, "dx", dx, dx == null ? 0 : dx.size());
        Check.that(
                dy.rank() == 4 && dx.rank() == 4 && dy.dim(0) == dx.dim(0) && dy.dim(1) == dx.dim(1),
                kernel + ": dy is " + dy + ", dx is " + dx,
                "both are (N, C, ., .) of the same images and channels",
                "pass the gradient of the pooled images and room for that of the images");
        Check.size(kernel, "index", index, DType.I32, dy.size());
        int in = dx.dim(2) * dx.dim(3);
        int out = dy.dim(2) * dy.dim(3);
        MemorySegment at = index.segment();
        long bad = Pool.firstOutside(at, index.size(), in);
        Check.that(
                bad < 0,
                kernel + ": index[" + bad + "] is " + (bad < 0 ? 0 : index.getInt(bad)),
                "an image of dx has " + in + " pixels",
                "pass the index that maxPool2d wrote for images of this size");
        MemorySegment gy = dy.segment();
        MemorySegment gx = dx.segment();
        workers.forRange(dx.dim(0) * dx.dim(1), grain(in), (from, to) -> Pool.backward(gy, at, gx, in, out, from, to));
    }
}
