package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.ConvOps;

/** Launches {@code conv.cu}. */
final class CudaConv implements ConvOps {
    private final Engine engine;
    private final Kernel causal;
    private final Kernel causalBackward;
    private final Kernel causalSums;
    private final Kernel finishCausal;
    private final Kernel conv2d;
    private final Kernel conv2dInput;
    private final Kernel conv2dWeight;
    private final Kernel conv2dBias;
    private final Kernel maxPool;
    private final Kernel maxPoolBackward;

    CudaConv(Engine engine) {
        this.engine = engine;
        KernelModule module = new KernelModule(engine, "conv");
        causal = module.kernel("causal_conv");
        causalBackward = module.kernel("causal_conv_backward");
        causalSums = module.kernel("causal_conv_sums");
        finishCausal = module.kernel("finish_causal_conv");
        conv2d = module.kernel("conv2d");
        conv2dInput = module.kernel("conv2d_input");
        conv2dWeight = module.kernel("conv2d_weight");
        conv2dBias = module.kernel("conv2d_bias");
        maxPool = module.kernel("max_pool");
        maxPoolBackward = module.kernel("max_pool_backward");
    }

    /** Sizes of a causal convolution, from x (B, S, C) and w (C, K). */
    private record Sequence(int batch, int tokens, int channels, int taps) {
        static Sequence of(String kernel, Tensor x, Tensor w) {
            Check.f32(kernel, "x", x);
            Check.f32(kernel, "w", w);
            if (!(x.rank() >= 2 && w.rank() == 2 && w.dim(0) == x.dim(-1) && w.dim(1) >= 1)) {
                throw Check.mismatch(
                        kernel + ": x is " + x + ", w is " + w,
                        "x (B, S, C) and w (C, K) must agree in C, with K >= 1",
                        "pass one row of taps for each channel");
            }
            int tokens = x.dim(-2);
            int channels = x.dim(-1);
            return new Sequence(
                    x.size() == 0 ? 0 : Math.toIntExact(x.size() / ((long) tokens * channels)),
                    tokens,
                    channels,
                    w.dim(1));
        }

        long historySize() {
            return (long) batch * (taps - 1) * channels;
        }
    }

    @Override
    public void causalConv1d(Stream s, Tensor x, Tensor w, Tensor bias, Tensor history, Tensor y) {
        Sequence q = Sequence.of("causalConv1d", x, w);
        Check.optional("causalConv1d", "bias", bias, q.channels);
        Check.optional("causalConv1d", "history", history, q.historySize());
        Check.f32("causalConv1d", "y", y, x.size());
        if (x.size() > 0) {
            engine.launch(causal)
                    .put(x)
                    .put(w)
                    .put(bias)
                    .put(history)
                    .put(y)
                    .put(x.size())
                    .put(q.tokens)
                    .put(q.channels)
                    .put(q.taps)
                    .run(engine.blocks(x.size()));
        }
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
        if (x.size() == 0) {
            return;
        }
        long n = x.size() + (dhistory == null ? 0 : dhistory.size());
        engine.launch(causalBackward)
                .put(dy)
                .put(w)
                .put(dx)
                .put(dhistory)
                .put(n)
                .put(q.batch)
                .put(q.tokens)
                .put(q.channels)
                .put(q.taps)
                .run(engine.blocks(n));
        long columns = (q.taps + 1L) * q.channels;
        int shares = ColumnSums.shares(kernel, (long) q.batch * q.tokens, columns);
        engine.launch(causalSums)
                .put(dy)
                .put(x)
                .put(history)
                .put(engine.partials())
                .put(q.batch)
                .put(q.tokens)
                .put(q.channels)
                .put(q.taps)
                .run(ColumnSums.blocks(columns), shares, 1, Engine.THREADS, 0);
        engine.launch(finishCausal)
                .put(engine.partials())
                .put(dw)
                .put(dbias)
                .put(shares)
                .put(q.channels)
                .put(q.taps)
                .run(engine.blocks(columns));
    }

    /** Sizes of a 2-D convolution. */
    private record Shape(
            int images,
            int channels,
            int height,
            int width,
            int outputs,
            int outHeight,
            int outWidth,
            int kernel,
            int stride,
            int pad) {
        static Shape of(String kernel, int stride, int pad, Tensor x, Tensor w) {
            Check.f32(kernel, "x", x);
            Check.f32(kernel, "w", w);
            if (!(x.rank() == 4 && w.rank() == 4 && w.dim(1) == x.dim(1) && w.dim(2) == w.dim(3))) {
                throw Check.mismatch(
                        kernel + ": x is " + x + ", w is " + w,
                        "x (N, C, H, W) and w (O, C, k, k) must agree in C",
                        "pass a square kernel for the input's channels");
            }
            return of(kernel, x.dim(0), x.dim(1), x.dim(2), x.dim(3), w.dim(0), w.dim(2), stride, pad);
        }

        static Shape of(String what, int n, int c, int h, int w, int outputs, int kernel, int stride, int pad) {
            if (!(n >= 0
                    && c >= 1
                    && outputs >= 1
                    && kernel >= 1
                    && stride >= 1
                    && pad >= 0
                    && h + 2L * pad >= kernel
                    && w + 2L * pad >= kernel)) {
                throw Check.mismatch(
                        what + ": " + n + " images of " + c + "x" + h + "x" + w + ", kernel " + kernel + ", stride "
                                + stride + ", padding " + pad,
                        "the kernel must fit into the padded image, and sizes must be positive",
                        "use a smaller kernel or more padding");
            }
            return new Shape(
                    n,
                    c,
                    h,
                    w,
                    outputs,
                    (h + 2 * pad - kernel) / stride + 1,
                    (w + 2 * pad - kernel) / stride + 1,
                    kernel,
                    stride,
                    pad);
        }

        long outputSize() {
            return (long) images * outputs * outHeight * outWidth;
        }

        long weights() {
            return (long) outputs * channels * kernel * kernel;
        }

        Engine.Launch put(Engine.Launch launch) {
            return launch.put(channels)
                    .put(height)
                    .put(width)
                    .put(outputs)
                    .put(outHeight)
                    .put(outWidth)
                    .put(kernel)
                    .put(stride)
                    .put(pad);
        }
    }

    /** The direct kernels need none; one float, so that a size can be asked for. */
    @Override
    public long conv2dScratch(int n, int c, int h, int w, int outChannels, int kernel, int stride, int pad) {
        Shape.of("conv2dScratch", n, c, h, w, outChannels, kernel, stride, pad);
        return 1;
    }

    private static void requireScratch(String kernel, Tensor scratch) {
        Check.f32(kernel, "scratch", scratch, scratch == null ? 1 : scratch.size());
        if (!(scratch.size() >= 1)) {
            throw Check.mismatch(
                    kernel + ": scratch is " + scratch, "1 float is needed", "allocate what conv2dScratch says");
        }
    }

    @Override
    public void conv2d(Stream s, int stride, int pad, Tensor x, Tensor w, Tensor bias, Tensor scratch, Tensor y) {
        Shape shape = Shape.of("conv2d", stride, pad, x, w);
        Check.optional("conv2d", "bias", bias, shape.outputs);
        Check.f32("conv2d", "y", y, shape.outputSize());
        requireScratch("conv2d", scratch);
        if (y.size() > 0) {
            shape.put(engine.launch(conv2d).put(x).put(w).put(bias).put(y).put(y.size()))
                    .run(engine.blocks(y.size()));
        }
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
        Shape shape = Shape.of(kernel, stride, pad, x, w);
        Check.f32(kernel, "dy", dy, shape.outputSize());
        Check.optional(kernel, "dx", dx, x.size());
        Check.f32(kernel, "dw", dw, w.size());
        Check.optional(kernel, "dbias", dbias, shape.outputs);
        requireScratch(kernel, scratch);
        if (x.size() == 0) {
            return;
        }
        shape.put(engine.launch(conv2dWeight).put(dy).put(x).put(dw).put(shape.images))
                .run(shape.weights());
        if (dbias != null) {
            engine.launch(conv2dBias)
                    .put(dy)
                    .put(dbias)
                    .put(shape.images)
                    .put(shape.outputs)
                    .put(shape.outHeight * shape.outWidth)
                    .run(shape.outputs);
        }
        if (dx != null) {
            shape.put(engine.launch(conv2dInput).put(dy).put(w).put(dx).put(dx.size()))
                    .run(engine.blocks(dx.size()));
        }
    }

    @Override
    public void maxPool2d(Stream s, int kernel, int stride, int pad, Tensor x, Tensor y, Tensor index) {
        Check.f32("maxPool2d", "x", x);
        if (!(x.rank() == 4
                && kernel >= 1
                && stride >= 1
                && pad >= 0
                && pad <= kernel / 2
                && x.dim(2) + 2L * pad >= kernel
                && x.dim(3) + 2L * pad >= kernel)) {
            throw Check.mismatch(
                    "maxPool2d: x is " + x + ", kernel " + kernel + ", stride " + stride + ", padding " + pad,
                    "a window must fit into the padded image (N, C, H, W) and meet at least one pixel",
                    "use padding of at most half the kernel, and a kernel that fits");
        }
        int height = (x.dim(2) + 2 * pad - kernel) / stride + 1;
        int width = (x.dim(3) + 2 * pad - kernel) / stride + 1;
        Check.f32("maxPool2d", "y", y, (long) x.dim(0) * x.dim(1) * height * width);
        Check.size("maxPool2d", "index", index, DType.I32, y.size());
        if (y.size() > 0) {
            engine.launch(maxPool)
                    .put(x)
                    .put(y)
                    .put(index)
                    .put(y.size())
                    .put(x.dim(2))
                    .put(x.dim(3))
                    .put(height)
                    .put(width)
                    .put(kernel)
                    .put(stride)
                    .put(pad)
                    .run(engine.blocks(y.size()));
        }
    }

    @Override
    public void maxPool2dBackward(Stream s, Tensor dy, Tensor index, Tensor dx) {
        String kernel = "maxPool2dBackward";
        Check.f32(kernel, "dy", dy);
        Check.f32(kernel, "dx", dx);
        if (!(dy.rank() == 4 && dx.rank() == 4 && dy.dim(0) == dx.dim(0) && dy.dim(1) == dx.dim(1))) {
            throw Check.mismatch(
                    kernel + ": dy is " + dy + ", dx is " + dx,
                    "both are (N, C, ., .) of the same images and channels",
                    "pass the gradient of the pooled images and room for that of the images");
        }
        Check.size(kernel, "index", index, DType.I32, dy.size());
        int planes = dx.dim(0) * dx.dim(1);
        if (planes > 0) {
            engine.launch(maxPoolBackward)
                    .put(dy)
                    .put(index)
                    .put(dx)
                    .put(planes)
                    .put(dx.dim(2) * dx.dim(3))
                    .put(dy.dim(2) * dy.dim(3))
                    .run(engine.blocks(planes));
        }
    }
}
