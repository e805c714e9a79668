package ai.lram.backend.reference;

/** Causal depthwise convolution along tokens; layouts as in {@link ai.lram.backend.ops.ConvOps}. */
public record ReferenceCausalConv(int batch, int tokens, int channels, int kernel) {
    private int row(int b, int t, int c) {
        return (b * tokens + t) * channels + c;
    }

    private int historyRow(int b, int t, int c) {
        return (b * (kernel - 1) + kernel - 1 + t) * channels + c;
    }

    /** @param history may be null for zeros */
    public double[] forward(double[] x, double[] w, double[] bias, double[] history) {
        double[] y = new double[x.length];
        for (int b = 0; b < batch; b++) {
            for (int t = 0; t < tokens; t++) {
                for (int c = 0; c < channels; c++) {
                    double sum = bias == null ? 0 : bias[c];
                    for (int j = 0; j < kernel; j++) {
                        int u = t - kernel + 1 + j;
                        double in = u >= 0 ? x[row(b, u, c)] : history == null ? 0 : history[historyRow(b, u, c)];
                        sum += w[c * kernel + j] * in;
                    }
                    y[row(b, t, c)] = sum;
                }
            }
        }
        return y;
    }

    public record Gradients(double[] dx, double[] dhistory, double[] dw, double[] dbias) {}

    public Gradients backward(double[] dy, double[] x, double[] w, double[] history) {
        Gradients g = new Gradients(
                new double[x.length],
                new double[batch * (kernel - 1) * channels],
                new double[w.length],
                new double[channels]);
        for (int b = 0; b < batch; b++) {
            for (int t = 0; t < tokens; t++) {
                for (int c = 0; c < channels; c++) {
                    double d = dy[row(b, t, c)];
                    g.dbias[c] += d;
                    for (int j = 0; j < kernel; j++) {
                        int u = t - kernel + 1 + j;
                        if (u >= 0) {
                            g.dx[row(b, u, c)] += d * w[c * kernel + j];
                            g.dw[c * kernel + j] += d * x[row(b, u, c)];
                        } else {
                            g.dhistory[historyRow(b, u, c)] += d * w[c * kernel + j];
                            g.dw[c * kernel + j] += history == null ? 0 : d * history[historyRow(b, u, c)];
                        }
                    }
                }
            }
        }
        return g;
    }
}
