package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.ElementwiseOps;

/** Launches {@code elementwise.cu}. */
final class CudaElementwise implements ElementwiseOps {
    private final Engine engine;
    private final ColumnSums sums;
    private final Kernel activation;
    private final Kernel activationBackward;
    private final Kernel add;
    private final Kernel axpy;
    private final Kernel scale;
    private final Kernel gate;
    private final Kernel gateBackward;
    private final Kernel skipGate;
    private final Kernel skipGateBackward;
    private final Kernel skipSums;
    private final Kernel softCap;
    private final Kernel softCapBackward;
    private final Kernel fill;
    private final Kernel copyRows;
    private final Kernel fromBytes;

    CudaElementwise(Engine engine, KernelModule module, ColumnSums sums) {
        this.engine = engine;
        this.sums = sums;
        activation = module.kernel("activation");
        activationBackward = module.kernel("activation_backward");
        add = module.kernel("add");
        axpy = module.kernel("axpy");
        scale = module.kernel("scale");
        gate = module.kernel("gate");
        gateBackward = module.kernel("gate_backward");
        skipGate = module.kernel("skip_gate");
        skipGateBackward = module.kernel("skip_gate_backward");
        skipSums = module.kernel("skip_sums");
        softCap = module.kernel("soft_cap");
        softCapBackward = module.kernel("soft_cap_backward");
        fill = module.kernel("fill");
        copyRows = module.kernel("copy_rows");
        fromBytes = module.kernel("from_bytes");
    }

    /** Runs a kernel over {@code n} elements; its arguments end with what the caller has put. */
    private void run(Engine.Launch launch, long n) {
        launch.run(n == 0 ? 0 : engine.blocks(n));
    }

    @Override
    public void activation(Stream s, Activation act, Tensor x, Tensor y) {
        long n = Check.f32("activation", "y", y);
        Check.f32("activation", "x", x, n);
        activate(act, x, y);
    }

    /** y = act(x), sizes checked; y may be x. */
    void activate(Activation act, Tensor x, Tensor y) {
        run(engine.launch(activation).put(x).put(y).put(y.size()).put(act.ordinal()), y.size());
    }

    @Override
    public void activationBackward(Stream s, Activation act, Tensor x, Tensor dy, Tensor dx) {
        long n = Check.f32("activationBackward", "dx", dx);
        Check.f32("activationBackward", "x", x, n);
        Check.f32("activationBackward", "dy", dy, n);
        run(engine.launch(activationBackward).put(x).put(dy).put(dx).put(n).put(act.ordinal()), n);
    }

    @Override
    public void add(Stream s, Tensor a, Tensor b, Tensor y) {
        long n = Check.f32("add", "y", y);
        Check.f32("add", "a", a, n);
        Check.f32("add", "b", b, n);
        run(engine.launch(add).put(a).put(b).put(y).put(n), n);
    }

    @Override
    public void axpy(Stream s, float alpha, Tensor x, Tensor y) {
        long n = Check.f32("axpy", "y", y);
        Check.f32("axpy", "x", x, n);
        run(engine.launch(axpy).put(x).put(y).put(n).put(alpha), n);
    }

    @Override
    public void scale(Stream s, float alpha, Tensor x, Tensor y) {
        long n = Check.f32("scale", "y", y);
        Check.f32("scale", "x", x, n);
        run(engine.launch(scale).put(x).put(y).put(n).put(alpha), n);
    }

    @Override
    public void gate(Stream s, Activation act, Tensor g, Tensor u, Tensor y) {
        long n = Check.f32("gate", "y", y);
        Check.f32("gate", "g", g, n);
        Check.f32("gate", "u", u, n);
        run(engine.launch(gate).put(g).put(u).put(y).put(n).put(act.ordinal()), n);
    }

    @Override
    public void gateBackward(Stream s, Activation act, Tensor g, Tensor u, Tensor dy, Tensor dg, Tensor du) {
        long n = Check.f32("gateBackward", "dy", dy);
        Check.f32("gateBackward", "g", g, n);
        Check.f32("gateBackward", "u", u, n);
        Check.f32("gateBackward", "dg", dg, n);
        Check.f32("gateBackward", "du", du, n);
        run(
                engine.launch(gateBackward)
                        .put(g)
                        .put(u)
                        .put(dy)
                        .put(dg)
                        .put(du)
                        .put(n)
                        .put(act.ordinal()),
                n);
    }

    /** Width of the rows that {@code skip} says {@code n} elements lie in. */
    private static int width(String kernel, Tensor skip, long n) {
        long width = Check.f32(kernel, "skip", skip);
        if (!(width > 0 && width <= Integer.MAX_VALUE && n % width == 0)) {
            throw Check.mismatch(
                    kernel + ": " + n + " elements in rows as long as skip " + skip,
                    "the size is no multiple of the row length",
                    "pass skip with one element per column");
        }
        return (int) width;
    }

    @Override
    public void skipGate(Stream s, Tensor h, Tensor skip, Tensor c, Tensor z, Tensor y) {
        long n = Check.f32("skipGate", "y", y);
        int width = width("skipGate", skip, n);
        Check.f32("skipGate", "h", h, n);
        Check.f32("skipGate", "c", c, n);
        Check.f32("skipGate", "z", z, n);
        run(engine.launch(skipGate).put(h).put(skip).put(c).put(z).put(y).put(n).put(width), n);
    }

    @Override
    public void skipGateBackward(
            Stream s,
            Tensor h,
            Tensor skip,
            Tensor c,
            Tensor z,
            Tensor dy,
            Tensor dh,
            Tensor dskip,
            Tensor dc,
            Tensor dz) {
        String kernel = "skipGateBackward";
        long n = Check.f32(kernel, "dy", dy);
        int width = width(kernel, skip, n);
        int rows = Math.toIntExact(n / width);
        Check.f32(kernel, "h", h, n);
        Check.f32(kernel, "c", c, n);
        Check.f32(kernel, "z", z, n);
        Check.f32(kernel, "dh", dh, n);
        Check.f32(kernel, "dskip", dskip, width);
        Check.f32(kernel, "dc", dc, n);
        Check.f32(kernel, "dz", dz, n);
        int shares = ColumnSums.shares(kernel, rows, width);
        engine.launch(skipSums)
                .put(c)
                .put(z)
                .put(dy)
                .put(engine.partials())
                .put(rows)
                .put(width)
                .run(ColumnSums.blocks(width), shares, 1, Engine.THREADS, 0);
        sums.finish(shares, width, dskip);
        run(
                engine.launch(skipGateBackward)
                        .put(h)
                        .put(skip)
                        .put(c)
                        .put(z)
                        .put(dy)
                        .put(dh)
                        .put(dc)
                        .put(dz)
                        .put(n)
                        .put(width),
                n);
    }

    @Override
    public void softCap(Stream s, float cap, Tensor x, Tensor y) {
        long n = Check.f32("softCap", "y", y);
        Check.f32("softCap", "x", x, n);
        run(engine.launch(softCap).put(x).put(y).put(n).put(cap), n);
    }

    @Override
    public void softCapBackward(Stream s, float cap, Tensor y, Tensor dy, Tensor dx) {
        long n = Check.f32("softCapBackward", "dx", dx);
        Check.f32("softCapBackward", "y", y, n);
        Check.f32("softCapBackward", "dy", dy, n);
        run(engine.launch(softCapBackward).put(y).put(dy).put(dx).put(n).put(cap), n);
    }

    @Override
    public void fill(Stream s, float value, Tensor y) {
        long n = Check.f32("fill", "y", y);
        run(engine.launch(fill).put(y).put(n).put(value), n);
    }

    @Override
    public void copyRows(
            Stream s,
            int rows,
            int cols,
            Tensor src,
            long srcOffset,
            long srcStride,
            Tensor dst,
            long dstOffset,
            long dstStride,
            boolean accumulate) {
        requireRows("src", src, rows, cols, srcOffset, srcStride);
        requireRows("dst", dst, rows, cols, dstOffset, dstStride);
        long n = (long) rows * cols;
        run(
                engine.launch(copyRows)
                        .put(src)
                        .put(dst)
                        .put(srcOffset)
                        .put(srcStride)
                        .put(dstOffset)
                        .put(dstStride)
                        .put(n)
                        .put(cols)
                        .put(accumulate),
                n);
    }

    private static void requireRows(String name, Tensor t, int rows, int cols, long offset, long stride) {
        Check.f32("copyRows", name, t);
        boolean fits = rows >= 0 && cols >= 0 && offset >= 0 && stride >= 0;
        if (fits && rows > 0 && cols > 0) {
            long room = t.size() - cols - offset;
            fits = room >= 0 && (rows == 1 || stride <= room / (rows - 1));
        }
        if (!(fits)) {
            throw Check.mismatch(
                    "copyRows: " + name + " is " + t,
                    rows + " rows of " + cols + " at offset " + offset + " with stride " + stride
                            + " do not lie within it",
                    "pass counts, offsets and strides >= 0 that stay inside the tensor");
        }
    }

    @Override
    public void fromBytes(Stream s, Tensor x, float factor, Tensor y) {
        long n = Check.f32("fromBytes", "y", y);
        Check.size("fromBytes", "x", x, DType.U8, n);
        run(engine.launch(fromBytes).put(x).put(y).put(n).put(factor), n);
    }
}
