package ai.lram.backend.reference;

/** Products with weight matrices in fp64. */
public final class ReferenceMatmul {
    private ReferenceMatmul() {}

    /** y[M,N] = x[M,K] w[N,K]^T + bias[N]; bias may be null. */
    public static double[] linear(int m, int n, int k, double[] x, double[] w, double[] bias) {
        double[] y = new double[m * n];
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                double sum = bias == null ? 0 : bias[j];
                for (int d = 0; d < k; d++) {
                    sum += x[i * k + d] * w[j * k + d];
                }
                y[i * n + j] = sum;
            }
        }
        return y;
    }

    /** dx[M,K] = dy[M,N] w[N,K]. */
    public static double[] linearBackwardInput(int m, int n, int k, double[] dy, double[] w) {
        double[] dx = new double[m * k];
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                for (int d = 0; d < k; d++) {
                    dx[i * k + d] += dy[i * n + j] * w[j * k + d];
                }
            }
        }
        return dx;
    }

    /** dw[N,K] = dy[M,N]^T x[M,K]. */
    public static double[] linearBackwardWeight(int m, int n, int k, double[] dy, double[] x) {
        double[] dw = new double[n * k];
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                for (int d = 0; d < k; d++) {
                    dw[j * k + d] += dy[i * n + j] * x[i * k + d];
                }
            }
        }
        return dw;
    }

    /** Sum of the rows of x[M,N]. */
    public static double[] columnSums(int m, int n, double[] x) {
        double[] sums = new double[n];
        for (int i = 0; i < m * n; i++) {
            sums[i % n] += x[i];
        }
        return sums;
    }

    /** y[M, g*DO + o] = sum_d w[g,o,d] x[M, g*DI + d] + bias[g*DO + o]. */
    public static double[] headwise(int m, int groups, int dimOut, int dimIn, double[] x, double[] w, double[] bias) {
        double[] y = new double[m * groups * dimOut];
        for (int i = 0; i < m; i++) {
            for (int g = 0; g < groups; g++) {
                for (int o = 0; o < dimOut; o++) {
                    double sum = bias == null ? 0 : bias[g * dimOut + o];
                    for (int d = 0; d < dimIn; d++) {
                        sum += w[(g * dimOut + o) * dimIn + d] * x[(i * groups + g) * dimIn + d];
                    }
                    y[(i * groups + g) * dimOut + o] = sum;
                }
            }
        }
        return y;
    }

    public static double[] headwiseBackwardInput(int m, int groups, int dimOut, int dimIn, double[] dy, double[] w) {
        double[] dx = new double[m * groups * dimIn];
        for (int i = 0; i < m; i++) {
            for (int g = 0; g < groups; g++) {
                for (int o = 0; o < dimOut; o++) {
                    for (int d = 0; d < dimIn; d++) {
                        dx[(i * groups + g) * dimIn + d] +=
                                dy[(i * groups + g) * dimOut + o] * w[(g * dimOut + o) * dimIn + d];
                    }
                }
            }
        }
        return dx;
    }

    public static double[] headwiseBackwardWeight(int m, int groups, int dimOut, int dimIn, double[] dy, double[] x) {
        double[] dw = new double[groups * dimOut * dimIn];
        for (int i = 0; i < m; i++) {
            for (int g = 0; g < groups; g++) {
                for (int o = 0; o < dimOut; o++) {
                    for (int d = 0; d < dimIn; d++) {
                        dw[(g * dimOut + o) * dimIn + d] +=
                                dy[(i * groups + g) * dimOut + o] * x[(i * groups + g) * dimIn + d];
                    }
                }
            }
        }
        return dw;
    }

    /** The nearest numbers with 8 significant bits, ties to even. */
    public static double[] bf16(float[] w) {
        double[] out = new double[w.length];
        for (int i = 0; i < w.length; i++) {
            double unit = Math.scalb(1.0, Math.getExponent(w[i]) - 7);
            out[i] = Math.rint(w[i] / unit) * unit;
        }
        return out;
    }

    /** Rows of w (n, k) in 255 equal steps up to their largest magnitude; scales and quotients are fp32. */
    public static double[] int8(int n, int k, float[] w) {
        double[] out = new double[w.length];
        for (int j = 0; j < n; j++) {
            float most = 0;
            for (int d = 0; d < k; d++) {
                most = Math.max(most, Math.abs(w[j * k + d]));
            }
            float scale = most / 127;
            for (int d = 0; d < k; d++) {
                out[j * k + d] = scale == 0 ? 0 : Math.rint(w[j * k + d] / scale) * (double) scale;
            }
        }
        return out;
    }
}
