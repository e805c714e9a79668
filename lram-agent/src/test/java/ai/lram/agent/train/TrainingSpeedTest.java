package ai.lram.agent.train;

import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.Replay;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.Ops;
import java.util.Arrays;
import java.util.Locale;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Tokens a second of whole training steps of the xLSTM stack (forward, backward, clipping, AdamW) as one recording, where the time goes, and
 * the memory it takes. Printed; asserted is only that the step learns.
 */
@Tag("cuda")
class TrainingSpeedTest {
    private static final int WARM_UP = 5;
    private static final int STEPS = 30;
    private static final double RATE = 1e-4;

    @ParameterizedTest(name = "train-{0} {3}")
    @CsvSource({"16M,128,150,BF16", "206M,32,150,BF16", "16M,128,150,FP32"})
    void wholeSteps(String size, int batch, int tokens, Precision precision) {
        try (Backend backend = Backends.open("cuda", BackendOptions.defaults())) {
            measure(
                    backend,
                    "train-" + size.toLowerCase(Locale.ROOT) + (precision == Precision.FP32 ? "-fp32" : ""),
                    LramConfig.published(size, false).backbone(),
                    batch,
                    tokens,
                    precision);
        }
    }

    static void measure(Backend backend, String name, XlstmConfig config, int batch, int tokens, Precision precision) {
        Stream stream = backend.stream();
        Ops ops = backend.ops();
        try (ParameterSet set = new ParameterSet();
                TensorArena arena = backend.arena("loss")) {
            XlstmStack stack = new XlstmStack(config, MlstmSpec.exponential(), set, "");
            set.allocate(backend, true, precision);
            set.initialize(1);
            Tape tape = new Tape(backend, true, precision);
            Value x = tape.input("x", DType.F32, batch, tokens, config.width());
            Value y = tape.keep(tape.f32(stack.forward(tape, x, null).normed()));
            // Mean square as the loss.
            Value dy = tape.buffer("dy", DType.F32, y.shape());
            tape.record("loss", (o, s) -> o.elementwise().scale(s, 2f / y.size(), y.tensor(), dy.tensor()), y, dy);
            tape.backward(y, dy);
            try (Plan plan = tape.plan("training");
                    Optimizer optimizer = new Optimizer(set, 0.9, 0.95, 0.1, 1, false)) {
                Random random = new Random(5);
                float[] input = new float[Math.toIntExact(x.size())];
                for (int i = 0; i < input.length; i++) {
                    input[i] = (float) random.nextGaussian();
                }
                set.write(x.tensor(), input);
                Runnable work = () -> {
                    optimizer.zeroGrad();
                    plan.queue();
                    optimizer.queueNorm();
                    optimizer.queueStep();
                };
                Tensor square = arena.f32(1);
                optimizer.prepare(RATE);
                long t = System.nanoTime();
                work.run();
                stream.synchronize();
                double unrecorded = (System.nanoTime() - t) / 1e6;
                double first = loss(set, ops, stream, y, square);
                optimizer.queueNormDownload();
                stream.synchronize();
                double norm = optimizer.downloadedNorm();
                double[] ms = new double[STEPS];
                double together;
                try (Replay step = stream.record(work)) {
                    for (int i = 0; i < WARM_UP + STEPS; i++) {
                        optimizer.prepare(RATE);
                        t = System.nanoTime();
                        step.run();
                        stream.synchronize();
                        if (i >= WARM_UP) {
                            ms[i - WARM_UP] = (System.nanoTime() - t) / 1e6;
                        }
                    }
                    optimizer.prepare(RATE);
                    t = System.nanoTime();
                    for (int i = 0; i < STEPS; i++) {
                        step.run();
                    }
                    stream.synchronize();
                    together = (System.nanoTime() - t) / 1e6 / STEPS;
                }
                double last = loss(set, ops, stream, y, square);
                Arrays.sort(ms);
                long n = (long) batch * tokens;
                System.out.printf(
                        Locale.ROOT,
                        "%s %s: %.0f tokens/s, %.3f ms a step back to back; alone p50 %.3f min %.3f max %.3f; first, unrecorded %.1f%n",
                        name,
                        backend.describe(),
                        n / together * 1e3,
                        together,
                        ms[STEPS / 2],
                        ms[0],
                        ms[STEPS - 1],
                        unrecorded);
                System.out.printf(
                        Locale.ROOT,
                        "%s memory: %.2f GB activations, parameters %s; %d kernels; loss %.5f -> %.5f, gradient norm %.4g%n",
                        name,
                        plan.slabBytes() / 1e9,
                        set.memory().strip().replace('\n', ' '),
                        plan.kernels(),
                        first,
                        last,
                        norm);
                System.out.println(name + " GPU memory: " + used());
                double sum = 0;
                for (Plan.KernelTime k : plan.kernelTimes(10)) {
                    sum += k.seconds();
                    System.out.printf(
                            Locale.ROOT,
                            "%s   %-20s %4d calls %9.3f ms %8.1f us each %7.2f TB/s of values%n",
                            name,
                            k.kernel(),
                            k.calls(),
                            1e3 * k.seconds(),
                            1e6 * k.seconds() / k.calls(),
                            k.valueBytes() / k.seconds() / 1e12);
                }
                double zero = time(stream, optimizer::zeroGrad);
                double squares = time(stream, optimizer::queueNorm);
                double adam = time(stream, optimizer::queueStep);
                System.out.printf(
                        Locale.ROOT,
                        "%s   zero gradients %.3f ms, norm %.3f ms, AdamW %.3f ms; sum of all %.3f ms%n",
                        name,
                        zero,
                        squares,
                        adam,
                        1e3 * sum + zero + squares + adam);
                assertTrue(Double.isFinite(norm) && last < first, "loss " + first + " -> " + last + ", norm " + norm);
            }
        }
    }

    private static double loss(ParameterSet set, Ops ops, Stream stream, Value y, Tensor square) {
        ops.elementwise().fill(stream, 0, square);
        ops.optimizer().sumSquares(stream, y.tensor(), square);
        return set.read(square)[0] / y.size();
    }

    private static double time(Stream stream, Runnable work) {
        try (Replay only = stream.record(work)) {
            only.run();
            stream.synchronize();
            long t = System.nanoTime();
            for (int i = 0; i < 10; i++) {
                only.run();
            }
            stream.synchronize();
            return (System.nanoTime() - t) / 1e7;
        }
    }

    private static String used() {
        try {
            Process p = new ProcessBuilder(
                            "nvidia-smi", "--query-gpu=memory.used,memory.total", "--format=csv,noheader")
                    .redirectErrorStream(true)
                    .start();
            String out = new String(p.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
            return out.strip();
        } catch (java.io.IOException e) {
            return "not known: " + e.getMessage();
        }
    }

    /** Without a test runner: sizes as SIZE,BATCH,TOKENS,PRECISION. */
    public static void main(String[] args) {
        String[] cases = args.length > 0 ? args : new String[] {"16M,128,150,BF16", "206M,32,150,BF16"};
        for (String c : cases) {
            String[] part = c.split(",");
            new TrainingSpeedTest()
                    .wholeSteps(
                            part[0], Integer.parseInt(part[1]), Integer.parseInt(part[2]), Precision.valueOf(part[3]));
        }
    }
}
