package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.OptimizerOps;
import ai.lram.backend.reference.ReferenceOptimizer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every engine's optimiser must do. */
public abstract class OptimizerContract extends KernelContract {
    private OptimizerOps ops() {
        return fx.ops.optimizer();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 17, 16_384, 50_001})
    void sumOfSquaresIsAddedUp(int n) {
        float[] x = fx.normal(n, 3);
        double want = 1.5;
        for (float v : x) {
            want += (double) v * v;
        }
        Tensor out = fx.of(new float[] {1.5f}, 1);
        ops().sumSquares(fx.stream, fx.of(x, n), out);
        assertEquals(want, fx.read(out)[0], 1e-7 * want);
    }

    @ParameterizedTest(name = "n={0} maxNorm={1} decay={2}")
    @CsvSource({"1,0,true", "17,1,true", "63,1e9,false", "50001,0.5,true", "4096,0,false"})
    void fiveStepsAgreeWithTheReference(int n, float maxNorm, boolean decay) {
        float[] param = fx.normal(n, 1);
        Tensor p = fx.of(param, n);
        Tensor m = fx.zeros(n);
        Tensor v = fx.zeros(n);
        double[] p64 = Fixture.doubles(param);
        double[] m64 = new double[n];
        double[] v64 = new double[n];
        float lr = 1e-2f;
        float b1 = 0.9f;
        float b2 = 0.99f;
        float eps = 1e-6f;
        float wd = 0.1f;
        for (int t = 1; t <= 5; t++) {
            float[] grad = fx.normal(n, 2);
            double squares = 0;
            for (float g : grad) {
                squares += (double) g * g;
            }
            float c1 = (float) (1 - Math.pow(b1, t));
            float c2 = (float) (1 - Math.pow(b2, t));
            double clip = maxNorm == 0 ? 1 : Math.min(1, maxNorm / (Math.sqrt((float) squares) + 1e-6));
            Tensor hyper = fx.of(new float[] {lr, b1, b2, eps, wd, c1, c2, maxNorm}, 8);
            Tensor norm = fx.of(new float[] {(float) squares}, 1);
            ops().adamW(fx.stream, hyper, norm, decay, p, fx.of(grad, n), m, v);
            ReferenceOptimizer.adamW(
                    lr, b1, b2, eps, decay ? wd : 0, c1, c2, clip, p64, Fixture.doubles(grad), m64, v64);
        }
        fx.assertClose("m", m64, m, TOLERANCE);
        fx.assertClose("v", v64, v, TOLERANCE);
        fx.assertClose("param", p64, p, TOLERANCE);
    }

    @Test
    void withoutANormNothingIsClipped() {
        Tensor p = fx.of(new float[] {1}, 1);
        Tensor q = fx.of(new float[] {1}, 1);
        Tensor grad = fx.of(new float[] {100}, 1);
        Tensor m = fx.zeros(1);
        Tensor v = fx.zeros(1);
        ops().adamW(fx.stream, fx.of(new float[] {0.1f, 0, 0, 1e-8f, 0, 1, 1, 1}, 8), null, false, p, grad, m, v);
        assertEquals(100f, fx.read(m)[0]);
        ops().adamW(
                        fx.stream,
                        fx.of(new float[] {0.1f, 0, 0, 1e-8f, 0, 1, 1, 1}, 8),
                        fx.of(new float[] {10_000}, 1),
                        false,
                        q,
                        grad,
                        m,
                        v);
        assertEquals(1f, fx.read(m)[0], 1e-6f);
        assertArrayEquals(new float[] {0.9f}, fx.read(p), 1e-6f);
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY})
    void aSumThatIsNotFiniteChangesNothing(float sum) {
        float[] before = fx.normal(20, 1);
        Tensor p = fx.of(before, 20);
        Tensor m = fx.of(before, 20);
        Tensor v = fx.of(before, 20);
        ops().adamW(
                        fx.stream,
                        fx.of(new float[] {0.1f, 0.9f, 0.9f, 1e-8f, 0.1f, 1, 1, 0}, 8),
                        fx.of(new float[] {sum}, 1),
                        true,
                        p,
                        fx.of(fx.normal(20, 1), 20),
                        m,
                        v);
        assertArrayEquals(before, fx.read(p));
        assertArrayEquals(before, fx.read(m));
        assertArrayEquals(before, fx.read(v));
    }

    @Test
    void nanStaysInItsElement() {
        Tensor p = fx.of(new float[20], 20);
        float[] g = new float[20];
        g[3] = Float.NaN;
        ops().adamW(
                        fx.stream,
                        fx.of(new float[] {0.1f, 0.9f, 0.9f, 1e-8f, 0, 1, 1, 0}, 8),
                        null,
                        true,
                        p,
                        fx.of(g, 20),
                        fx.zeros(20),
                        fx.zeros(20));
        float[] got = fx.read(p);
        for (int i = 0; i < 20; i++) {
            assertEquals(i == 3, Float.isNaN(got[i]));
        }
    }

    @Test
    void wrongShapesAreRefusedAndNothingIsWritten() {
        Tensor hyper = fx.of(new float[] {1, 1, 1, 1, 1, 1, 1, 1}, 8);
        Tensor p = fx.of(fx.normal(5, 1), 5);
        Tensor g = fx.of(fx.normal(5, 1), 5);
        Tensor six = fx.zeros(6);
        assertRefused(() -> ops().adamW(fx.stream, six, null, true, p, g, g, g), p);
        assertRefused(() -> ops().adamW(fx.stream, hyper, six, true, p, g, g, g), p);
        assertRefused(() -> ops().adamW(fx.stream, hyper, null, true, p, six, g, g), p);
        assertRefused(() -> ops().adamW(fx.stream, hyper, null, true, p, g, six, g), p);
        assertRefused(() -> ops().adamW(fx.stream, hyper, null, true, p, g, g, null), p);
        assertRefused(() -> ops().sumSquares(fx.stream, p, six), six);
        assertTrue(Float.isFinite(fx.read(p)[0]));
    }
}
