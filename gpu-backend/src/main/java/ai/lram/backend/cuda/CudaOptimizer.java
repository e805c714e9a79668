package ai.lram.backend.cuda;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.OptimizerOps;

/** Launches {@code optimizer.cu}. */
final class CudaOptimizer implements OptimizerOps {
    private final Engine engine;
    private final Kernel sumSquares;
    private final Kernel finishSum;
    private final Kernel adamW;

    CudaOptimizer(Engine engine) {
        this.engine = engine;
        KernelModule module = new KernelModule(engine, "optimizer");
        sumSquares = module.kernel("sum_squares");
        finishSum = module.kernel("finish_sum");
        adamW = module.kernel("adamw");
    }

    @Override
    public void sumSquares(Stream s, Tensor x, Tensor out) {
        long n = Check.f32("sumSquares", "x", x);
        Check.f32("sumSquares", "out", out, 1);
        if (n > 0) {
            int blocks = engine.blocks(n);
            engine.launch(sumSquares).put(x).put(engine.partials()).put(n).run(blocks);
            engine.launch(finishSum).put(engine.partials()).put(out).put(blocks).run(1);
        }
    }

    @Override
    public void adamW(
            Stream s, Tensor hyper, Tensor sumSquares, boolean decay, Tensor param, Tensor grad, Tensor m, Tensor v) {
        step(hyper, sumSquares, decay, param, grad, m, v, null);
    }

    /** @param copy receives the new parameters in BF16; may be null */
    void step(
            Tensor hyper,
            Tensor sumSquares,
            boolean decay,
            Tensor param,
            Tensor grad,
            Tensor m,
            Tensor v,
            Tensor copy) {
        Check.f32("adamW", "hyper", hyper, 8);
        Check.optional("adamW", "sumSquares", sumSquares, 1);
        long n = Check.f32("adamW", "param", param);
        Check.f32("adamW", "grad", grad, n);
        Check.f32("adamW", "m", m, n);
        Check.f32("adamW", "v", v, n);
        if (copy != null) {
            Check.bf16("adamW", "copy", copy, n);
        }
        if (n > 0) {
            engine.launch(adamW)
                    .put(hyper)
                    .put(sumSquares)
                    .put(param)
                    .put(grad)
                    .put(m)
                    .put(v)
                    .put(copy)
                    .put(n)
                    .put(decay)
                    .run(engine.blocks((n + 3) / 4));
        }
    }
}
