package ai.lram.backend.reference;

/** The sLSTM in fp64 with its gradient by hand-written reverse mode. Layouts as in the SPI; the state order is y, c, n, m. */
public final class ReferenceSlstm {
    public final int batch;
    public final int tokens;
    public final int heads;
    public final int dh;
    public final int width;

    /** Gate inputs i, f, z, o, each (B,S,H). */
    public double[][] x;

    /** (NH, DH_in, 4, DH_out) and (4, H). */
    public double[] r;

    public double[] bias;

    /** (4, B, H) or null. */
    public double[] initial;

    public double[] y;
    public double[] last;

    public double[][] dx;
    public double[] dr;
    public double[] dbias;
    public double[] dInitial;

    private double[][] act;

    public ReferenceSlstm(int batch, int tokens, int heads, int dh) {
        this.batch = batch;
        this.tokens = tokens;
        this.heads = heads;
        this.dh = dh;
        this.width = heads * dh;
    }

    private int r(int head, int d, int gate, int o) {
        return ((head * dh + d) * 4 + gate) * dh + o;
    }

    /** Fills y and last. */
    public ReferenceSlstm forward() {
        int n = batch * tokens * width;
        y = new double[n];
        last = initial == null ? new double[4 * batch * width] : initial.clone();
        act = new double[9][n];
        int plane = batch * width;
        for (int b = 0; b < batch; b++) {
            for (int t = 0; t < tokens; t++) {
                double[] before = new double[width];
                System.arraycopy(last, b * width, before, 0, width);
                for (int u = 0; u < width; u++) {
                    int at = (b * tokens + t) * width + u;
                    int head = u / dh;
                    double[] raw = new double[4];
                    for (int g = 0; g < 4; g++) {
                        raw[g] = x[g][at] + bias[g * width + u];
                        for (int d = 0; d < dh; d++) {
                            raw[g] += before[head * dh + d] * r[r(head, d, g, u % dh)];
                        }
                    }
                    int s = b * width + u;
                    double c = last[plane + s];
                    double norm = last[2 * plane + s];
                    double m = last[3 * plane + s];
                    double lfm = m + ReferenceMlstm.logSigmoid(raw[1]);
                    double next = norm == 0 ? raw[0] : Math.max(raw[0], lfm);
                    double in = Math.min(Math.exp(raw[0] - next), 1);
                    double keep = Math.min(Math.exp(lfm - next), 1);
                    double z = Math.tanh(raw[2]);
                    double out = 1 / (1 + Math.exp(-raw[3]));
                    double c1 = keep * c + in * z;
                    double n1 = keep * norm + in;
                    y[at] = out * c1 / n1;
                    double[] kept = {in, keep, 1 / (1 + Math.exp(raw[1])), out, z, c, norm, c1, n1};
                    for (int j = 0; j < kept.length; j++) {
                        act[j][at] = kept[j];
                    }
                    last[s] = y[at];
                    last[plane + s] = c1;
                    last[2 * plane + s] = n1;
                    last[3 * plane + s] = next;
                }
            }
        }
        return this;
    }

    /** Gradients of sum(y * dy) + sum over y, c and n of last * dLast with c and n in units of the final stabiliser; dLast may be null. */
    public void gradients(double[] dy, double[] dLast) {
        dx = new double[4][y.length];
        dr = new double[r.length];
        dbias = new double[4 * width];
        dInitial = new double[4 * batch * width];
        int plane = batch * width;
        for (int b = 0; b < batch; b++) {
            double[] gy = new double[width];
            double[] gc = new double[width];
            double[] gn = new double[width];
            for (int u = 0; u < width && dLast != null; u++) {
                gy[u] = dLast[b * width + u];
                gc[u] = dLast[plane + b * width + u];
                gn[u] = dLast[2 * plane + b * width + u];
            }
            for (int t = tokens - 1; t >= 0; t--) {
                double[] toY = new double[width];
                for (int u = 0; u < width; u++) {
                    int at = (b * tokens + t) * width + u;
                    double g = dy[at] + gy[u];
                    double in = act[0][at];
                    double keep = act[1][at];
                    double out = act[3][at];
                    double z = act[4][at];
                    double n1 = act[8][at];
                    gc[u] += g * out / n1;
                    gn[u] -= g * y[at] / n1;
                    double[] raw = {
                        in * (z * gc[u] + gn[u]),
                        keep * (gc[u] * act[5][at] + gn[u] * act[6][at]) * act[2][at],
                        gc[u] * in * (1 - z * z),
                        (1 - out) * y[at] * g
                    };
                    gc[u] *= keep;
                    gn[u] *= keep;
                    int head = u / dh;
                    for (int k = 0; k < 4; k++) {
                        dx[k][at] = raw[k];
                        dbias[k * width + u] += raw[k];
                        for (int d = 0; d < dh; d++) {
                            int in0 = head * dh + d;
                            double before = t > 0
                                    ? y[(b * tokens + t - 1) * width + in0]
                                    : initial == null ? 0 : initial[b * width + in0];
                            dr[r(head, d, k, u % dh)] += before * raw[k];
                            toY[in0] += raw[k] * r[r(head, d, k, u % dh)];
                        }
                    }
                }
                gy = toY;
            }
            for (int u = 0; u < width; u++) {
                int s = b * width + u;
                dInitial[s] = gy[u];
                dInitial[plane + s] = gc[u];
                dInitial[2 * plane + s] = gn[u];
                dInitial[3 * plane + s] =
                        initial == null ? 0 : gc[u] * initial[plane + s] + gn[u] * initial[2 * plane + s];
            }
        }
    }
}
