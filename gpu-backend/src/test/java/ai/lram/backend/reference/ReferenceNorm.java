package ai.lram.backend.reference;

import ai.lram.backend.ops.NormSpec;

/** Normalisation in fp64. */
public final class ReferenceNorm {
    private ReferenceNorm() {}

    /** Output, mean and reciprocal deviation per row and group. */
    public record Result(double[] y, double[] mean, double[] rstd) {}

    /** Gradients of input, weight and bias. */
    public record Gradient(double[] dx, double[] dweight, double[] dbias) {}

    /** {@code bias} may be null. */
    public static Result forward(NormSpec spec, double[] x, double[] weight, double[] bias) {
        int width = weight.length;
        int n = width / spec.groups();
        int blocks = x.length / n;
        Result r = new Result(new double[x.length], new double[blocks], new double[blocks]);
        for (int b = 0; b < blocks; b++) {
            double sum = 0;
            for (int i = b * n; i < (b + 1) * n; i++) {
                sum += x[i];
            }
            double mean = spec.centred() ? sum / n : 0;
            double squares = 0;
            for (int i = b * n; i < (b + 1) * n; i++) {
                squares += (x[i] - mean) * (x[i] - mean);
            }
            double rstd = 1 / Math.sqrt(squares / n + spec.eps());
            for (int i = b * n; i < (b + 1) * n; i++) {
                int j = i % width;
                r.y[i] = (x[i] - mean) * rstd * scale(spec, weight[j]) + (bias == null ? 0 : bias[j]);
            }
            r.mean[b] = mean;
            r.rstd[b] = rstd;
        }
        return r;
    }

    public static Gradient backward(NormSpec spec, double[] dy, double[] x, double[] weight) {
        int width = weight.length;
        int n = width / spec.groups();
        Result r = forward(spec, x, weight, null);
        Gradient d = new Gradient(new double[x.length], new double[width], new double[width]);
        for (int b = 0; b < x.length / n; b++) {
            double sum = 0;
            double dot = 0;
            for (int i = b * n; i < (b + 1) * n; i++) {
                double hat = (x[i] - r.mean[b]) * r.rstd[b];
                double g = dy[i] * scale(spec, weight[i % width]);
                sum += g;
                dot += g * hat;
                d.dweight[i % width] += dy[i] * hat;
                d.dbias[i % width] += dy[i];
            }
            for (int i = b * n; i < (b + 1) * n; i++) {
                double hat = (x[i] - r.mean[b]) * r.rstd[b];
                double g = dy[i] * scale(spec, weight[i % width]);
                d.dx[i] = r.rstd[b] * (g - (spec.centred() ? sum / n : 0) - hat * dot / n);
            }
        }
        return d;
    }

    private static double scale(NormSpec spec, double weight) {
        return spec.residualScale() ? 1 + weight : weight;
    }
}
