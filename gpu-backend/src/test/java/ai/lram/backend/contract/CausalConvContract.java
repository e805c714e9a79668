package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.reference.NumericGradient;
import ai.lram.backend.reference.ReferenceCausalConv;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What every engine's causal depthwise convolution must do. */
public abstract class CausalConvContract {
    private static final double TOLERANCE = 5e-7;

    private Backend backend;
    private Fixture fx;

    protected abstract Backend openBackend();

    @BeforeEach
    void open() {
        backend = openBackend();
        fx = new Fixture(backend);
    }

    @AfterEach
    void close() {
        fx.close();
        backend.close();
    }

    @ParameterizedTest(name = "B={0} S={1} C={2} K={3} history={4} bias={5}")
    @CsvSource({
        "1,1,1,1,false,true", "1,1,1,4,true,true", "2,2,5,4,true,false", "3,3,16,4,false,true", "2,150,128,4,true,true",
        "2,65,33,4,true,true", "1,130,48,4,false,false", "2,7,19,3,true,true", "2,70,40,7,true,true",
                "1,2,17,6,true,true",
        "3,9,32,1,true,true", "1,3,70,2,false,true"
    })
    void agreesWithTheReference(int b, int s, int c, int k, boolean withHistory, boolean withBias) {
        ReferenceCausalConv reference = new ReferenceCausalConv(b, s, c, k);
        float[] x = fx.normal(b * s * c, 1);
        float[] w = fx.normal(c * k, 0.5);
        float[] bias = withBias ? fx.normal(c, 1) : null;
        float[] history = withHistory ? fx.normal(b * (k - 1) * c, 1) : null;
        float[] dy = fx.normal(b * s * c, 1);
        float[] dw0 = fx.normal(c * k, 1);
        float[] dbias0 = fx.normal(c, 1);
        Tensor tx = fx.of(x, b, s, c);
        Tensor tw = fx.of(w, c, k);
        Tensor th = history == null ? null : fx.of(history, b, k - 1, c);
        Tensor y = fx.poisoned(b, s, c);
        fx.ops.conv().causalConv1d(fx.stream, tx, tw, bias == null ? null : fx.of(bias, c), th, y);
        fx.assertClose("y", reference.forward(doubles(x), doubles(w), doubles(bias), doubles(history)), y, TOLERANCE);

        Tensor dx = fx.poisoned(b, s, c);
        Tensor dh = withHistory ? fx.poisoned(b, k - 1, c) : null;
        Tensor dw = fx.of(dw0, c, k);
        Tensor dbias = withBias ? fx.of(dbias0, c) : null;
        fx.ops.conv().causalConv1dBackward(fx.stream, fx.of(dy, b, s, c), tx, tw, th, dx, dh, dw, dbias);
        ReferenceCausalConv.Gradients g = reference.backward(doubles(dy), doubles(x), doubles(w), doubles(history));
        fx.assertClose("dx", g.dx(), dx, TOLERANCE);
        fx.assertClose("dw", sum(g.dw(), dw0), dw, TOLERANCE);
        if (withHistory) {
            fx.assertClose("dhistory", g.dhistory(), dh, TOLERANCE);
        }
        if (withBias) {
            fx.assertClose("dbias", sum(g.dbias(), dbias0), dbias, TOLERANCE);
        }
    }

    @Test
    void referenceGradientIsTheDerivativeOfTheReference() {
        int b = 2;
        int s = 5;
        int c = 3;
        int k = 4;
        ReferenceCausalConv reference = new ReferenceCausalConv(b, s, c, k);
        double[] x = doubles(fx.normal(b * s * c, 1));
        double[] w = doubles(fx.normal(c * k, 1));
        double[] bias = doubles(fx.normal(c, 1));
        double[] history = doubles(fx.normal(b * (k - 1) * c, 1));
        double[] dy = doubles(fx.normal(b * s * c, 1));
        ReferenceCausalConv.Gradients g = reference.backward(dy, x, w, history);
        NumericGradient.assertAgrees(
                "dx", g.dx(), NumericGradient.of(x, v -> dot(dy, reference.forward(v, w, bias, history))), 1e-9);
        NumericGradient.assertAgrees(
                "dw", g.dw(), NumericGradient.of(w, v -> dot(dy, reference.forward(x, v, bias, history))), 1e-9);
        NumericGradient.assertAgrees(
                "dbias", g.dbias(), NumericGradient.of(bias, v -> dot(dy, reference.forward(x, w, v, history))), 1e-9);
        NumericGradient.assertAgrees(
                "dhistory",
                g.dhistory(),
                NumericGradient.of(history, v -> dot(dy, reference.forward(x, w, bias, v))),
                1e-9);
    }

    @Test
    void sumsLongSequencesWithoutLosingDigits() {
        int b = 40;
        int s = 500;
        int c = 17;
        float[] x = fx.normal(b * s * c, 1);
        float[] dy = fx.normal(b * s * c, 1);
        for (int i = 0; i < x.length; i++) {
            x[i] += 3;
            dy[i] += 2;
        }
        float[] w = fx.normal(c * 4, 1);
        Tensor dw = fx.zeros(c, 4);
        Tensor dbias = fx.zeros(c);
        fx.ops
                .conv()
                .causalConv1dBackward(
                        fx.stream,
                        fx.of(dy, b, s, c),
                        fx.of(x, b, s, c),
                        fx.of(w, c, 4),
                        null,
                        fx.poisoned(b, s, c),
                        null,
                        dw,
                        dbias);
        ReferenceCausalConv.Gradients g =
                new ReferenceCausalConv(b, s, c, 4).backward(doubles(dy), doubles(x), doubles(w), null);
        fx.assertClose("dw", g.dw(), dw, 2e-7);
        fx.assertClose("dbias", g.dbias(), dbias, 2e-7);
    }

    @Test
    void splittingASequenceAndCarryingTheHistoryGivesTheSame() {
        int s = 23;
        int c = 37;
        int k = 4;
        float[] x = fx.normal(s * c, 1);
        Tensor w = fx.of(fx.normal(c * k, 1), c, k);
        Tensor bias = fx.of(fx.normal(c, 1), c);
        Tensor whole = fx.poisoned(1, s, c);
        fx.ops.conv().causalConv1d(fx.stream, fx.of(x, 1, s, c), w, bias, null, whole);
        for (int cut = k - 1; cut < s; cut++) {
            Tensor tail = fx.poisoned(1, s - cut, c);
            Tensor history = fx.of(Arrays.copyOfRange(x, (cut - k + 1) * c, cut * c), 1, k - 1, c);
            fx.ops
                    .conv()
                    .causalConv1d(
                            fx.stream,
                            fx.of(Arrays.copyOfRange(x, cut * c, s * c), 1, s - cut, c),
                            w,
                            bias,
                            history,
                            tail);
            assertArrayEquals(Arrays.copyOfRange(fx.read(whole), cut * c, s * c), fx.read(tail), "cut at " + cut);
        }
    }

    @Test
    void nanStaysInItsSequenceAndDoesNotReachThePast() {
        int s = 9;
        int c = 20;
        float[] x = fx.normal(2 * s * c, 1);
        x[5 * c + 3] = Float.NaN;
        Tensor y = fx.zeros(2, s, c);
        fx.ops.conv().causalConv1d(fx.stream, fx.of(x, 2, s, c), fx.of(fx.normal(c * 4, 1), c, 4), null, null, y);
        float[] out = fx.read(y);
        for (int i = 0; i < out.length; i++) {
            int t = i / c;
            boolean reached = i % c == 3 && t >= 5 && t < 9;
            if (reached) {
                assertTrue(Float.isNaN(out[i]), "element " + i);
            } else {
                assertFalse(Float.isNaN(out[i]), "element " + i);
            }
        }
    }

    @Test
    void refusesShapesThatDoNotBelongTogether() {
        Tensor x = fx.zeros(2, 5, 6);
        Tensor w = fx.zeros(6, 4);
        Tensor y = fx.poisoned(2, 5, 6);
        assertThrows(
                ShapeMismatchException.class,
                () -> fx.ops.conv().causalConv1d(fx.stream, x, fx.zeros(5, 4), null, null, y));
        assertThrows(
                ShapeMismatchException.class, () -> fx.ops.conv().causalConv1d(fx.stream, x, w, fx.zeros(5), null, y));
        assertThrows(
                ShapeMismatchException.class,
                () -> fx.ops.conv().causalConv1d(fx.stream, x, w, null, fx.zeros(2, 4, 6), y));
        assertThrows(
                ShapeMismatchException.class,
                () -> fx.ops.conv().causalConv1d(fx.stream, x, w, null, null, fx.zeros(2, 5, 5)));
        for (float v : fx.read(y)) {
            assertTrue(Float.isNaN(v));
        }
        Tensor dw = fx.poisoned(6, 4);
        Tensor dx = fx.poisoned(2, 5, 6);
        assertThrows(
                ShapeMismatchException.class,
                () -> fx.ops.conv().causalConv1dBackward(fx.stream, fx.zeros(2, 4, 6), x, w, null, dx, null, dw, null));
        assertThrows(
                ShapeMismatchException.class,
                () -> fx.ops.conv().causalConv1dBackward(fx.stream, x, x, w, null, dx, null, dw, fx.zeros(7)));
        for (float v : fx.read(dw)) {
            assertTrue(Float.isNaN(v));
        }
        for (float v : fx.read(dx)) {
            assertTrue(Float.isNaN(v));
        }
    }

    private static double[] doubles(float[] a) {
        return a == null ? null : Fixture.doubles(a);
    }

    private static double[] sum(double[] a, float[] b) {
        double[] s = a.clone();
        for (int i = 0; i < s.length; i++) {
            s[i] += b[i];
        }
        return s;
    }

    private static double dot(double[] a, double[] b) {
        double s = 0;
        for (int i = 0; i < a.length; i++) {
            s += a[i] * b[i];
        }
        return s;
    }
}
