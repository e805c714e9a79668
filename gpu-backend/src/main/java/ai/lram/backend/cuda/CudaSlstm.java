package ai.lram.backend.cuda;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.SlstmOps;

/** Launches {@code slstm.cu}. */
final class CudaSlstm implements SlstmOps {
    /** Units of a head: a thread keeps the cells of at most 4. */
    static final int WIDEST_HEAD = 4 * Engine.THREADS;

    private static final int PLANES = 7;

    private final Engine engine;
    private final Kernel forward;
    private final Kernel backward;
    private final Kernel columnSums;
    private final Kernel finish;

    CudaSlstm(Engine engine, KernelModule module) {
        this.engine = engine;
        forward = module.kernel("slstm_forward");
        backward = module.kernel("slstm_backward");
        columnSums = module.kernel("slstm_sums");
        finish = module.kernel("finish_slstm");
    }

    static int sharedBytes(int headDim) {
        return 5 * headDim * Float.BYTES;
    }

    static void requireHead(String kernel, int headDim) {
        if (headDim > WIDEST_HEAD) {
            throw new UnsupportedKernelException(
                    kernel + " on CUDA: heads of " + headDim + " units",
                    "the kernel takes up to " + WIDEST_HEAD,
                    "use more heads, or choose device=cpu");
        }
    }

    /** Input and forget weight, slope of the forget gate, output gate, z, c and n of every token and unit. */
    @Override
    public long savedFloats(int batch, int tokens, int heads, int headDim) {
        return (long) PLANES * batch * tokens * heads * headDim;
    }

    /** None is needed; one, so that a size can be asked for. */
    @Override
    public long scratchFloats(int batch, int tokens, int heads, int headDim) {
        return 1;
    }

    private record Sizes(int batch, int tokens, int heads, int headDim) {
        long width() {
            return (long) heads * headDim;
        }

        long weights() {
            return 4L * headDim * width();
        }

        Engine.Launch put(Engine.Launch launch) {
            return launch.put(batch).put(tokens).put(heads).put(headDim);
        }
    }

    private Sizes sizes(String kernel, int heads, Tensor y, Tensor r, Tensor initial, Tensor saved, Tensor scratch) {
        if (!(y != null && r != null && y.rank() == 3 && heads >= 1 && y.size() > 0 && y.dim(2) % heads == 0)) {
            throw Check.mismatch(
                    kernel + ": y is " + y + " for " + heads + " heads",
                    "y must be (B, S, H) with H a multiple of the heads, and r must be given",
                    "pass the layer's own sizes");
        }
        Sizes z = new Sizes(y.dim(0), y.dim(1), heads, y.dim(2) / heads);
        Check.f32(kernel, "y", y);
        Check.f32(kernel, "r", r, z.weights());
        Check.optional(kernel, "initial", initial, 4L * z.batch * z.width());
        Check.optional(kernel, "saved", saved, savedFloats(z.batch, z.tokens, heads, z.headDim));
        Check.atLeast(kernel, "scratch", scratch, scratchFloats(z.batch, z.tokens, heads, z.headDim));
        requireHead(kernel, z.headDim);
        return z;
    }

    @Override
    public void forward(
            Stream s,
            int heads,
            Tensor xi,
            Tensor xf,
            Tensor xz,
            Tensor xo,
            Tensor r,
            Tensor bias,
            Tensor initial,
            Tensor y,
            Tensor last,
            Tensor saved,
            Tensor scratch) {
        String kernel = "slstm.forward";
        Sizes z = sizes(kernel, heads, y, r, initial, saved, scratch);
        Check.f32(kernel, "xi", xi, y.size());
        Check.f32(kernel, "xf", xf, y.size());
        Check.f32(kernel, "xz", xz, y.size());
        Check.f32(kernel, "xo", xo, y.size());
        Check.f32(kernel, "bias", bias, 4 * z.width());
        Check.optional(kernel, "last", last, 4L * z.batch * z.width());
        z.put(engine.launch(forward)
                        .put(xi)
                        .put(xf)
                        .put(xz)
                        .put(xo)
                        .put(r)
                        .put(bias)
                        .put(initial)
                        .put(y)
                        .put(last)
                        .put(saved))
                .run((long) z.batch * heads, 1, 1, Engine.THREADS, sharedBytes(z.headDim));
    }

    @Override
    public void backward(
            Stream s,
            int heads,
            Tensor r,
            Tensor initial,
            Tensor y,
            Tensor saved,
            Tensor dy,
            Tensor dLast,
            Tensor dxi,
            Tensor dxf,
            Tensor dxz,
            Tensor dxo,
            Tensor dInitial,
            Tensor dr,
            Tensor dbias,
            Tensor scratch) {
        String kernel = "slstm.backward";
        Sizes z = sizes(kernel, heads, y, r, initial, saved, scratch);
        if (!(saved != null)) {
            throw Check.mismatch(kernel + ": saved is missing", "null was passed", "pass what forward saved");
        }
        Check.f32(kernel, "dy", dy, y.size());
        Check.f32(kernel, "dxi", dxi, y.size());
        Check.f32(kernel, "dxf", dxf, y.size());
        Check.f32(kernel, "dxz", dxz, y.size());
        Check.f32(kernel, "dxo", dxo, y.size());
        Check.optional(kernel, "dLast", dLast, 4L * z.batch * z.width());
        Check.optional(kernel, "dInitial", dInitial, 4L * z.batch * z.width());
        Check.f32(kernel, "dr", dr, z.weights());
        Check.f32(kernel, "dbias", dbias, 4 * z.width());
        z.put(engine.launch(backward)
                        .put(r)
                        .put(initial)
                        .put(y)
                        .put(saved)
                        .put(dy)
                        .put(dLast)
                        .put(dxi)
                        .put(dxf)
                        .put(dxz)
                        .put(dxo)
                        .put(dInitial))
                .run((long) z.batch * heads, 1, 1, Engine.THREADS, sharedBytes(z.headDim));
        weightGradients(kernel, z, initial, y, dxi, dxf, dxz, dxo, dr, dbias);
    }

    /** In as many passes as the partial sums need to fit the work space. */
    private void weightGradients(
            String kernel,
            Sizes z,
            Tensor initial,
            Tensor y,
            Tensor dxi,
            Tensor dxf,
            Tensor dxz,
            Tensor dxo,
            Tensor dr,
            Tensor dbias) {
        long all = z.weights() + 4 * z.width();
        long most = Engine.WORKSPACE / Double.BYTES / 8;
        for (long from = 0; from < all; from += most) {
            long columns = Math.min(most, all - from);
            int shares = ColumnSums.shares(kernel, (long) z.batch * z.tokens, columns);
            z.put(engine.launch(columnSums)
                            .put(y)
                            .put(initial)
                            .put(dxi)
                            .put(dxf)
                            .put(dxz)
                            .put(dxo)
                            .put(engine.partials()))
                    .put(from)
                    .put(columns)
                    .run(ColumnSums.blocks(columns), shares, 1, Engine.THREADS, 0);
            engine.launch(finish)
                    .put(engine.partials())
                    .put(dr)
                    .put(dbias)
                    .put(shares)
                    .put(z.heads)
                    .put(z.headDim)
                    .put(from)
                    .put(columns)
                    .run(engine.blocks(columns));
        }
    }
}
