package ai.lram.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Random;
import org.junit.jupiter.api.Test;

class SlstmWindowTest {
    private static final int TOKENS = 7;
    private static final int DIM = 3;

    private static double[][] inputs(SlstmWindow w) {
        return new double[][] {w.x, w.r, w.bias, w.dy};
    }

    private static SlstmWindow drawn(long seed) {
        SlstmWindow w = new SlstmWindow(TOKENS, DIM);
        Random random = new Random(seed);
        for (double[] a : inputs(w)) {
            for (int j = 0; j < a.length; j++) {
                a[j] = random.nextGaussian();
            }
        }
        return w;
    }

    /** y . dy with one input moved. */
    private static double value(SlstmWindow w, int input, double by) {
        SlstmWindow c = new SlstmWindow(TOKENS, DIM);
        for (int a = 0; a < inputs(w).length; a++) {
            System.arraycopy(inputs(w)[a], 0, inputs(c)[a], 0, inputs(w)[a].length);
        }
        c.x[input] += by;
        c.run();
        double sum = 0;
        for (int j = 0; j < c.y.length; j++) {
            sum += c.y[j] * c.dy[j];
        }
        return sum;
    }

    /** Without a stabiliser, as the paper writes it. */
    @Test
    void isTheRecurrence() {
        SlstmWindow w = drawn(5);
        w.run();
        double[] c = new double[DIM];
        double[] n = new double[DIM];
        double[] before = new double[DIM];
        for (int t = 0; t < TOKENS; t++) {
            double[] now = new double[DIM];
            for (int u = 0; u < DIM; u++) {
                double[] gate = new double[SlstmWindow.GATES];
                for (int g = 0; g < gate.length; g++) {
                    gate[g] = w.x[(t * gate.length + g) * DIM + u] + w.bias[g * DIM + u];
                    for (int d = 0; d < DIM; d++) {
                        gate[g] += before[d] * w.r[(d * gate.length + g) * DIM + u];
                    }
                }
                double keep = 1 / (1 + Math.exp(-gate[1]));
                c[u] = keep * c[u] + Math.exp(gate[0]) * Math.tanh(gate[2]);
                n[u] = keep * n[u] + Math.exp(gate[0]);
                now[u] = c[u] / n[u] / (1 + Math.exp(-gate[3]));
                assertEquals(now[u], w.y[t * DIM + u], 1e-12);
            }
            before = now;
        }
    }

    @Test
    void gradientsAreThoseOfDifferences() {
        SlstmWindow w = drawn(6);
        w.run();
        double step = 1e-5;
        for (int j = 0; j < w.x.length; j++) {
            double slope = (value(w, j, step) - value(w, j, -step)) / (2 * step);
            assertEquals(slope, w.dx[j], 1e-8 * Math.max(1, Math.abs(slope)), "input " + j);
        }
    }
}
