package ai.lram.agent.autodiff;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.xlstm.CarriedState;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmSpec;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A bf16 tape against an fp32 tape over the same parameters and inputs on one engine. */
abstract class MixedGradients {
    /** Relative error (L2) of outputs and gradients; bf16 has 2^-9, and about ten roundings follow each other in a block. */
    private static final double TOLERANCE = 0.03;

    private static final double COSINE = 0.9995;

    private Backend backend;

    abstract Backend openBackend();

    @BeforeEach
    void open() {
        backend = openBackend();
    }

    @AfterEach
    void close() {
        if (backend != null) {
            backend.close();
        }
    }

    private record Shape(XlstmConfig config, int batch, int tokens, boolean carry) {}

    private Map<String, float[]> run(Precision precision, Shape shape) {
        Map<String, float[]> out = new LinkedHashMap<>();
        int width = shape.config.width();
        try (ParameterSet set = new ParameterSet();
                CarriedState carried = shape.carry ? new CarriedState(backend, shape.config, shape.batch) : null) {
            XlstmStack stack = new XlstmStack(shape.config, MlstmSpec.exponential(), set, "");
            set.allocate(backend, true, precision);
            set.initialize(3);
            Random random = new Random(17);
            for (Parameter p : set.all()) {
                float[] a = set.read(p.value());
                for (int i = 0; i < a.length; i++) {
                    a[i] += (float) (0.05 * random.nextGaussian());
                }
                set.write(p.value(), a);
            }
            Tape tape = new Tape(backend, true, precision);
            Value x = tape.differentiableInput("x", shape.batch, shape.tokens, width);
            Value y = tape.keep(tape.f32(stack.forward(tape, x, carried).normed()));
            Value dy = tape.input("dy", DType.F32, y.shape());
            tape.backward(y, dy);
            Value dx = tape.keep(tape.gradient(x));
            try (Plan plan = tape.plan("block")) {
                for (int pass = 0; pass < (shape.carry ? 2 : 1); pass++) {
                    set.write(x.tensor(), normal(random, x.size()));
                    set.write(dy.tensor(), normal(random, dy.size()));
                    backend.ops().elementwise().fill(backend.stream(), 0f, set.grads());
                    plan.run();
                }
                out.put("y", set.read(y.tensor()));
                out.put("dx", set.read(dx.tensor()));
                for (Parameter p : set.all()) {
                    out.put("d " + p.name(), set.read(p.grad()));
                }
                if (carried != null) {
                    List<Tensor> states = new ArrayList<>(carried.tensors());
                    for (int i = 0; i < states.size(); i++) {
                        out.put("state " + i, set.read(states.get(i)));
                    }
                }
            }
        }
        return out;
    }

    private static float[] normal(Random random, long n) {
        float[] a = new float[Math.toIntExact(n)];
        for (int i = 0; i < a.length; i++) {
            a[i] = (float) random.nextGaussian();
        }
        return a;
    }

    /** Observations differ by less than BF16 tells apart from one step to the next. */
    @Test
    void inputsAreMultipliedInFp32() {
        float[][] y = new float[2][];
        for (Precision precision : Precision.values()) {
            try (ParameterSet set = new ParameterSet()) {
                Parameter w = set.add("w", true, Init.normal(1), 16, 8);
                set.allocate(backend, true, precision);
                set.initialize(3);
                Tape tape = new Tape(backend, true, precision);
                Value x = tape.input("x", DType.F32, 5, 8);
                Value out = tape.keep(tape.f32(tape.linear(x, w, null)));
                try (Plan plan = tape.plan("linear")) {
                    float[] a = normal(new Random(4), x.size());
                    for (int i = 8; i < a.length; i++) {
                        a[i] = a[i % 8] + 1e-3f * a[i];
                    }
                    set.write(x.tensor(), a);
                    plan.run();
                    y[precision.ordinal()] = set.read(out.tensor());
                }
            }
        }
        assertArrayEquals(y[0], y[1], 1e-6f);
    }

    @ParameterizedTest(name = "width={0} heads={1} B={2} S={3} carry={4}")
    @CsvSource({
        "64,4,2,21,false",
        "48,2,3,2,false",
        "32,1,1,70,false",
        "64,4,2,9,true",
        "64,4,2,2,true",
        "96,3,2,5,false"
    })
    void gradientsOfABf16TapeAreThoseOfAnFp32Tape(int width, int heads, int batch, int tokens, boolean carry) {
        Shape shape = new Shape(XlstmConfig.mlstm(width, 2, heads), batch, tokens, carry);
        Map<String, float[]> want = run(Precision.FP32, shape);
        Map<String, float[]> got = run(Precision.BF16, shape);
        assertEquals(want.keySet(), got.keySet());
        List<String> wrong = new ArrayList<>();
        want.forEach((name, w) -> {
            float[] g = got.get(name);
            double dot = 0;
            double ww = 0;
            double gg = 0;
            double dd = 0;
            for (int i = 0; i < w.length; i++) {
                dot += (double) w[i] * g[i];
                ww += (double) w[i] * w[i];
                gg += (double) g[i] * g[i];
                dd += (double) (w[i] - g[i]) * (w[i] - g[i]);
            }
            double error = Math.sqrt(dd / ww);
            double cosine = dot / Math.sqrt(ww * gg);
            // The gates' biases are sums of a few terms of both signs.
            double room = w.length < 8 ? 4 : 1;
            if (!(ww == 0 && gg == 0 || error <= room * TOLERANCE && 1 - cosine <= room * (1 - COSINE))) {
                wrong.add(name + " error " + error + " cosine " + cosine);
            }
        });
        assertTrue(wrong.isEmpty(), String.join("\n", wrong));
    }
}
