package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.NormOps;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.reference.NumericGradient;
import ai.lram.backend.reference.ReferenceNorm;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What every engine's normalisation must do. */
public abstract class NormContract extends KernelContract {
    private NormOps ops() {
        return fx.ops.norm();
    }

    @ParameterizedTest(name = "M={0} N={1} groups={2} centred={3} residual={4} bias={5}")
    @CsvSource({
        "1,1,1,false,false,true", "3,5,1,true,true,false", "7,17,1,true,false,true", "2,63,3,true,true,true",
        "5,64,1,false,false,false", "9,65,5,true,false,true", "4,257,1,false,true,true", "65,128,4,true,true,false",
        "300,96,2,true,false,true", "1000,130,1,true,true,true", "129,512,4,true,true,true", "2,2048,1,true,false,true"
    })
    void forwardAndBackwardAgreeWithTheReference(
            int rows, int width, int groups, boolean centred, boolean residual, boolean biased) {
        NormSpec spec = new NormSpec(groups, 1e-5f, centred, residual);
        float[] x = fx.normal(rows * width, 1);
        for (int i = 0; i < x.length; i++) {
            x[i] += 0.5f;
        }
        float[] w = fx.normal(width, 1);
        float[] b = fx.normal(width, 1);
        float[] dy = fx.normal(rows * width, 1);
        float[] dw0 = fx.normal(width, 1);
        double[] x64 = Fixture.doubles(x);
        double[] w64 = Fixture.doubles(w);
        ReferenceNorm.Result want = ReferenceNorm.forward(spec, x64, w64, biased ? Fixture.doubles(b) : null);
        Tensor tx = fx.of(x, rows, width);
        Tensor tw = fx.of(w, width);
        Tensor tb = biased ? fx.of(b, width) : null;
        Tensor y = fx.poisoned(rows, width);
        Tensor mean = fx.poisoned(rows, groups);
        Tensor rstd = fx.poisoned(rows, groups);
        ops().forward(fx.stream, spec, tx, tw, tb, y, mean, rstd);
        fx.assertClose("y", want.y(), y, TOLERANCE);
        fx.assertClose("mean", want.mean(), mean, TOLERANCE);
        fx.assertClose("rstd", want.rstd(), rstd, TOLERANCE);

        Tensor inPlace = fx.of(x, rows, width);
        ops().forward(fx.stream, spec, inPlace, tw, tb, inPlace, null, null);
        assertArrayEquals(fx.read(y), fx.read(inPlace), "in place and without statistics");

        ReferenceNorm.Gradient grad = ReferenceNorm.backward(spec, Fixture.doubles(dy), x64, w64);
        Tensor dx = fx.poisoned(rows, width);
        Tensor dw = fx.of(dw0, width);
        Tensor db = fx.of(dw0, width);
        ops().backward(fx.stream, spec, fx.of(dy, rows, width), tx, tw, mean, rstd, dx, dw, db);
        // A single column's gradient is the difference of two nearly equal numbers.
        fx.assertClose("dx", grad.dx(), dx, width == 1 ? 0.5 : 2 * TOLERANCE);
        double[] wantDw = grad.dweight().clone();
        double[] wantDb = grad.dbias().clone();
        for (int j = 0; j < width; j++) {
            wantDw[j] += dw0[j];
            wantDb[j] += dw0[j];
        }
        fx.assertClose("dweight", wantDw, dw, TOLERANCE);
        fx.assertClose("dbias", wantDb, db, TOLERANCE);

        Tensor dxAgain = fx.poisoned(rows, width);
        Tensor dwAgain = fx.of(dw0, width);
        ops().backward(fx.stream, spec, fx.of(dy, rows, width), tx, tw, mean, rstd, dxAgain, dwAgain, null);
        assertArrayEquals(fx.read(dx), fx.read(dxAgain), "dx without dbias");
        assertArrayEquals(fx.read(dw), fx.read(dwAgain), "dweight without dbias");
        ops().backward(fx.stream, spec, fx.of(dy, rows, width), tx, tw, mean, rstd, dxAgain, null, null);
        assertArrayEquals(fx.read(dx), fx.read(dxAgain), "dx alone");
    }

    @ParameterizedTest(name = "groups={0} centred={1} residual={2}")
    @CsvSource({"1,true,true", "1,false,false", "2,true,false", "3,false,true"})
    void theReferenceGradientIsTheDerivative(int groups, boolean centred, boolean residual) {
        NormSpec spec = new NormSpec(groups, 1e-3f, centred, residual);
        double[] x = Fixture.doubles(fx.normal(24, 1));
        double[] w = Fixture.doubles(fx.normal(12, 1));
        double[] b = Fixture.doubles(fx.normal(12, 1));
        double[] dy = Fixture.doubles(fx.normal(24, 1));
        ReferenceNorm.Gradient got = ReferenceNorm.backward(spec, dy, x, w);
        NumericGradient.assertAgrees("dx", got.dx(), NumericGradient.of(x, v -> dot(dy, spec, v, w, b)), 1e-7);
        NumericGradient.assertAgrees("dw", got.dweight(), NumericGradient.of(w, v -> dot(dy, spec, x, v, b)), 1e-7);
        NumericGradient.assertAgrees("db", got.dbias(), NumericGradient.of(b, v -> dot(dy, spec, x, w, v)), 1e-7);
    }

    private static double dot(double[] dy, NormSpec spec, double[] x, double[] w, double[] b) {
        double[] y = ReferenceNorm.forward(spec, x, w, b).y();
        double s = 0;
        for (int i = 0; i < y.length; i++) {
            s += dy[i] * y[i];
        }
        return s;
    }

    @Test
    void aConstantRowBecomesTheBias() {
        NormSpec spec = new NormSpec(1, 1e-5f, true, true);
        float[] x = new float[40];
        java.util.Arrays.fill(x, 3f);
        float[] b = fx.normal(20, 1);
        Tensor y = fx.poisoned(2, 20);
        ops().forward(fx.stream, spec, fx.of(x, 2, 20), fx.zeros(20), fx.of(b, 20), y, null, null);
        float[] got = fx.read(y);
        for (int i = 0; i < 40; i++) {
            assertEquals(b[i % 20], got[i], 1e-3f);
        }
    }

    @Test
    void nanStaysInItsRowAndGroup() {
        NormSpec spec = new NormSpec(2, 1e-5f, true, false);
        float[] x = fx.normal(3 * 34, 1);
        x[34 + 20] = Float.NaN;
        Tensor y = fx.poisoned(3, 34);
        ops().forward(fx.stream, spec, fx.of(x, 3, 34), fx.of(fx.normal(34, 1), 34), null, y, null, null);
        float[] got = fx.read(y);
        for (int i = 0; i < got.length; i++) {
            assertEquals(i >= 34 + 17 && i < 68, Float.isNaN(got[i]), "element " + i);
        }
    }

    @Test
    void wrongShapesAreRefusedAndNothingIsWritten() {
        NormSpec spec = new NormSpec(2, 1e-5f, true, false);
        Tensor x = fx.zeros(3, 8);
        Tensor w = fx.zeros(8);
        Tensor y = fx.poisoned(3, 8);
        Tensor s = fx.poisoned(6);
        assertRefused(() -> ops().forward(fx.stream, spec, x, fx.zeros(7), null, y, s, s), y, s);
        assertRefused(() -> ops().forward(fx.stream, spec, fx.zeros(23), w, null, y, s, s), y, s);
        assertRefused(() -> ops().forward(fx.stream, spec, x, w, fx.zeros(9), y, s, s), y, s);
        assertRefused(() -> ops().forward(fx.stream, spec, x, w, null, fx.zeros(23), s, s), s);
        assertRefused(() -> ops().forward(fx.stream, spec, x, w, null, y, fx.zeros(3), s), y, s);
        assertRefused(() -> ops().forward(fx.stream, new NormSpec(3, 1, true, true), x, w, null, y, null, null), y);
        Tensor dw = fx.zeros(8);
        assertRefused(() -> ops().backward(fx.stream, spec, fx.zeros(9), x, w, s, s, y, dw, dw), y, dw);
        assertRefused(() -> ops().backward(fx.stream, spec, x, x, w, null, s, y, dw, dw), y, dw);
        assertRefused(() -> ops().backward(fx.stream, spec, x, x, w, s, null, y, dw, dw), y, dw);
        assertRefused(() -> ops().backward(fx.stream, spec, x, x, w, s, s, y, fx.zeros(9), dw), y, dw);
    }
}
