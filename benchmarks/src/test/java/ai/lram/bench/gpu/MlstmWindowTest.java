package ai.lram.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Random;
import java.util.function.DoubleSupplier;
import org.junit.jupiter.api.Test;

class MlstmWindowTest {
    private static final int TOKENS = 9;
    private static final int QK = 4;
    private static final int HV = 3;

    private static MlstmWindow drawn(long seed) {
        MlstmWindow w = new MlstmWindow(TOKENS, QK, HV);
        Random random = new Random(seed);
        for (double[] a : new double[][] {w.q, w.k, w.v, w.i, w.f, w.dh}) {
            for (int x = 0; x < a.length; x++) {
                a[x] = random.nextGaussian();
            }
        }
        return w;
    }

    private static MlstmWindow copy(MlstmWindow w) {
        MlstmWindow c = new MlstmWindow(TOKENS, QK, HV);
        double[][] from = {w.q, w.k, w.v, w.i, w.f, w.dh};
        double[][] to = {c.q, c.k, c.v, c.i, c.f, c.dh};
        for (int a = 0; a < from.length; a++) {
            System.arraycopy(from[a], 0, to[a], 0, from[a].length);
        }
        return c;
    }

    /** The recurrence as the paper writes it. */
    @Test
    void isTheRecurrence() {
        MlstmWindow w = drawn(3);
        w.run();
        double[] c = new double[QK * HV];
        double[] n = new double[QK];
        double m = 0;
        for (int t = 0; t < TOKENS; t++) {
            double forget = -Math.log1p(Math.exp(-w.f[t]));
            double next = Math.max(forget + m, w.i[t]);
            double keep = Math.exp(forget + m - next);
            double write = Math.exp(w.i[t] - next);
            m = next;
            double den = 0;
            double[] h = new double[HV];
            for (int a = 0; a < QK; a++) {
                n[a] = keep * n[a] + write * w.k[t * QK + a];
                den += w.q[t * QK + a] / 2 * n[a];
                for (int e = 0; e < HV; e++) {
                    c[a * HV + e] = keep * c[a * HV + e] + write * w.k[t * QK + a] * w.v[t * HV + e];
                    h[e] += w.q[t * QK + a] / 2 * c[a * HV + e];
                }
            }
            for (int e = 0; e < HV; e++) {
                assertEquals(h[e] / (Math.max(Math.abs(den), Math.exp(-m)) + 1e-6), w.h[t * HV + e], 1e-12);
            }
        }
    }

    @Test
    void itsGradientsAreDerivatives() {
        MlstmWindow w = drawn(5);
        w.run();
        MlstmWindow probe = copy(w);
        DoubleSupplier loss = () -> {
            MlstmWindow again = copy(probe);
            again.run();
            double sum = 0;
            for (int x = 0; x < again.h.length; x++) {
                sum += again.dh[x] * again.h[x];
            }
            return sum;
        };
        double[][] inputs = {probe.q, probe.k, probe.v, probe.i, probe.f};
        double[][] gradients = {w.dq, w.dk, w.dv, w.di, w.df};
        double step = 1e-5;
        for (int a = 0; a < inputs.length; a++) {
            for (int x = 0; x < inputs[a].length; x++) {
                double here = inputs[a][x];
                inputs[a][x] = here + step;
                double up = loss.getAsDouble();
                inputs[a][x] = here - step;
                double down = loss.getAsDouble();
                inputs[a][x] = here;
                assertEquals((up - down) / (2 * step), gradients[a][x], 1e-5, "input " + a + ", element " + x);
            }
        }
    }
}
