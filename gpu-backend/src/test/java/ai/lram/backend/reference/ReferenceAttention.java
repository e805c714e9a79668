package ai.lram.backend.reference;

/** Causal softmax attention; q, k, v, y (B, S, NH, D). */
public record ReferenceAttention(int batch, int tokens, int heads, int dim) {
    private int at(int b, int t, int h) {
        return ((b * tokens + t) * heads + h) * dim;
    }

    private static double dot(double[] a, int i, double[] b, int j, int n) {
        double s = 0;
        for (int d = 0; d < n; d++) {
            s += a[i + d] * b[j + d];
        }
        return s;
    }

    /** @param lse (B, NH, S) */
    public record Result(double[] y, double[] lse) {}

    public Result forward(double[] q, double[] k, double[] v) {
        return forward(q, k, v, tokens);
    }

    /** As if only the last {@code window} tokens, itself included, were visible to each token. */
    public Result forward(double[] q, double[] k, double[] v, int window) {
        double[] y = new double[q.length];
        double[] lse = new double[batch * heads * tokens];
        for (int b = 0; b < batch; b++) {
            for (int h = 0; h < heads; h++) {
                for (int t = 0; t < tokens; t++) {
                    int first = Math.max(0, t + 1 - window);
                    double[] score = new double[t + 1];
                    double max = Double.NEGATIVE_INFINITY;
                    for (int u = first; u <= t; u++) {
                        score[u] = dot(q, at(b, t, h), k, at(b, u, h), dim) / Math.sqrt(dim);
                        max = Math.max(max, score[u]);
                    }
                    double sum = 0;
                    for (int u = first; u <= t; u++) {
                        sum += Math.exp(score[u] - max);
                    }
                    lse[(b * heads + h) * tokens + t] = max + Math.log(sum);
                    for (int u = first; u <= t; u++) {
                        double p = Math.exp(score[u] - max) / sum;
                        for (int d = 0; d < dim; d++) {
                            y[at(b, t, h) + d] += p * v[at(b, u, h) + d];
                        }
                    }
                }
            }
        }
        return new Result(y, lse);
    }

    public record Gradients(double[] dq, double[] dk, double[] dv) {}

    public Gradients backward(double[] q, double[] k, double[] v, double[] dy) {
        Result r = forward(q, k, v);
        Gradients g = new Gradients(new double[q.length], new double[q.length], new double[q.length]);
        double scale = 1 / Math.sqrt(dim);
        for (int b = 0; b < batch; b++) {
            for (int h = 0; h < heads; h++) {
                for (int t = 0; t < tokens; t++) {
                    int row = at(b, t, h);
                    double delta = dot(dy, row, r.y, row, dim);
                    for (int u = 0; u <= t; u++) {
                        int key = at(b, u, h);
                        double p = Math.exp(scale * dot(q, row, k, key, dim) - r.lse[(b * heads + h) * tokens + t]);
                        double ds = p * (dot(dy, row, v, key, dim) - delta) * scale;
                        for (int d = 0; d < dim; d++) {
                            g.dv[key + d] += p * dy[row + d];
                            g.dq[row + d] += ds * k[key + d];
                            g.dk[key + d] += ds * q[row + d];
                        }
                    }
                }
            }
        }
        return g;
    }
}
