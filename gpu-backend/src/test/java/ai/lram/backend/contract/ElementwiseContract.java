package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.ElementwiseOps;
import ai.lram.backend.reference.ReferenceElementwise;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.function.DoubleBinaryOperator;
import java.util.function.DoubleUnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every engine's pointwise kernels must do. */
public abstract class ElementwiseContract extends KernelContract {
    private static final int[] SIZES = {1, 2, 15, 16, 17, 63, 65, 257, 1025, 40_001};

    private ElementwiseOps ops() {
        return fx.ops.elementwise();
    }

    private static double[] map(float[] x, DoubleUnaryOperator f) {
        return Arrays.stream(Fixture.doubles(x)).map(f).toArray();
    }

    private static double[] map(float[] x, float[] y, DoubleBinaryOperator f) {
        double[] z = new double[x.length];
        Arrays.setAll(z, i -> f.applyAsDouble(x[i], y[i]));
        return z;
    }

    @ParameterizedTest
    @EnumSource(Activation.class)
    void activationsAndTheirSlopesAgreeWithTheReference(Activation act) {
        for (int n : SIZES) {
            float[] x = fx.normal(n, 3);
            float[] dy = fx.normal(n, 1);
            Tensor tx = fx.of(x, n);
            Tensor y = fx.poisoned(n);
            ops().activation(fx.stream, act, tx, y);
            fx.assertClose(act + " of " + n, map(x, v -> ReferenceElementwise.value(act, v)), y, TOLERANCE);
            Tensor dx = fx.poisoned(n);
            ops().activationBackward(fx.stream, act, tx, fx.of(dy, n), dx);
            fx.assertClose(
                    act + " backward of " + n,
                    map(x, dy, (v, d) -> d * ReferenceElementwise.slope(act, v)),
                    dx,
                    TOLERANCE);
        }
    }

    @ParameterizedTest
    @EnumSource(Activation.class)
    void theReferenceSlopeIsTheDerivative(Activation act) {
        for (double x : new double[] {-6, -2.5, -1, -0.3, 0.2, 0.7, 1.9, 4.5}) {
            double h = 1e-5;
            double numeric =
                    (ReferenceElementwise.value(act, x + h) - ReferenceElementwise.value(act, x - h)) / (2 * h);
            assertEquals(numeric, ReferenceElementwise.slope(act, x), 1e-9);
        }
    }

    @ParameterizedTest
    @EnumSource(Activation.class)
    void activationsStayFiniteAtLargeArguments(Activation act) {
        float[] x = new float[34];
        for (int i = 0; i < x.length; i++) {
            x[i] = (i % 2 == 0 ? 1 : -1) * (i < 17 ? 80f : 3e4f);
        }
        x[5] = 0.5f;
        Tensor tx = fx.of(x, x.length);
        Tensor y = fx.poisoned(x.length);
        ops().activation(fx.stream, act, tx, y);
        fx.assertClose(act + " far out", map(x, v -> ReferenceElementwise.value(act, v)), y, TOLERANCE);
        Tensor dx = fx.poisoned(x.length);
        ops().activationBackward(fx.stream, act, tx, fx.of(filled(x.length, 1), x.length), dx);
        fx.assertClose(act + " slope far out", map(x, v -> ReferenceElementwise.slope(act, v)), dx, TOLERANCE);
    }

    private static float[] filled(int n, float v) {
        float[] a = new float[n];
        Arrays.fill(a, v);
        return a;
    }

    @ParameterizedTest
    @EnumSource(Activation.class)
    void nanStaysInItsElement(Activation act) {
        int n = 37;
        for (int bad : new int[] {3, 36}) {
            float[] x = fx.normal(n, 1);
            x[bad] = Float.intBitsToFloat(0x7FC01234);
            float[] one = filled(n, 1);
            Tensor tx = fx.of(x, n);
            Tensor y = fx.zeros(n);
            Tensor dx = fx.zeros(n);
            Tensor gated = fx.zeros(n);
            ops().activation(fx.stream, act, tx, y);
            ops().activationBackward(fx.stream, act, tx, fx.of(one, n), dx);
            ops().gate(fx.stream, act, tx, fx.of(one, n), gated);
            for (Tensor t : new Tensor[] {y, dx, gated}) {
                float[] got = fx.read(t);
                for (int i = 0; i < n; i++) {
                    assertEquals(i == bad, Float.isNaN(got[i]), "element " + i);
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(Activation.class)
    void gatesAgreeWithTheReference(Activation act) {
        for (int n : SIZES) {
            float[] g = fx.normal(n, 2);
            float[] u = fx.normal(n, 1);
            float[] dy = fx.normal(n, 1);
            double[] want = map(g, u, (a, b) -> ReferenceElementwise.value(act, a) * b);
            double[] wantDu = map(g, dy, (a, d) -> d * ReferenceElementwise.value(act, a));
            double[] wantDg = new double[n];
            Arrays.setAll(wantDg, i -> (double) dy[i] * u[i] * ReferenceElementwise.slope(act, g[i]));
            Tensor y = fx.poisoned(n);
            Tensor dg = fx.poisoned(n);
            Tensor du = fx.poisoned(n);
            ops().gate(fx.stream, act, fx.of(g, n), fx.of(u, n), y);
            ops().gateBackward(fx.stream, act, fx.of(g, n), fx.of(u, n), fx.of(dy, n), dg, du);
            fx.assertClose("gate", want, y, TOLERANCE);
            fx.assertClose("dg", wantDg, dg, TOLERANCE);
            fx.assertClose("du", wantDu, du, TOLERANCE);
            Tensor inG = fx.of(g, n);
            Tensor inU = fx.of(u, n);
            ops().gateBackward(fx.stream, act, inG, inU, fx.of(dy, n), inG, inU);
            assertArrayEquals(fx.read(dg), fx.read(inG), "gradients in place of the inputs");
            assertArrayEquals(fx.read(du), fx.read(inU), "gradients in place of the inputs");
            Tensor over = fx.of(u, n);
            ops().gate(fx.stream, act, fx.of(g, n), over, over);
            assertArrayEquals(fx.read(y), fx.read(over), "output in place of u");
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 17, 1025, 40_001})
    void arithmeticAgreesWithTheReference(int n) {
        float[] a = fx.normal(n, 1);
        float[] b = fx.normal(n, 1);
        Tensor y = fx.poisoned(n);
        ops().add(fx.stream, fx.of(a, n), fx.of(b, n), y);
        fx.assertClose("add", map(a, b, Double::sum), y, TOLERANCE);
        ops().axpy(fx.stream, -0.3f, fx.of(a, n), y);
        fx.assertClose("axpy", map(a, b, (p, q) -> p + q - (double) 0.3f * p), y, TOLERANCE);
        ops().scale(fx.stream, 1.7f, y, y);
        fx.assertClose("scale in place", map(a, b, (p, q) -> 1.7f * (p + q - (double) 0.3f * p)), y, TOLERANCE);
        Tensor self = fx.of(a, n);
        ops().add(fx.stream, self, fx.of(b, n), self);
        fx.assertClose("add in place", map(a, b, Double::sum), self, TOLERANCE);
        ops().fill(fx.stream, 4.25f, y);
        assertArrayEquals(filled(n, 4.25f), fx.read(y));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 17, 1025, 40_001})
    void softCapAgreesWithTheReference(int n) {
        float[] x = fx.normal(n, 40);
        float[] dy = fx.normal(n, 1);
        Tensor y = fx.poisoned(n);
        ops().softCap(fx.stream, 30f, fx.of(x, n), y);
        fx.assertClose("softCap", map(x, v -> 30 * Math.tanh(v / 30)), y, TOLERANCE);
        Tensor dx = fx.poisoned(n);
        ops().softCapBackward(fx.stream, 30f, y, fx.of(dy, n), dx);
        fx.assertClose(
                "softCapBackward",
                map(x, dy, (v, d) -> d * ReferenceElementwise.slope(Activation.TANH, v / 30)),
                dx,
                TOLERANCE);
    }

    @ParameterizedTest(name = "{0}")
    @ValueSource(strings = {"1x1", "3x5", "2x16", "65x17", "5x1030", "300x48"})
    void skipGateAgreesWithTheReference(String shape) {
        int rows = Integer.parseInt(shape.split("x")[0]);
        int width = Integer.parseInt(shape.split("x")[1]);
        int n = rows * width;
        float[] h = fx.normal(n, 1);
        float[] skip = fx.normal(width, 1);
        float[] c = fx.normal(n, 1);
        float[] z = fx.normal(n, 2);
        float[] dy = fx.normal(n, 1);
        float[] dskip0 = fx.normal(width, 1);
        Tensor y = fx.poisoned(rows, width);
        ops().skipGate(fx.stream, fx.of(h, n), fx.of(skip, width), fx.of(c, n), fx.of(z, n), y);
        fx.assertClose(
                "skipGate",
                ReferenceElementwise.skipGate(
                        Fixture.doubles(h), Fixture.doubles(skip), Fixture.doubles(c), Fixture.doubles(z)),
                y,
                TOLERANCE);
        double[][] want = ReferenceElementwise.skipGateBackward(
                Fixture.doubles(h), Fixture.doubles(skip), Fixture.doubles(c), Fixture.doubles(z), Fixture.doubles(dy));
        for (int j = 0; j < width; j++) {
            want[1][j] += dskip0[j];
        }
        Tensor[] got = {fx.poisoned(n), fx.of(dskip0, width), fx.poisoned(n), fx.poisoned(n)};
        ops().skipGateBackward(
                        fx.stream,
                        fx.of(h, n),
                        fx.of(skip, width),
                        fx.of(c, n),
                        fx.of(z, n),
                        fx.of(dy, n),
                        got[0],
                        got[1],
                        got[2],
                        got[3]);
        String[] names = {"dh", "dskip", "dc", "dz"};
        for (int i = 0; i < 4; i++) {
            fx.assertClose(names[i], want[i], got[i], TOLERANCE);
        }
        Tensor th = fx.of(h, n);
        Tensor tc = fx.of(c, n);
        Tensor tz = fx.of(z, n);
        Tensor dskip = fx.of(dskip0, width);
        ops().skipGateBackward(fx.stream, th, fx.of(skip, width), tc, tz, fx.of(dy, n), th, dskip, tc, tz);
        assertArrayEquals(fx.read(got[0]), fx.read(th), "dh in place of h");
        assertArrayEquals(fx.read(got[1]), fx.read(dskip), "dskip when gradients take the inputs' place");
        assertArrayEquals(fx.read(got[2]), fx.read(tc), "dc in place of c");
        assertArrayEquals(fx.read(got[3]), fx.read(tz), "dz in place of z");
    }

    @Test
    void theReferenceSkipGateGradientIsTheDerivative() {
        double[] h = {0.3, -1.2, 0.8, 0.1};
        double[] skip = {0.7, -0.4};
        double[] c = {1.1, 0.2, -0.6, 0.9};
        double[] z = {0.4, -0.9, 1.5, 2.2};
        double[] dy = {1, -0.5, 0.25, 2};
        double[][] got = ReferenceElementwise.skipGateBackward(h, skip, c, z, dy);
        double[][] in = {h, skip, c, z};
        for (int k = 0; k < 4; k++) {
            for (int i = 0; i < in[k].length; i++) {
                double at = in[k][i];
                double e = 1e-5;
                in[k][i] = at + e;
                double up = dot(ReferenceElementwise.skipGate(h, skip, c, z), dy);
                in[k][i] = at - e;
                double down = dot(ReferenceElementwise.skipGate(h, skip, c, z), dy);
                in[k][i] = at;
                assertEquals((up - down) / (2 * e), got[k][i], 1e-9);
            }
        }
    }

    private static double dot(double[] a, double[] b) {
        double s = 0;
        for (int i = 0; i < a.length; i++) {
            s += a[i] * b[i];
        }
        return s;
    }

    @ParameterizedTest(name = "rows={0} cols")
    @ValueSource(strings = {"1x1", "3x7", "5x16", "4x33", "1000x41"})
    void copyRowsMovesAndAddsColumns(String shape) {
        int rows = Integer.parseInt(shape.split("x")[0]);
        int cols = Integer.parseInt(shape.split("x")[1]);
        int srcStride = cols + 3;
        int dstStride = 3 * cols + 1;
        float[] src = fx.normal(2 + rows * srcStride, 1);
        float[] dst = fx.normal(5 + rows * dstStride, 1);
        Tensor copied = fx.of(dst, dst.length);
        Tensor added = fx.of(dst, dst.length);
        Tensor from = fx.of(src, src.length);
        ops().copyRows(fx.stream, rows, cols, from, 2, srcStride, copied, 5, dstStride, false);
        ops().copyRows(fx.stream, rows, cols, from, 2, srcStride, added, 5, dstStride, true);
        float[] wantCopied = dst.clone();
        float[] wantAdded = dst.clone();
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < cols; c++) {
                wantCopied[5 + r * dstStride + c] = src[2 + r * srcStride + c];
                wantAdded[5 + r * dstStride + c] += src[2 + r * srcStride + c];
            }
        }
        assertArrayEquals(wantCopied, fx.read(copied));
        assertArrayEquals(wantAdded, fx.read(added));
    }

    @Test
    void copyRowsRefusesWhatLiesOutside() {
        Tensor src = fx.zeros(20);
        Tensor dst = fx.poisoned(20);
        assertRefused(() -> ops().copyRows(fx.stream, 3, 5, src, 6, 5, dst, 0, 5, false), dst);
        assertRefused(() -> ops().copyRows(fx.stream, 3, 5, src, 0, 5, dst, 6, 5, false), dst);
        assertRefused(() -> ops().copyRows(fx.stream, 2, 5, src, -1, 5, dst, 0, 5, false), dst);
        assertRefused(() -> ops().copyRows(fx.stream, 2, 5, src, 0, -5, dst, 0, 5, false), dst);
        assertRefused(() -> ops().copyRows(fx.stream, 1 << 20, 5, src, 0, 1L << 60, dst, 0, 5, false), dst);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 15, 16, 33, 50_003})
    void bytesBecomeFloats(int n) {
        byte[] bytes = new byte[n];
        fx.random.nextBytes(bytes);
        float[] want = new float[n];
        for (int i = 0; i < n; i++) {
            want[i] = (bytes[i] & 0xff) * (1 / 255f);
        }
        try (TensorArena arena = backend.arena("bytes");
                Arena host = Arena.ofConfined()) {
            Tensor x = arena.allocate(DType.U8, n);
            MemorySegment m = host.allocate(n);
            MemorySegment.copy(bytes, 0, m, java.lang.foreign.ValueLayout.JAVA_BYTE, 0, n);
            backend.upload(fx.stream, x, m);
            Tensor y = fx.poisoned(n);
            ops().fromBytes(fx.stream, x, 1 / 255f, y);
            assertArrayEquals(want, fx.read(y));
        }
    }

    @Test
    void wrongShapesAreRefusedAndNothingIsWritten() {
        Tensor a = fx.of(fx.normal(12, 1), 3, 4);
        Tensor b = fx.zeros(13);
        Tensor y = fx.poisoned(12);
        Tensor z = fx.poisoned(12);
        Tensor skip = fx.zeros(4);
        Tensor ints = fx.ofInts(new int[12], 12);
        assertRefused(() -> ops().activation(fx.stream, Activation.SILU, b, y), y);
        assertRefused(() -> ops().activation(fx.stream, Activation.SILU, ints, y), y);
        assertRefused(() -> ops().activation(fx.stream, Activation.SILU, null, y), y);
        assertRefused(() -> ops().activation(fx.stream, Activation.SILU, a, null));
        assertRefused(() -> ops().activationBackward(fx.stream, Activation.SILU, a, b, y), y);
        assertRefused(() -> ops().add(fx.stream, a, b, y), y);
        assertRefused(() -> ops().axpy(fx.stream, 1, b, y), y);
        assertRefused(() -> ops().scale(fx.stream, 1, b, y), y);
        assertRefused(() -> ops().gate(fx.stream, Activation.SILU, a, b, y), y);
        assertRefused(() -> ops().gateBackward(fx.stream, Activation.SILU, a, a, b, y, z), y, z);
        assertRefused(() -> ops().gateBackward(fx.stream, Activation.SILU, a, a, a, y, b), y, b);
        assertRefused(() -> ops().skipGate(fx.stream, a, fx.zeros(5), a, a, y), y);
        assertRefused(() -> ops().skipGate(fx.stream, a, skip, b, a, y), y);
        assertRefused(() -> ops().skipGateBackward(fx.stream, a, skip, a, a, a, y, fx.zeros(5), z, z), y, z);
        assertRefused(() -> ops().softCap(fx.stream, 1, b, y), y);
        assertRefused(() -> ops().softCapBackward(fx.stream, 1, a, b, y), y);
        assertRefused(() -> ops().fill(fx.stream, 1, ints));
        assertRefused(() -> ops().fromBytes(fx.stream, a, 1, y), y);
        assertTrue(Float.isNaN(fx.read(y)[0]));
    }
}
