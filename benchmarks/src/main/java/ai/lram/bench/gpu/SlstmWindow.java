package ai.lram.bench.gpu;

/**
 * The sLSTM of one head and one sequence in fp64, from the fresh state, with the gradients of its inputs: what a kernel's answer is held
 * against. Formulas as in {@link ai.lram.backend.ops.SlstmOps}; x, dx are (tokens, 4, dim) with gates in order i, f, z, o, r is (dim_in, 4,
 * dim_out), bias (4, dim), y and dy (tokens, dim).
 */
final class SlstmWindow {
    static final int GATES = 4;

    final int tokens;
    final int dim;
    final double[] x;
    final double[] r;
    final double[] bias;
    final double[] dy;

    final double[] y;
    final double[] dx;

    SlstmWindow(int tokens, int dim) {
        this.tokens = tokens;
        this.dim = dim;
        x = new double[tokens * GATES * dim];
        r = new double[dim * GATES * dim];
        bias = new double[GATES * dim];
        dy = new double[tokens * dim];
        y = new double[tokens * dim];
        dx = new double[tokens * GATES * dim];
    }

    private static double sigmoid(double x) {
        return 1 / (1 + Math.exp(-x));
    }

    private static double logSigmoid(double x) {
        return Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));
    }

    /** y and dx. */
    void run() {
        int wide = GATES * dim;
        double[] raw = new double[tokens * wide];
        double[] c = new double[(tokens + 1) * dim];
        double[] n = new double[(tokens + 1) * dim];
        double[] write = new double[tokens * dim];
        double[] keep = new double[tokens * dim];
        double[] m = new double[dim];
        for (int t = 0; t < tokens; t++) {
            for (int g = 0; g < wide; g++) {
                raw[t * wide + g] = x[t * wide + g] + bias[g];
            }
            for (int d = 0; t > 0 && d < dim; d++) {
                double before = y[(t - 1) * dim + d];
                for (int g = 0; g < wide; g++) {
                    raw[t * wide + g] += before * r[d * wide + g];
                }
            }
            for (int u = 0; u < dim; u++) {
                int at = t * dim + u;
                double input = raw[t * wide + u];
                double decayed = m[u] + logSigmoid(raw[t * wide + dim + u]);
                m[u] = n[at] == 0 ? input : Math.max(input, decayed);
                write[at] = Math.min(Math.exp(input - m[u]), 1);
                keep[at] = Math.min(Math.exp(decayed - m[u]), 1);
                c[at + dim] = keep[at] * c[at] + write[at] * Math.tanh(raw[t * wide + 2 * dim + u]);
                n[at + dim] = keep[at] * n[at] + write[at];
                y[at] = sigmoid(raw[t * wide + 3 * dim + u]) * c[at + dim] / n[at + dim];
            }
        }
        double[] dc = new double[dim];
        double[] dn = new double[dim];
        double[] back = new double[dim];
        for (int t = tokens - 1; t >= 0; t--) {
            for (int u = 0; u < dim; u++) {
                int at = t * dim + u;
                int gate = t * wide + u;
                double total = dy[at] + back[u];
                double out = sigmoid(raw[gate + 3 * dim]);
                double z = Math.tanh(raw[gate + 2 * dim]);
                double ratio = c[at + dim] / n[at + dim];
                dc[u] += total * out / n[at + dim];
                dn[u] -= total * out * ratio / n[at + dim];
                dx[gate] = write[at] * (dc[u] * z + dn[u]);
                dx[gate + dim] = keep[at] * (dc[u] * c[at] + dn[u] * n[at]) * sigmoid(-raw[gate + dim]);
                dx[gate + 2 * dim] = dc[u] * write[at] * (1 - z * z);
                dx[gate + 3 * dim] = total * ratio * out * (1 - out);
                dc[u] *= keep[at];
                dn[u] *= keep[at];
            }
            for (int d = 0; d < dim; d++) {
                back[d] = 0;
                for (int g = 0; g < wide; g++) {
                    back[d] += r[d * wide + g] * dx[t * wide + g];
                }
            }
        }
    }
}
