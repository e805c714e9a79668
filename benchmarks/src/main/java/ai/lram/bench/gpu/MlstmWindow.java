package ai.lram.bench.gpu;

/**
 * The mLSTM of one head over one window in fp64, quadratic, from the fresh state, with the exponential input gate: what a kernel's answer is
 * held against. Formulas as in {@link ai.lram.backend.ops.MlstmOps}; all arrays are (tokens, width) or (tokens).
 */
final class MlstmWindow {
    private static final double EPS = 1e-6;

    final int tokens;
    final int dimQk;
    final int dimHv;
    final double[] q;
    final double[] k;
    final double[] v;
    final double[] i;
    final double[] f;
    final double[] dh;

    final double[] h;
    final double[] dq;
    final double[] dk;
    final double[] dv;
    final double[] di;
    final double[] df;

    MlstmWindow(int tokens, int dimQk, int dimHv) {
        this.tokens = tokens;
        this.dimQk = dimQk;
        this.dimHv = dimHv;
        q = new double[tokens * dimQk];
        k = new double[tokens * dimQk];
        v = new double[tokens * dimHv];
        i = new double[tokens];
        f = new double[tokens];
        dh = new double[tokens * dimHv];
        h = new double[tokens * dimHv];
        dq = new double[tokens * dimQk];
        dk = new double[tokens * dimQk];
        dv = new double[tokens * dimHv];
        di = new double[tokens];
        df = new double[tokens];
    }

    private static double dot(double[] a, int rowA, double[] b, int rowB, int width) {
        double sum = 0;
        for (int x = 0; x < width; x++) {
            sum += a[rowA * width + x] * b[rowB * width + x];
        }
        return sum;
    }

    private static void add(double[] to, int row, double by, double[] from, int rowFrom, int width) {
        for (int x = 0; x < width; x++) {
            to[row * width + x] += by * from[rowFrom * width + x];
        }
    }

    /** h and all gradients. */
    void run() {
        double scale = 1 / Math.sqrt(dimQk);
        double[] b = new double[tokens];
        double[] change = new double[tokens];
        for (int t = 0; t < tokens; t++) {
            b[t] = (t == 0 ? 0 : b[t - 1]) + Math.min(f[t], 0) - Math.log1p(Math.exp(-Math.abs(f[t])));
            double m = b[t];
            for (int s = 0; s <= t; s++) {
                m = Math.max(m, b[t] - b[s] + i[s]);
            }
            double[] decay = new double[t + 1];
            double[] weight = new double[t + 1];
            double den = 0;
            for (int s = 0; s <= t; s++) {
                decay[s] = scale * Math.exp(b[t] - b[s] + i[s] - m);
                weight[s] = decay[s] * dot(q, t, k, s, dimQk);
                den += weight[s];
            }
            double least = Math.exp(-m);
            double divisor = Math.max(Math.abs(den), least) + EPS;
            for (int s = 0; s <= t; s++) {
                add(h, t, weight[s] / divisor, v, s, dimHv);
            }
            double dden = Math.abs(den) > least ? -Math.signum(den) * dot(dh, t, h, t, dimHv) / divisor : 0;
            for (int s = 0; s <= t; s++) {
                double gradient = dot(dh, t, v, s, dimHv) / divisor + dden;
                add(dv, s, weight[s] / divisor, dh, t, dimHv);
                add(dq, t, gradient * decay[s], k, s, dimQk);
                add(dk, s, gradient * decay[s], q, t, dimQk);
                di[s] += gradient * weight[s];
                change[t] += gradient * weight[s];
                change[s] -= gradient * weight[s];
            }
        }
        double rest = 0;
        for (int t = tokens - 1; t >= 0; t--) {
            rest += change[t];
            df[t] = rest / (1 + Math.exp(f[t]));
        }
    }
}
