package ai.lram.backend.cuda;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.SlstmOps;
import java.util.ArrayList;
import java.util.List;

/**
 * Launches {@code slstm_resident.cu} where the recurrent matrix of a head fits on a multiprocessor, else {@code slstm.cu}, which reads it anew
 * for every token. Both leave and read the same saved floats.
 */
final class CudaSlstm implements SlstmOps {
    /** {@code auto} keeps the recurrent matrix on chip where it fits; {@code general} never does. */
    static final String PROPERTY = "lram.cuda.slstm";

    /** Units of a head: a thread keeps the cells of at most 4. */
    static final int WIDEST_HEAD = 4 * Engine.THREADS;

    private static final int PLANES = 7;

    /** As {@code SUM_TILE} in the source. */
    private static final int SUM_TILE = 64;

    private final Engine engine;
    private final Kernel forward;
    private final Kernel backward;
    private final Kernel weightSums;
    private final Kernel biasSums;
    private final Kernel finish;
    private final List<Resident> resident;

    /**
     * The scans for heads of up to {@code dim} units.
     *
     * @param dim as the template argument in the source
     */
    private record Resident(int dim, Kernel forward, Kernel backward) {
        static final int[] DIMS = {32, 64, 128};

        /** Batch rows of a block. */
        static final int ROWS = 4;

        /** Most units whose matrix fits the registers. */
        private static final int ALL_IN_REGISTERS = 64;

        private static final int PADDING = 8;

        /** As {@code Resident} in the source: weights that do not fit registers, and what two tokens hand on. */
        static int sharedBytes(int dim, int handedOn) {
            int weights = dim <= ALL_IN_REGISTERS ? 0 : 2 * dim * dim * Float.BYTES;
            return weights + 2 * ROWS * (handedOn + PADDING) * Float.BYTES;
        }

        static int forwardSharedBytes(int dim) {
            return sharedBytes(dim, dim);
        }

        static int backwardSharedBytes(int dim) {
            return sharedBytes(dim, 4 * dim);
        }

        static List<Resident> load(Engine engine) {
            String wanted = Engine.chosen(PROPERTY, List.of("auto", "general"));
            List<Resident> all = new ArrayList<>();
            if (wanted.equals("auto")) {
                KernelModule module = new KernelModule(engine, "slstm_resident");
                for (int dim : DIMS) {
                    if (backwardSharedBytes(dim) <= engine.device().sharedBytes()) {
                        all.add(new Resident(
                                dim,
                                module.kernel("slstm_forward_" + dim, forwardSharedBytes(dim)),
                                module.kernel("slstm_backward_" + dim, backwardSharedBytes(dim))));
                    }
                }
            }
            return all;
        }

        void run(Engine.Launch launch, Sizes z, int sharedBytes) {
            launch.run((z.batch + ROWS - 1) / ROWS, z.heads, 1, 4 * dim, sharedBytes);
        }
    }

    CudaSlstm(Engine engine, KernelModule module) {
        this.engine = engine;
        forward = module.kernel("slstm_forward");
        backward = module.kernel("slstm_backward");
        weightSums = module.kernel("slstm_weight_sums");
        biasSums = module.kernel("slstm_bias_sums");
        finish = module.kernel("finish_slstm");
        resident = Resident.load(engine);
    }

    /** Null where the matrix of a head does not fit on a multiprocessor. */
    private Resident resident(int headDim) {
        for (Resident r : resident) {
            if (headDim <= r.dim) {
                return r;
            }
        }
        return null;
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
        Resident onChip = resident(z.headDim);
        Engine.Launch launch = z.put(engine.launch(onChip == null ? forward : onChip.forward)
                .put(xi)
                .put(xf)
                .put(xz)
                .put(xo)
                .put(r)
                .put(bias)
                .put(initial)
                .put(y)
                .put(last)
                .put(saved));
        if (onChip == null) {
            launch.run((long) z.batch * heads, 1, 1, Engine.THREADS, sharedBytes(z.headDim));
        } else {
            onChip.run(launch, z, Resident.forwardSharedBytes(onChip.dim));
        }
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
        Resident onChip = resident(z.headDim);
        Engine.Launch launch = z.put(engine.launch(onChip == null ? backward : onChip.backward)
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
                .put(dInitial));
        if (onChip == null) {
            launch.run((long) z.batch * heads, 1, 1, Engine.THREADS, sharedBytes(z.headDim));
        } else {
            onChip.run(launch, z, Resident.backwardSharedBytes(onChip.dim));
        }
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
        Sums sums = new Sums(z, initial, y, dxi, dxf, dxz, dxo, dr, dbias);
        long perHead = 4L * z.headDim * z.headDim;
        int most = (int) Math.max(1, Engine.WORKSPACE / Double.BYTES / perHead);
        long rows = (long) z.batch * z.tokens;
        long tiles = (long) ((z.headDim + SUM_TILE - 1) / SUM_TILE) * ((4 * z.headDim + SUM_TILE - 1) / SUM_TILE);
        for (int head = 0; head < z.heads; head += most) {
            int heads = Math.min(most, z.heads - head);
            long columns = heads * perHead;
            int shares = ColumnSums.shares(kernel, rows, columns);
            sums.put(engine.launch(weightSums), head, columns, engine.partials())
                    .run(tiles, shares, heads, Engine.THREADS, 0);
            finish(sums, shares, head * perHead, columns);
        }
        long columns = 4 * z.width();
        int shares = ColumnSums.shares(kernel, rows, columns);
        sums.put(engine.launch(biasSums), 0, columns, engine.partials())
                .run(ColumnSums.blocks(columns), shares, 1, Engine.THREADS, 0);
        finish(sums, shares, z.weights(), columns);
    }

    /** What the gradients of the matrix and the bias are made of, and where they go. */
    private record Sums(
            Sizes z,
            Tensor initial,
            Tensor y,
            Tensor dxi,
            Tensor dxf,
            Tensor dxz,
            Tensor dxo,
            Tensor dr,
            Tensor dbias) {
        Engine.Launch put(Engine.Launch launch, int firstHead, long columns, long partials) {
            return z.put(launch.put(y)
                            .put(initial)
                            .put(dxi)
                            .put(dxf)
                            .put(dxz)
                            .put(dxo)
                            .put(partials))
                    .put(firstHead)
                    .put(columns);
        }
    }

    private void finish(Sums sums, int shares, long from, long columns) {
        engine.launch(finish)
                .put(engine.partials())
                .put(sums.dr)
                .put(sums.dbias)
                .put(shares)
                .put(sums.z.heads)
                .put(sums.z.headDim)
                .put(from)
                .put(columns)
                .run(engine.blocks(columns));
    }
}
