package ai.lram.bench.gpu;

import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.train.TrainingMemory;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.gpu.GpuRun.Work;
import ai.lram.bench.subject.ModelSize;
import java.util.List;

/**
 * Whole training steps of the xLSTM stack in mixed precision.
 *
 * @param size of the model, as names show it
 * @param backbone all mLSTM
 * @param batch sequences
 * @param tokens of a sequence
 * @param publishedRate tokens a second of the published model, compiled
 * @param publishedBytes its peak
 */
record TrainCase(String size, XlstmConfig backbone, int batch, int tokens, double publishedRate, double publishedBytes)
        implements GpuCase {
    /** Where the published numbers come from. */
    static final String PUBLISHED =
            "the xlstm package under torch.compile (torch 2.11, bf16 autocast, fused AdamW), on an H100 80GB, not measured in this run";

    static final String PEER = "peer: published, compiled, on an H100, not in this run";

    /** Of the backbone with which bf16 is held against fp32. */
    private static final XlstmConfig SMALL = XlstmConfig.mlstm(64, 2, 4);

    /** Published tokens a second of 16M. */
    static final double RATE_16M = 394_194;

    private static final int SMALL_BATCH = 4;
    private static final int SMALL_TOKENS = 24;
    private static final int STEPS = 8;

    /** Behind the time of a kind of kernel. */
    static final int REPLAYS = 10;

    /** Of the loss; bf16 has 2^-9. */
    private static final double TOLERANCE = 0.02;

    /** Value, gradient and both moments read and written in fp32, the copy in bf16 written once and read by both passes. */
    private static final double BYTES_PER_PARAMETER = 4 * 2 * 4 + 3 * 2;

    static List<GpuCase> usual() {
        return List.of(
                new TrainCase("16m", ModelSize.of("16M").backbone(), 128, 150, RATE_16M, 7.1331e9),
                new TrainCase("206m", ModelSize.of("206M").backbone(), 32, 150, 56_458, 12.187e9));
    }

    @Override
    public String name() {
        return "train-" + size;
    }

    @Override
    public void measure(GpuRun run) {
        Backend engine = run.engine();
        run.progress(name() + ": a small model in bf16 against fp32");
        requireSameLosses(losses(engine, Precision.FP32), losses(engine, Precision.BF16));
        run.progress(name());
        try (TrainStep step = new TrainStep(engine, backbone, batch, tokens, Precision.BF16)) {
            step.queue();
            double first = step.loss();
            for (int s = 1; s < STEPS; s++) {
                step.queue();
            }
            requireFalling(first, step.loss());
            DeviceTimer.Times t = DeviceTimer.time(engine, step::queue, 1, run.quick());
            requireFalling(first, step.loss());
            Work work = work(step.parameters());
            run.rate(
                    name(),
                    t,
                    (double) batch * tokens,
                    "tokens/s",
                    work,
                    publishedRate,
                    PEER + "; floor: see TrainCase.work");
            run.memory(
                    name() + "-memory",
                    step.parameterBytes() + step.activationBytes(),
                    step.parameterBytes(),
                    publishedBytes,
                    PEER + "; ours: parameters, gradients, moments, what a step keeps; floor: without what it keeps");
            TrainingMemory formula =
                    TrainingMemory.of(engine, backbone, MlstmSpec.exponential(), batch, tokens, step.parameters());
            run.formula(
                    name() + "-memory-formula",
                    formula.total(),
                    step.parameterBytes() + step.activationBytes(),
                    "TrainingMemory: parameters %.3f GB, kept %.3f GB, passing %.3f GB",
                    formula.parameters(),
                    formula.kept(),
                    formula.passing());
            run.kernels(name(), step.kernelTimes(REPLAYS));
        }
    }

    private static double[] losses(Backend engine, Precision precision) {
        try (TrainStep step = new TrainStep(engine, SMALL, SMALL_BATCH, SMALL_TOKENS, precision)) {
            double[] losses = new double[STEPS];
            for (int s = 0; s < STEPS; s++) {
                step.queue();
                losses[s] = step.loss();
            }
            return losses;
        }
    }

    void requireSameLosses(double[] fp32, double[] bf16) {
        for (int s = 0; s < fp32.length; s++) {
            if (!(Math.abs(bf16[s] - fp32[s]) <= TOLERANCE * fp32[s])) {
                throw new WrongAnswerException(
                        name() + " learns something else in bf16",
                        "the loss of update " + (s + 1) + " of a small model is " + bf16[s] + " in place of " + fp32[s],
                        "do not trust this build or device; run lram test");
            }
        }
        requireFalling(bf16[0], bf16[bf16.length - 1]);
    }

    private void requireFalling(double first, double last) {
        requireFalling(name(), first, last);
    }

    static void requireFalling(String name, double first, double last) {
        if (!(last < first && last >= 0)) {
            throw new WrongAnswerException(
                    name + " does not learn",
                    "its loss went from " + first + " to " + last,
                    "do not trust this build or device; run lram test");
        }
    }

    /**
     * What no implementation of this step avoids, if it recomputes nothing: what passes between the products of a block (its input, the
     * up-projection, q, k, v, h, what enters the down-projection) and as many gradients, each written and read once in bf16, and the
     * parameters' traffic; or the multiply-adds of weights, forward and backward, and of the cells.
     */
    Work work(long parameters) {
        double all = (double) batch * tokens;
        int inner = backbone.inner();
        double values = backbone.width() + (2 + 3 + 1 + 1) * inner;
        MlstmCase cell = new MlstmCase(
                size,
                new MlstmDims(batch, tokens, backbone.heads(), backbone.headDim(), backbone.headDim()),
                Double.NaN,
                Double.NaN,
                Double.NaN);
        double cells = cell.forwardWork().and(cell.backwardWork()).flop();
        return new Work(
                all * backbone.blocks() * values * 2 * 2 * 2 + parameters * BYTES_PER_PARAMETER,
                6 * all * parameters + backbone.blocks() * cells);
    }
}
