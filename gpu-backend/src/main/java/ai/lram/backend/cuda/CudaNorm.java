package ai.lram.backend.cuda;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.NormOps;
import ai.lram.backend.ops.NormSpec;

/** Launches {@code norm.cu}. */
final class CudaNorm implements NormOps {
    private static final int WARPS = Engine.THREADS / 32;

    private final Engine engine;
    private final ColumnSums sums;
    private final Kernel forward;
    private final Kernel backward;
    private final Kernel weightSums;
    private final Kernel biasSums;

    CudaNorm(Engine engine, ColumnSums sums) {
        this.engine = engine;
        this.sums = sums;
        KernelModule module = new KernelModule(engine, "norm");
        forward = module.kernel("norm_forward");
        backward = module.kernel("norm_backward");
        weightSums = module.kernel("norm_weight_sums");
        biasSums = module.kernel("norm_bias_sums");
    }

    private static int width(String kernel, NormSpec spec, Tensor weight) {
        long n = Check.f32(kernel, "weight", weight);
        if (!(n > 0 && n <= Integer.MAX_VALUE && n % spec.groups() == 0)) {
            throw Check.mismatch(
                    kernel + ": weight is " + weight,
                    "its size is no multiple of the " + spec.groups() + " groups",
                    "pass one weight per column and a number of groups that divides the width");
        }
        return (int) n;
    }

    private static long blocks(long units) {
        return (units + WARPS - 1) / WARPS;
    }

    @Override
    public void forward(
            Stream s, NormSpec spec, Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor mean, Tensor rstd) {
        int width = width("norm", spec, weight);
        int rows = Check.other("norm", "x", x, width);
        long units = (long) rows * spec.groups();
        Check.optional("norm", "bias", bias, width);
        Check.f32("norm", "y", y, x.size());
        Check.optional("norm", "mean", mean, units);
        Check.optional("norm", "rstd", rstd, units);
        engine.launch(forward)
                .put(x)
                .put(weight)
                .put(bias)
                .put(y)
                .put(mean)
                .put(rstd)
                .put(units)
                .put(width)
                .put(spec.groups())
                .put(spec.eps())
                .put(spec.centred())
                .put(spec.residualScale())
                .run(blocks(units));
    }

    @Override
    public void backward(
            Stream s,
            NormSpec spec,
            Tensor dy,
            Tensor x,
            Tensor weight,
            Tensor mean,
            Tensor rstd,
            Tensor dx,
            Tensor dweight,
            Tensor dbias) {
        String kernel = "normBackward";
        int width = width(kernel, spec, weight);
        int rows = Check.other(kernel, "x", x, width);
        long units = (long) rows * spec.groups();
        Check.f32(kernel, "dy", dy, x.size());
        if (spec.centred()) {
            Check.f32(kernel, "mean", mean, units);
        }
        Check.f32(kernel, "rstd", rstd, units);
        Check.f32(kernel, "dx", dx, x.size());
        Check.optional(kernel, "dweight", dweight, width);
        Check.optional(kernel, "dbias", dbias, width);
        Tensor centre = spec.centred() ? mean : null;
        engine.launch(backward)
                .put(dy)
                .put(x)
                .put(weight)
                .put(centre)
                .put(rstd)
                .put(dx)
                .put(units)
                .put(width)
                .put(spec.groups())
                .put(spec.residualScale())
                .run(blocks(units));
        if (dweight != null) {
            add(weightSums, spec, dy, x, centre, rstd, rows, width, dweight);
        }
        if (dbias != null) {
            add(biasSums, spec, dy, x, centre, rstd, rows, width, dbias);
        }
    }

    private void add(
            Kernel kernel,
            NormSpec spec,
            Tensor dy,
            Tensor x,
            Tensor centre,
            Tensor rstd,
            int rows,
            int width,
            Tensor to) {
        int shares = ColumnSums.shares("normBackward", rows, width);
        engine.launch(kernel)
                .put(dy)
                .put(x)
                .put(centre)
                .put(rstd)
                .put(engine.partials())
                .put(rows)
                .put(width)
                .put(spec.groups())
                .run(ColumnSums.blocks(width), shares, 1, Engine.THREADS, 0);
        sums.finish(shares, width, to);
    }
}
