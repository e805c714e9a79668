package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.reference.NumericGradient;
import ai.lram.backend.reference.ReferenceConv2d;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What every engine's 2-D convolution and pooling must do. */
public abstract class Conv2dContract {
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

    @ParameterizedTest(name = "N={0} C={1} {2}x{3} O={4} k={5} stride={6} pad={7}")
    @CsvSource({
        "1,1,1,1,1,1,1,0", "1,1,3,3,1,3,1,1", "2,3,64,64,16,3,1,1", "3,16,16,16,32,3,1,1", "5,32,8,8,32,3,1,1",
                "2,3,7,9,5,3,1,1",
        "2,2,11,37,3,3,1,0", "1,4,5,6,7,5,1,2", "2,3,9,10,6,3,2,1", "1,3,32,32,18,16,16,0", "2,2,8,7,3,2,3,0",
                "1,2,6,6,2,1,1,2",
        "1,2,5,5,2,2,2,2", "2,1,20,19,4,4,3,1"
    })
    void agreesWithTheReference(int n, int c, int h, int w, int o, int k, int stride, int pad) {
        ReferenceConv2d reference = new ReferenceConv2d(n, c, h, w, o, k, stride, pad);
        // Rounding of fp32 sums grows with the root of their length.
        double tolerance = TOLERANCE * Math.max(1, Math.sqrt(Math.max(c, o) * k * k / 64.0));
        int oh = reference.outHeight();
        int ow = reference.outWidth();
        float[] x = fx.normal(n * c * h * w, 1);
        float[] weights = fx.normal(o * c * k * k, 0.3);
        float[] bias = fx.normal(o, 1);
        float[] dy = fx.normal(n * o * oh * ow, 1);
        Tensor tx = fx.of(x, n, c, h, w);
        Tensor tw = fx.of(weights, o, c, k, k);
        int floats = Math.toIntExact(fx.ops.conv().conv2dScratch(n, c, h, w, o, k, stride, pad));
        Tensor y = fx.poisoned(n, o, oh, ow);
        fx.ops.conv().conv2d(fx.stream, stride, pad, tx, tw, fx.of(bias, o), fx.poisoned(floats), y);
        fx.assertClose(
                "y",
                reference.forward(Fixture.doubles(x), Fixture.doubles(weights), Fixture.doubles(bias)),
                y,
                tolerance);
        fx.ops.conv().conv2d(fx.stream, stride, pad, tx, tw, null, fx.poisoned(floats), y);
        fx.assertClose(
                "y without bias", reference.forward(Fixture.doubles(x), Fixture.doubles(weights), null), y, tolerance);

        ReferenceConv2d.Gradients g =
                reference.backward(Fixture.doubles(dy), Fixture.doubles(x), Fixture.doubles(weights));
        float[] dw0 = fx.normal(weights.length, 1);
        float[] dbias0 = fx.normal(o, 1);
        Tensor dx = fx.poisoned(n, c, h, w);
        Tensor dw = fx.of(dw0, o, c, k, k);
        Tensor dbias = fx.of(dbias0, o);
        Tensor tdy = fx.of(dy, n, o, oh, ow);
        fx.ops.conv().conv2dBackward(fx.stream, stride, pad, tdy, tx, tw, fx.poisoned(floats), dx, dw, dbias);
        fx.assertClose("dx", g.dx(), dx, tolerance);
        fx.assertClose("dw", sum(g.dw(), dw0), dw, TOLERANCE);
        fx.assertClose("dbias", sum(g.dbias(), dbias0), dbias, TOLERANCE);
        Tensor alone = fx.zeros(o, c, k, k);
        fx.ops.conv().conv2dBackward(fx.stream, stride, pad, tdy, tx, tw, fx.poisoned(floats), null, alone, null);
        fx.assertClose("dw alone", g.dw(), alone, TOLERANCE);
    }

    @Test
    void referenceGradientIsTheDerivativeOfTheReference() {
        ReferenceConv2d reference = new ReferenceConv2d(2, 2, 5, 4, 3, 3, 2, 1);
        double[] x = Fixture.doubles(fx.normal(2 * 2 * 5 * 4, 1));
        double[] w = Fixture.doubles(fx.normal(3 * 2 * 9, 1));
        double[] bias = Fixture.doubles(fx.normal(3, 1));
        double[] dy = Fixture.doubles(fx.normal(2 * 3 * reference.outHeight() * reference.outWidth(), 1));
        ReferenceConv2d.Gradients g = reference.backward(dy, x, w);
        NumericGradient.assertAgrees(
                "dx", g.dx(), NumericGradient.of(x, v -> dot(dy, reference.forward(v, w, bias))), 1e-9);
        NumericGradient.assertAgrees(
                "dw", g.dw(), NumericGradient.of(w, v -> dot(dy, reference.forward(x, v, bias))), 1e-9);
        NumericGradient.assertAgrees(
                "dbias", g.dbias(), NumericGradient.of(bias, v -> dot(dy, reference.forward(x, w, v))), 1e-9);
    }

    @Test
    void nanStaysInItsImage() {
        float[] x = fx.normal(3 * 2 * 6 * 6, 1);
        x[2 * 36 + 17] = Float.NaN;
        Tensor y = fx.zeros(3, 4, 6, 6);
        Tensor scratch = fx.poisoned(Math.toIntExact(fx.ops.conv().conv2dScratch(3, 2, 6, 6, 4, 3, 1, 1)));
        fx.ops
                .conv()
                .conv2d(
                        fx.stream,
                        1,
                        1,
                        fx.of(x, 3, 2, 6, 6),
                        fx.of(fx.normal(4 * 2 * 9, 1), 4, 2, 3, 3),
                        null,
                        scratch,
                        y);
        float[] out = fx.read(y);
        for (int i = 0; i < out.length; i++) {
            int row = i / 6 % 6;
            int column = i % 6;
            boolean reached = i / 144 == 1 && row >= 1 && row <= 3 && column >= 4;
            assertEquals(reached, Float.isNaN(out[i]), "element " + i);
        }
    }

    @ParameterizedTest(name = "planes={0}x{1} {2}x{3} k={4} stride={5} pad={6}")
    @CsvSource({
        "1,1,1,1,1,1,0",
        "2,16,64,64,3,2,1",
        "1,32,16,16,3,2,1",
        "2,3,7,9,3,2,1",
        "1,2,19,41,3,1,1",
        "1,3,20,50,2,2,0",
        "1,2,33,70,5,3,2",
        "1,1,64,64,3,20,1",
        "2,2,2,2,3,2,1",
        "1,1,8,100,4,4,2"
    })
    void poolsTheFirstMaximumOfEachWindow(int n, int c, int h, int w, int k, int stride, int pad) {
        int oh = (h + 2 * pad - k) / stride + 1;
        int ow = (w + 2 * pad - k) / stride + 1;
        float[] x = new float[n * c * h * w];
        for (int i = 0; i < x.length; i++) {
            x[i] = fx.random.nextInt(5) - 9;
        }
        int[] want = ReferenceConv2d.poolIndex(x, n * c, h, w, k, stride, pad);
        Tensor y = fx.poisoned(n, c, oh, ow);
        Tensor index = fx.ofInts(new int[want.length], n, c, oh, ow);
        fx.ops.conv().maxPool2d(fx.stream, k, stride, pad, fx.of(x, n, c, h, w), y, index);
        assertArrayEquals(want, fx.readInts(index), "seed " + fx.seed);
        float[] max = new float[want.length];
        float[] dy = fx.normal(want.length, 1);
        double[] dx = new double[x.length];
        for (int i = 0; i < want.length; i++) {
            int at = i / (oh * ow) * h * w + want[i];
            max[i] = x[at];
            dx[at] += dy[i];
        }
        assertArrayEquals(max, fx.read(y), "seed " + fx.seed);
        Tensor got = fx.poisoned(n, c, h, w);
        fx.ops.conv().maxPool2dBackward(fx.stream, fx.of(dy, n, c, oh, ow), index, got);
        fx.assertClose("dx", dx, got, TOLERANCE);
    }

    @Test
    void poolingKeepsNan() {
        float[] x = fx.normal(40 * 40, 1);
        x[20 * 40 + 21] = Float.NaN;
        Tensor y = fx.zeros(1, 1, 20, 20);
        Tensor index = fx.ofInts(new int[400], 1, 1, 20, 20);
        fx.ops.conv().maxPool2d(fx.stream, 3, 2, 1, fx.of(x, 1, 1, 40, 40), y, index);
        float[] out = fx.read(y);
        for (int i = 0; i < out.length; i++) {
            boolean reached = i == 10 * 20 + 10 || i == 10 * 20 + 11;
            assertEquals(reached, Float.isNaN(out[i]), "window " + i);
            if (reached) {
                assertEquals(20 * 40 + 21, fx.readInts(index)[i]);
            }
        }
    }

    @Test
    void refusesShapesThatDoNotBelongTogether() {
        Tensor x = fx.zeros(2, 3, 6, 6);
        Tensor w = fx.zeros(4, 3, 3, 3);
        Tensor y = fx.poisoned(2, 4, 6, 6);
        int floats = Math.toIntExact(fx.ops.conv().conv2dScratch(2, 3, 6, 6, 4, 3, 1, 1));
        Tensor scratch = fx.zeros(floats);
        var conv = fx.ops.conv();
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.conv2d(fx.stream, 1, 1, x, fx.zeros(4, 2, 3, 3), null, scratch, y),
                "channels");
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.conv2d(fx.stream, 1, 1, x, fx.zeros(4, 3, 3, 2), null, scratch, y),
                "kernel");
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.conv2d(fx.stream, 1, 0, x, w, null, scratch, y),
                "no padding, smaller y");
        assertThrows(
                ShapeMismatchException.class, () -> conv.conv2d(fx.stream, 0, 1, x, w, null, scratch, y), "stride 0");
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.conv2d(fx.stream, 1, 1, x, w, fx.zeros(3), scratch, y),
                "bias");
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.conv2d(fx.stream, 1, 1, x, w, null, scratch.slice(0, floats - 1), y),
                "scratch");
        assertUntouched(y);
        Tensor dw = fx.poisoned(4, 3, 3, 3);
        Tensor dx = fx.poisoned(2, 3, 6, 6);
        Tensor dy = fx.zeros(2, 4, 6, 6);
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.conv2dBackward(fx.stream, 1, 1, dy, x, w, scratch, fx.zeros(2, 3, 6, 5), dw, null),
                "dx");
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.conv2dBackward(fx.stream, 1, 1, dy, x, w, scratch, dx, dw, fx.zeros(5)),
                "dbias");
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.conv2dBackward(fx.stream, 1, 1, fx.zeros(2, 4, 6, 5), x, w, scratch, dx, dw, null),
                "dy");
        assertUntouched(dw);
        assertUntouched(dx);
        Tensor pooled = fx.poisoned(2, 3, 3, 3);
        Tensor index = fx.ofInts(new int[54], 2, 3, 3, 3);
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.maxPool2d(fx.stream, 3, 2, 2, x, pooled, index),
                "too much padding");
        assertThrows(
                ShapeMismatchException.class, () -> conv.maxPool2d(fx.stream, 3, 1, 1, x, pooled, index), "stride");
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.maxPool2d(fx.stream, 3, 2, 1, x, pooled, pooled),
                "index dtype");
        assertUntouched(pooled);
        assertThrows(
                ShapeMismatchException.class,
                () -> conv.maxPool2dBackward(fx.stream, fx.zeros(2, 2, 3, 3), index, dx),
                "channels");
        assertUntouched(dx);
    }

    private void assertUntouched(Tensor t) {
        for (float v : fx.read(t)) {
            assertTrue(Float.isNaN(v));
        }
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
