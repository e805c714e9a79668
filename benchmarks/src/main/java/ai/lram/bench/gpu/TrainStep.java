package ai.lram.bench.gpu;

import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.train.Optimizer;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.MlstmSpec;
import java.util.List;

/**
 * An xLSTM stack that learns to answer noise with zeros: one step is forward, backward, clipping and AdamW on the same input. The loss is
 * the mean square of the output. Single thread, the engine's.
 */
final class TrainStep implements AutoCloseable {
    private static final double RATE = 1e-4;
    private static final long SEED = 1;

    private final Backend engine;
    private final ParameterSet set = new ParameterSet();
    private final TensorArena arena;
    private final Tensor square;
    private final Value output;
    private final Plan plan;
    private final Optimizer optimizer;

    TrainStep(Backend engine, XlstmConfig config, int batch, int tokens, Precision precision) {
        this.engine = engine;
        XlstmStack stack = new XlstmStack(config, MlstmSpec.exponential(), set, "");
        set.allocate(engine, true, precision);
        set.initialize(SEED);
        arena = engine.arena("loss");
        square = arena.f32(1);
        Tape tape = new Tape(engine, true, precision);
        Value x = tape.input("x", DType.F32, batch, tokens, config.width());
        output = tape.keep(tape.f32(stack.forward(tape, x, null).normed()));
        Value gradient = tape.buffer("dy", DType.F32, output.shape());
        tape.record(
                "loss",
                (o, s) -> o.elementwise().scale(s, 2f / output.size(), output.tensor(), gradient.tensor()),
                output,
                gradient);
        tape.backward(output, gradient);
        plan = tape.plan("training");
        optimizer = new Optimizer(set, 0.9, 0.95, 0.1, 1, false);
        try (Noise noise = new Noise(DType.F32, SEED)) {
            noise.fill(engine, x.tensor());
        }
        optimizer.prepare(RATE);
    }

    /** Queues a step with the learning rate and the bias correction of the first. */
    void queue() {
        optimizer.zeroGrad();
        plan.queue();
        optimizer.queueNorm();
        optimizer.queueStep();
    }

    /** Of the last step's output; waits for the device. */
    double loss() {
        engine.ops().elementwise().fill(engine.stream(), 0, square);
        engine.ops().optimizer().sumSquares(engine.stream(), output.tensor(), square);
        return Device.read(engine, square)[0] / output.size();
    }

    /** Trainable numbers. */
    long parameters() {
        return set.count();
    }

    /** Parameters with their BF16 copies, gradients and moments. */
    long parameterBytes() {
        long narrow = set.narrow() == null ? 0 : set.narrow().bytes();
        return set.values().bytes()
                + set.grads().bytes()
                + set.firstMoments().bytes()
                + set.secondMoments().bytes()
                + narrow;
    }

    /** Without the optimizer. */
    List<Plan.KernelTime> kernelTimes(int replays) {
        return plan.kernelTimes(replays);
    }

    /** What a step keeps between its kernels. */
    long activationBytes() {
        return plan.slabBytes();
    }

    @Override
    public void close() {
        optimizer.close();
        plan.close();
        arena.close();
        set.close();
    }
}
