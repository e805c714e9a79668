package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.LossOps;

/** Launches {@code loss.cu}. Targets are checked by the device: one that is no class shows at the next synchronisation. */
final class CudaLoss implements LossOps {
    private final Engine engine;
    private final Kernel maskSum;
    private final Kernel crossEntropy;
    private final Kernel softBins;
    private final Kernel finish;

    CudaLoss(Engine engine) {
        this.engine = engine;
        KernelModule module = new KernelModule(engine, "loss");
        maskSum = module.kernel("mask_sum");
        crossEntropy = module.kernel("cross_entropy");
        softBins = module.kernel("soft_bins");
        finish = module.kernel("finish_loss");
    }

    /** @return rows */
    private static int rows(String kernel, Tensor logits, Tensor mask, Tensor whole, Tensor dlogits, Tensor stats) {
        Check.f32(kernel, "logits", logits);
        if (!(logits.rank() >= 1 && logits.dim(-1) >= 1)) {
            throw Check.mismatch(
                    kernel + ": logits is " + logits,
                    "rows of at least one class are needed",
                    "pass logits [M,V] with V >= 1");
        }
        int rows = logits.rows();
        Check.f32(kernel, "mask", mask, rows);
        Check.f32(kernel, "whole", whole);
        Check.optional(kernel, "dlogits", dlogits, logits.size());
        Check.f32(kernel, "stats", stats, 3);
        if (8L * (2L * rows + 1) > Engine.WORKSPACE) {
            throw new UnsupportedKernelException(
                    kernel + " on CUDA: " + rows + " rows",
                    "the work space holds the losses of " + Engine.WORKSPACE / 16,
                    "use a smaller batch");
        }
        return rows;
    }

    private long losses() {
        return engine.partials() + 64;
    }

    private void sumMask(Tensor mask) {
        engine.launch(maskSum)
                .put(mask)
                .put(engine.partials())
                .put(Math.toIntExact(mask.size()))
                .run(1);
    }

    private void finish(Tensor stats, int rows) {
        engine.launch(finish)
                .put(engine.partials())
                .put(losses())
                .put(stats)
                .put(rows)
                .run(1);
    }

    @Override
    public void crossEntropy(
            Stream s,
            Tensor logits,
            Tensor target,
            Tensor mask,
            Tensor whole,
            float gradScale,
            Tensor dlogits,
            Tensor stats) {
        int rows = rows("crossEntropy", logits, mask, whole, dlogits, stats);
        Check.size("crossEntropy", "target", target, DType.I32, rows);
        sumMask(whole);
        engine.launch(crossEntropy)
                .put(logits)
                .put(target)
                .put(mask)
                .put(dlogits)
                .put(engine.partials())
                .put(losses())
                .put(rows)
                .put(logits.dim(-1))
                .put(gradScale)
                .faults()
                .run(rows);
        finish(stats, rows);
    }

    @Override
    public void crossEntropySoftBins(
            Stream s,
            Tensor logits,
            Tensor target,
            Tensor mask,
            Tensor whole,
            int firstBin,
            int bins,
            float sigma,
            float gradScale,
            Tensor dlogits,
            Tensor stats) {
        String kernel = "crossEntropySoftBins";
        int rows = rows(kernel, logits, mask, whole, dlogits, stats);
        Check.f32(kernel, "target", target, rows);
        if (!(firstBin >= 0 && bins >= 1 && (long) firstBin + bins <= logits.dim(-1))) {
            throw Check.mismatch(
                    kernel + ": bins " + firstBin + ".." + ((long) firstBin + bins - 1),
                    "the logits have " + logits.dim(-1) + " classes",
                    "name bins that exist, at least one");
        }
        if (!(sigma > 0 && Float.isFinite(sigma))) {
            throw Check.mismatch(
                    kernel + ": sigma is " + sigma,
                    "a target density needs a finite deviation > 0",
                    "pass sigma in bins, for example 0.75");
        }
        sumMask(whole);
        engine.launch(softBins)
                .put(logits)
                .put(target)
                .put(mask)
                .put(dlogits)
                .put(engine.partials())
                .put(losses())
                .put(rows)
                .put(logits.dim(-1))
                .put(gradScale)
                .put(firstBin)
                .put(bins)
                .put(sigma)
                .run(rows);
        finish(stats, rows);
    }
}
