package ai.lram.agent.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.lram.agent.autodiff.Init;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OptimizerTest {
    private static final int N = 37;

    /** AdamW in double, decoupled decay first, gradients scaled by {@code clip}. */
    private static final class Plain {
        final double[] p;
        final double[] m = new double[N];
        final double[] v = new double[N];
        final boolean decay;

        Plain(float[] start, boolean decay) {
            p = new double[N];
            for (int i = 0; i < N; i++) {
                p[i] = start[i];
            }
            this.decay = decay;
        }

        void step(int t, double lr, double b1, double b2, double wd, double clip, float[] g) {
            for (int i = 0; i < N; i++) {
                double x = g[i] * clip;
                m[i] = b1 * m[i] + (1 - b1) * x;
                v[i] = b2 * v[i] + (1 - b2) * x * x;
                p[i] -= decay ? lr * wd * p[i] : 0;
                p[i] -= lr * (m[i] / (1 - Math.pow(b1, t))) / (Math.sqrt(v[i] / (1 - Math.pow(b2, t))) + 1e-8);
            }
        }
    }

    @ParameterizedTest(name = "clip {0}")
    @ValueSource(doubles = {0, 1, 1000})
    void updatesLikeAdamW(double clipNorm) {
        double b1 = 0.9f;
        double b2 = 0.99f;
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                ParameterSet set = new ParameterSet()) {
            Parameter plain = set.add("plain", false, Init.normal(1), N);
            Parameter decayed = set.add("decayed", true, Init.normal(1), N);
            set.allocate(backend, true);
            set.initialize(4);
            Plain a = new Plain(set.read(plain.value()), false);
            Plain b = new Plain(set.read(decayed.value()), true);
            Random r = new Random(8);
            try (Optimizer optimizer = new Optimizer(set, b1, b2, 0.1, clipNorm, false)) {
                for (int t = 1; t <= 50; t++) {
                    float[] ga = gaussians(r);
                    float[] gb = gaussians(r);
                    optimizer.zeroGrad();
                    set.write(plain.grad(), ga);
                    set.write(decayed.grad(), gb);
                    double norm = 0;
                    for (int i = 0; i < N; i++) {
                        norm += (double) ga[i] * ga[i] + (double) gb[i] * gb[i];
                    }
                    norm = Math.sqrt(norm);
                    assertEquals(norm, optimizer.gradientNorm(), 1e-5 * norm);
                    double clip = clipNorm == 0 ? 1 : Math.min(1, clipNorm / (norm + 1e-6));
                    double lr = 0.01 / t;
                    optimizer.step(lr);
                    a.step(t, lr, b1, b2, 0.1, clip, ga);
                    b.step(t, lr, b1, b2, 0.1, clip, gb);
                }
                assertEquals(50, optimizer.steps());
            }
            assertClose(a.p, set.read(plain.value()));
            assertClose(b.p, set.read(decayed.value()));
        }
    }

    private static void assertClose(double[] expected, float[] got) {
        for (int i = 0; i < N; i++) {
            assertEquals(expected[i], got[i], 1e-5, "element " + i);
        }
    }

    private static float[] gaussians(Random r) {
        float[] g = new float[N];
        for (int i = 0; i < N; i++) {
            g[i] = (float) r.nextGaussian();
        }
        return g;
    }

    @Test
    void untouchedParametersStayAsTheyAreOnlyWhereAsked() {
        for (boolean skip : new boolean[] {false, true}) {
            try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                    ParameterSet set = new ParameterSet()) {
                Parameter used = set.add("used", true, Init.constant(1), N);
                Parameter unused = set.add("unused", true, Init.constant(1), N);
                set.allocate(backend, true);
                set.initialize(1);
                float[] ones = set.read(unused.value());
                try (Optimizer optimizer = new Optimizer(set, 0.9, 0.99, 0.5, 1, skip)) {
                    optimizer.zeroGrad();
                    float[] g = new float[N];
                    g[3] = 1;
                    set.write(used.grad(), g);
                    optimizer.gradientNorm();
                    optimizer.step(0.1);
                    assertEquals(0.95, set.read(used.value())[0], 1e-6, "weight decay");
                    if (skip) {
                        assertArrayEquals(ones, set.read(unused.value()));
                    } else {
                        assertEquals(0.95, set.read(unused.value())[0], 1e-6);
                    }
                }
            }
        }
    }
}
