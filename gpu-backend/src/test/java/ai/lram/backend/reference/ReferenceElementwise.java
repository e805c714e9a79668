package ai.lram.backend.reference;

import ai.lram.backend.ops.Activation;

/** Pointwise kernels in fp64. */
public final class ReferenceElementwise {
    private ReferenceElementwise() {}

    public static double value(Activation act, double x) {
        return switch (act) {
            case NONE -> x;
            case RELU -> Math.max(x, 0);
            case SILU -> x / (1 + Math.exp(-x));
            case GELU -> x * normalCdf(x);
            case SIGMOID -> 1 / (1 + Math.exp(-x));
            case TANH -> Math.tanh(x);
        };
    }

    public static double slope(Activation act, double x) {
        double g = 1 / (1 + Math.exp(-x));
        return switch (act) {
            case NONE -> 1;
            case RELU -> x > 0 ? 1 : 0;
            case SILU -> g * (1 + x / (1 + Math.exp(x)));
            case GELU -> normalCdf(x) + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
            case SIGMOID -> g / (1 + Math.exp(x));
            case TANH -> 1 / (Math.cosh(x) * Math.cosh(x));
        };
    }

    /** (1 + erf(x / sqrt 2)) / 2: its power series near 0, a continued fraction outside. */
    public static double normalCdf(double x) {
        double a = Math.abs(x);
        double density = Math.exp(-a * a / 2) / Math.sqrt(2 * Math.PI);
        if (a < 4) {
            double term = a;
            double sum = a;
            for (int n = 1; term > sum * 1e-17; n++) {
                term *= a * a / (2 * n + 1);
                sum += term;
            }
            return x >= 0 ? 0.5 + density * sum : 0.5 - density * sum;
        }
        double fraction = a;
        for (int n = 200; n >= 1; n--) {
            fraction = a + n / fraction;
        }
        double tail = density / fraction;
        return x >= 0 ? 1 - tail : tail;
    }

    /** (h + skip * c) * silu(z), rows as long as skip. */
    public static double[] skipGate(double[] h, double[] skip, double[] c, double[] z) {
        double[] y = new double[h.length];
        for (int i = 0; i < y.length; i++) {
            y[i] = (h[i] + skip[i % skip.length] * c[i]) * value(Activation.SILU, z[i]);
        }
        return y;
    }

    /** {dh, dskip, dc, dz}. */
    public static double[][] skipGateBackward(double[] h, double[] skip, double[] c, double[] z, double[] dy) {
        int n = h.length;
        double[][] d = {new double[n], new double[skip.length], new double[n], new double[n]};
        for (int i = 0; i < n; i++) {
            int j = i % skip.length;
            double dSum = dy[i] * value(Activation.SILU, z[i]);
            d[0][i] = dSum;
            d[1][j] += dSum * c[i];
            d[2][i] = dSum * skip[j];
            d[3][i] = dy[i] * (h[i] + skip[j] * c[i]) * slope(Activation.SILU, z[i]);
        }
        return d;
    }
}
