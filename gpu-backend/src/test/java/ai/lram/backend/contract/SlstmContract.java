package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Tensor;
import ai.lram.backend.reference.NumericGradient;
import ai.lram.backend.reference.ReferenceSlstm;
import java.util.Arrays;
import java.util.Random;
import java.util.function.ToDoubleFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every engine's sLSTM must do. */
public abstract class SlstmContract extends KernelContract {
    private static final double SEQUENCE = 2e-6;

    private int b;
    private int s;
    private int nh;
    private int dh;
    private Tensor[] x;
    private Tensor[] dx;
    private Tensor r;
    private Tensor bias;
    private Tensor initial;
    private Tensor y;
    private Tensor last;
    private Tensor saved;
    private Tensor scratch;

    private void problem(int batch, int tokens, int heads, int headDim, double gates, boolean withInitial) {
        b = batch;
        s = tokens;
        nh = heads;
        dh = headDim;
        int h = nh * dh;
        x = new Tensor[4];
        dx = new Tensor[4];
        for (int g = 0; g < 4; g++) {
            x[g] = fx.of(fx.normal(b * s * h, gates), b, s, h);
            dx[g] = fx.poisoned(b, s, h);
        }
        r = fx.of(fx.normal(h * 4 * dh, 0.5 / Math.sqrt(dh)), nh, dh, 4, dh);
        bias = fx.of(fx.normal(4 * h, 0.5), 4, h);
        initial = null;
        if (withInitial) {
            float[] state = fx.normal(4 * b * h, 1);
            for (int u = 2 * b * h; u < 3 * b * h; u++) {
                state[u] = 0.5f + Math.abs(state[u]);
            }
            initial = fx.of(state, 4, b, h);
        }
        y = fx.poisoned(b, s, h);
        last = fx.poisoned(4, b, h);
        saved = fx.poisoned(Math.toIntExact(fx.ops.slstm().savedFloats(b, s, nh, dh)));
        scratch = fx.poisoned(Math.toIntExact(fx.ops.slstm().scratchFloats(b, s, nh, dh)));
    }

    private void forward() {
        fx.ops.slstm().forward(fx.stream, nh, x[0], x[1], x[2], x[3], r, bias, initial, y, last, saved, scratch);
    }

    private ReferenceSlstm reference() {
        ReferenceSlstm ref = new ReferenceSlstm(b, s, nh, dh);
        ref.x = new double[4][];
        for (int g = 0; g < 4; g++) {
            ref.x[g] = Fixture.doubles(fx.read(x[g]));
        }
        ref.r = Fixture.doubles(fx.read(r));
        ref.bias = Fixture.doubles(fx.read(bias));
        ref.initial = initial == null ? null : Fixture.doubles(fx.read(initial));
        return ref.forward();
    }

    @ParameterizedTest(name = "B={0} S={1} NH={2} DH={3} initial={4} dLast={5}")
    @CsvSource({
        "1,1,1,1,false,false",
        "3,2,2,5,true,true",
        "8,63,2,16,false,true",
        "9,65,4,33,true,false",
        "17,20,1,64,true,true",
        "2,257,2,8,false,false",
        "4,12,2,40,true,true",
        "5,70,2,100,true,true",
        "1,7,1,128,false,false",
        "2,5,2,160,true,false"
    })
    void agreesWithTheReference(int batch, int tokens, int heads, int headDim, boolean withInitial, boolean withTail) {
        problem(batch, tokens, heads, headDim, 1, withInitial);
        int h = nh * dh;
        forward();
        ReferenceSlstm ref = reference();
        fx.assertClose("y", ref.y, y, SEQUENCE);
        fx.assertClose("last", ref.last, last, SEQUENCE);
        float[] dy = fx.normal(b * s * h, 1);
        float[] tail = withTail ? fx.normal(4 * b * h, 1) : null;
        float[] startR = fx.normal(h * 4 * dh, 1);
        float[] startB = fx.normal(4 * h, 1);
        Tensor dr = fx.of(startR, nh, dh, 4, dh);
        Tensor dbias = fx.of(startB, 4, h);
        Tensor dInitial = fx.poisoned(4, b, h);
        fx.ops
                .slstm()
                .backward(
                        fx.stream,
                        nh,
                        r,
                        initial,
                        y,
                        saved,
                        fx.of(dy, b, s, h),
                        tail == null ? null : fx.of(tail, 4, b, h),
                        dx[0],
                        dx[1],
                        dx[2],
                        dx[3],
                        dInitial,
                        dr,
                        dbias,
                        scratch);
        ref.gradients(Fixture.doubles(dy), tail == null ? null : Fixture.doubles(tail));
        double scale = 0;
        for (int g = 0; g < 4; g++) {
            scale = Math.max(scale, 0.1 * Fixture.largest(ref.dx[g]));
        }
        for (int g = 0; g < 4; g++) {
            fx.assertClose("dx" + g, ref.dx[g], dx[g], 2 * SEQUENCE, scale);
        }
        fx.assertClose("dInitial", ref.dInitial, dInitial, 2 * SEQUENCE);
        for (int u = 0; u < startR.length; u++) {
            ref.dr[u] += startR[u];
        }
        for (int u = 0; u < startB.length; u++) {
            ref.dbias[u] += startB[u];
        }
        fx.assertClose("dr", ref.dr, dr, 2 * SEQUENCE);
        fx.assertClose("dbias", ref.dbias, dbias, 2 * SEQUENCE);
    }

    @Test
    void referenceGradientsAreDerivatives() {
        problem(2, 4, 2, 3, 1, true);
        ReferenceSlstm ref = reference();
        Random fixed = new Random(5);
        for (double[] a : new double[][] {ref.x[0], ref.x[1], ref.x[2], ref.x[3], ref.r, ref.bias}) {
            Arrays.setAll(a, u -> fixed.nextGaussian());
        }
        double[] dy = Fixture.doubles(fx.normal(ref.y.length, 1));
        double[] dLast = Fixture.doubles(fx.normal(ref.last.length, 1));
        ref.forward();
        double[] base = ref.last.clone();
        int plane = 2 * 6;
        ToDoubleFunction<double[]> loss = ignored -> {
            ref.forward();
            double sum = 0;
            for (int u = 0; u < dy.length; u++) {
                sum += dy[u] * ref.y[u];
            }
            for (int u = 0; u < plane; u++) {
                double unit = Math.exp(ref.last[3 * plane + u] - base[3 * plane + u]);
                sum += dLast[u] * ref.last[u]
                        + unit
                                * (dLast[plane + u] * ref.last[plane + u]
                                        + dLast[2 * plane + u] * ref.last[2 * plane + u]);
            }
            return sum;
        };
        ref.gradients(dy, dLast);
        for (int g = 0; g < 4; g++) {
            NumericGradient.assertAgrees("x" + g, ref.dx[g].clone(), NumericGradient.of(ref.x[g], loss), 1e-5);
        }
        NumericGradient.assertAgrees("r", ref.dr.clone(), NumericGradient.of(ref.r, loss), 1e-5);
        NumericGradient.assertAgrees("bias", ref.dbias.clone(), NumericGradient.of(ref.bias, loss), 1e-5);
        NumericGradient.assertAgrees("initial", ref.dInitial.clone(), NumericGradient.of(ref.initial, loss), 1e-5);
    }

    @ParameterizedTest
    @ValueSource(doubles = {30, 80})
    void wideGatesStayFiniteAndClose(double scale) {
        problem(2, 100, 2, 16, 1, false);
        float[] gate = new float[2 * 100 * 32];
        for (int g = 0; g < 2; g++) {
            for (int u = 0; u < gate.length; u++) {
                gate[u] = (float) (scale * (2 * fx.random.nextDouble() - 1));
            }
            x[g] = fx.of(gate, 2, 100, 32);
        }
        forward();
        fx.assertClose("y", reference().y, y, 1e-4);
    }

    @Test
    void zeroInputGivesZero() {
        problem(2, 10, 2, 8, 0, false);
        bias = fx.zeros(4, 16);
        forward();
        for (float v : fx.read(y)) {
            assertEquals(0, v);
        }
    }

    @Test
    void nanStaysInItsBatchRow() {
        problem(3, 10, 2, 8, 1, false);
        forward();
        float[] clean = fx.read(y);
        float[] in = fx.read(x[2]);
        in[(1 * 10 + 4) * 16 + 3] = Float.NaN;
        x[2] = fx.of(in, 3, 10, 16);
        forward();
        float[] got = fx.read(y);
        boolean seen = false;
        for (int u = 0; u < got.length; u++) {
            if (u / 160 == 1) {
                seen |= Float.isNaN(got[u]);
            } else {
                assertEquals(clean[u], got[u]);
            }
        }
        assertTrue(seen, "the NaN is lost");
    }

    @Test
    void wrongSizesAreRefusedAndNothingIsWritten() {
        problem(2, 5, 2, 4, 1, false);
        Tensor shorter = fx.zeros(2, 4, 8);
        Tensor tooShort = scratch.slice(0, (int) scratch.size() - 1);
        assertRefused(
                () -> fx.ops
                        .slstm()
                        .forward(fx.stream, nh, shorter, x[1], x[2], x[3], r, bias, null, y, last, saved, scratch),
                y,
                last);
        assertRefused(
                () -> fx.ops
                        .slstm()
                        .forward(fx.stream, nh, x[0], x[1], x[2], x[3], r, bias, null, y, last, saved, tooShort),
                y,
                last);
    }

    @Test
    void aSecondRunGivesTheSameBits() {
        problem(9, 40, 2, 24, 1, true);
        forward();
        float[] first = fx.read(y);
        forward();
        assertArrayEquals(first, fx.read(y));
    }
}
