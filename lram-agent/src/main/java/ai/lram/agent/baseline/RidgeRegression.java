package ai.lram.agent.baseline;

import java.util.List;

/** Linear regression of the action on the observation, the one before, and a constant, with an L2 penalty on the slopes. */
public final class RidgeRegression implements ActionPredictor {
    private final int d;
    private final int a;
    private final int k;
    private final double[] weights;
    private final double[] features;

    /** @param penalty added to the diagonal of the normal equations, in units of rows */
    public RidgeRegression(List<EpisodeRows> training, double penalty) {
        d = training.getFirst().observationSize();
        a = training.getFirst().actionSize();
        k = 2 * d + 1;
        features = new double[k];
        double[] gram = new double[k * k];
        double[] cross = new double[k * a];
        for (EpisodeRows e : training) {
            for (int t = 0; t < e.length(); t++) {
                fill(e, t);
                for (int i = 0; i < k; i++) {
                    double x = features[i];
                    for (int j = 0; j <= i; j++) {
                        gram[i * k + j] += x * features[j];
                    }
                    for (int j = 0; j < a; j++) {
                        cross[i * a + j] += x * e.actions()[t * a + j];
                    }
                }
            }
        }
        for (int i = 0; i < k - 1; i++) {
            gram[i * k + i] += penalty;
        }
        cholesky(gram, k);
        solve(gram, k, cross, a);
        weights = cross;
    }

    private void fill(EpisodeRows e, int t) {
        int before = Math.max(0, t - 1);
        for (int i = 0; i < d; i++) {
            features[i] = e.observations()[t * d + i];
            features[d + i] = e.observations()[before * d + i];
        }
        features[2 * d] = 1;
    }

    /** Lower Cholesky factor in place; the penalty makes the matrix positive definite. */
    private static void cholesky(double[] m, int n) {
        for (int i = 0; i < n; i++) {
            for (int j = 0; j <= i; j++) {
                double s = m[i * n + j];
                for (int p = 0; p < j; p++) {
                    s -= m[i * n + p] * m[j * n + p];
                }
                m[i * n + j] = i == j ? Math.sqrt(Math.max(s, 1e-300)) : s / m[j * n + j];
            }
        }
    }

    private static void solve(double[] l, int n, double[] b, int columns) {
        for (int c = 0; c < columns; c++) {
            for (int i = 0; i < n; i++) {
                double s = b[i * columns + c];
                for (int p = 0; p < i; p++) {
                    s -= l[i * n + p] * b[p * columns + c];
                }
                b[i * columns + c] = s / l[i * n + i];
            }
            for (int i = n - 1; i >= 0; i--) {
                double s = b[i * columns + c];
                for (int p = i + 1; p < n; p++) {
                    s -= l[p * n + i] * b[p * columns + c];
                }
                b[i * columns + c] = s / l[i * n + i];
            }
        }
    }

    @Override
    public String name() {
        return "ridge";
    }

    @Override
    public void predict(EpisodeRows e, int t, float[] action) {
        fill(e, t);
        for (int j = 0; j < a; j++) {
            double s = 0;
            for (int i = 0; i < k; i++) {
                s += features[i] * weights[i * a + j];
            }
            action[j] = (float) s;
        }
    }
}
