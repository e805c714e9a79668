package ai.lram.backend.reference;

/**
 * The mLSTM in fp64, token-major as in the SPI: q, k (B,S,NH,DQK), v, h (B,S,NH,DHHV), i, f (B,S,NH), state C (B,NH,DQK,DHHV), n
 * (B,NH,DQK), m (B,NH). Three forms of one function, and its gradient by hand-written reverse mode through the step form.
 */
public final class ReferenceMlstm {
    public final int batch;
    public final int tokens;
    public final int heads;
    public final int dq;
    public final int dv;
    public final boolean exponential;
    public final boolean normalize;
    public final double eps;

    public double[] q;
    public double[] k;
    public double[] v;
    public double[] i;
    public double[] f;
    /** Initial state, or null for zero. */
    public double[] c0;

    public double[] n0;
    public double[] m0;

    public double[] h;
    public double[] c;
    public double[] n;
    public double[] m;

    public double[] gq;
    public double[] gk;
    public double[] gv;
    public double[] gi;
    public double[] gf;
    public double[] gc0;
    public double[] gn0;
    public double[] gm0;

    public ReferenceMlstm(
            int batch, int tokens, int heads, int dq, int dv, boolean exponential, boolean normalize, double eps) {
        this.batch = batch;
        this.tokens = tokens;
        this.heads = heads;
        this.dq = dq;
        this.dv = dv;
        this.exponential = exponential;
        this.normalize = normalize;
        this.eps = eps;
    }

    public static double logSigmoid(double x) {
        return Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));
    }

    private int token(int b, int t, int head) {
        return (b * tokens + t) * heads + head;
    }

    private void startStates() {
        h = new double[batch * tokens * heads * dv];
        c = c0 == null ? new double[batch * heads * dq * dv] : c0.clone();
        n = n0 == null ? new double[batch * heads * dq] : n0.clone();
        m = m0 == null || !exponential ? new double[batch * heads] : m0.clone();
    }

    private double logInput(int x) {
        return exponential ? i[x] : logSigmoid(i[x]);
    }

    private double floor(double stabiliser) {
        return exponential ? Math.exp(-stabiliser) : 1;
    }

    private double divisor(double den, double stabiliser) {
        return normalize ? Math.max(Math.abs(den), floor(stabiliser)) + eps : 1;
    }

    /** Token after token: fills h and the final state. */
    public ReferenceMlstm step() {
        startStates();
        for (int p = 0; p < batch * heads; p++) {
            for (int t = 0; t < tokens; t++) {
                stepOne(p, t);
            }
        }
        return this;
    }

    private void stepOne(int p, int t) {
        int x = token(p / heads, t, p % heads);
        double lf = logSigmoid(f[x]);
        double next = exponential ? Math.max(lf + m[p], i[x]) : 0;
        double keep = Math.exp(lf + m[p] - next);
        double write = Math.exp(logInput(x) - next);
        double scale = 1 / Math.sqrt(dq);
        double den = 0;
        for (int a = 0; a < dq; a++) {
            n[p * dq + a] = keep * n[p * dq + a] + write * k[x * dq + a];
            den += scale * q[x * dq + a] * n[p * dq + a];
            for (int e = 0; e < dv; e++) {
                int at = (p * dq + a) * dv + e;
                c[at] = keep * c[at] + write * k[x * dq + a] * v[x * dv + e];
            }
        }
        m[p] = next;
        for (int e = 0; e < dv; e++) {
            double num = 0;
            for (int a = 0; a < dq; a++) {
                num += scale * q[x * dq + a] * c[(p * dq + a) * dv + e];
            }
            h[x * dv + e] = num / divisor(den, next);
        }
    }

    /** The whole sequence at once from the zero state; the stabiliser includes the path from m = 0, so that h equals the step form's. */
    public ReferenceMlstm parallel() {
        startStates();
        double scale = 1 / Math.sqrt(dq);
        for (int p = 0; p < batch * heads; p++) {
            double[] a = new double[tokens + 1];
            for (int t = 0; t < tokens; t++) {
                a[t + 1] = a[t] + logSigmoid(f[token(p / heads, t, p % heads)]);
            }
            for (int t = 0; t < tokens; t++) {
                int x = token(p / heads, t, p % heads);
                double top = exponential ? a[t + 1] : 0;
                for (int s = 0; s <= t && exponential; s++) {
                    top = Math.max(top, a[t + 1] - a[s + 1] + i[token(p / heads, s, p % heads)]);
                }
                double den = 0;
                double[] num = new double[dv];
                for (int s = 0; s <= t; s++) {
                    int y = token(p / heads, s, p % heads);
                    double w = 0;
                    for (int d = 0; d < dq; d++) {
                        w += scale * q[x * dq + d] * k[y * dq + d];
                    }
                    w *= Math.exp(a[t + 1] - a[s + 1] + logInput(y) - top);
                    den += w;
                    for (int e = 0; e < dv; e++) {
                        num[e] += w * v[y * dv + e];
                    }
                }
                for (int e = 0; e < dv; e++) {
                    h[x * dv + e] = num[e] / divisor(den, top);
                }
            }
        }
        return this;
    }

    /** Quadratic inside chunks of {@code length} tokens, recurrent between them: fills h and the final state. */
    public ReferenceMlstm chunkwise(int length) {
        startStates();
        for (int p = 0; p < batch * heads; p++) {
            for (int from = 0; from < tokens; from += length) {
                chunk(p, from, Math.min(length, tokens - from));
            }
        }
        return this;
    }

    private void chunk(int p, int from, int length) {
        double scale = 1 / Math.sqrt(dq);
        double[] b = new double[length + 1];
        for (int t = 0; t < length; t++) {
            b[t + 1] = b[t] + logSigmoid(f[token(p / heads, from + t, p % heads)]);
        }
        for (int t = 0; t < length; t++) {
            int x = token(p / heads, from + t, p % heads);
            double top = exponential ? b[t + 1] + m[p] : 0;
            for (int s = 0; s <= t && exponential; s++) {
                top = Math.max(top, b[t + 1] - b[s + 1] + i[token(p / heads, from + s, p % heads)]);
            }
            double old = Math.exp(b[t + 1] + m[p] - top);
            double den = 0;
            double[] num = new double[dv];
            for (int d = 0; d < dq; d++) {
                den += old * scale * q[x * dq + d] * n[p * dq + d];
                for (int e = 0; e < dv; e++) {
                    num[e] += old * scale * q[x * dq + d] * c[(p * dq + d) * dv + e];
                }
            }
            for (int s = 0; s <= t; s++) {
                int y = token(p / heads, from + s, p % heads);
                double w = 0;
                for (int d = 0; d < dq; d++) {
                    w += scale * q[x * dq + d] * k[y * dq + d];
                }
                w *= Math.exp(b[t + 1] - b[s + 1] + logInput(y) - top);
                den += w;
                for (int e = 0; e < dv; e++) {
                    num[e] += w * v[y * dv + e];
                }
            }
            for (int e = 0; e < dv; e++) {
                h[x * dv + e] = num[e] / divisor(den, top);
            }
        }
        double top = exponential ? b[length] + m[p] : 0;
        for (int s = 0; s < length && exponential; s++) {
            top = Math.max(top, b[length] - b[s + 1] + i[token(p / heads, from + s, p % heads)]);
        }
        double keep = Math.exp(b[length] + m[p] - top);
        for (int d = 0; d < dq; d++) {
            n[p * dq + d] *= keep;
            for (int e = 0; e < dv; e++) {
                c[(p * dq + d) * dv + e] *= keep;
            }
            for (int s = 0; s < length; s++) {
                int y = token(p / heads, from + s, p % heads);
                double w = Math.exp(b[length] - b[s + 1] + logInput(y) - top) * k[y * dq + d];
                n[p * dq + d] += w;
                for (int e = 0; e < dv; e++) {
                    c[(p * dq + d) * dv + e] += w * v[y * dv + e];
                }
            }
        }
        m[p] = top;
    }

    /**
     * Gradients of {@code sum(h * dh) + sum(C * dc * r) + sum(n * dn * r)} where r = exp(m - constant): the final state's cotangents belong
     * to the unstabilised state. {@code dc} and {@code dn} may be null. Not exact means: denominator and max state are constants, dn is
     * ignored, and the forget gates' gradient leaves the final state's own term out, as the published kernels do.
     */
    public void gradients(double[] dh, double[] dc, double[] dn, boolean exact) {
        gq = new double[q.length];
        gk = new double[k.length];
        gv = new double[v.length];
        gi = new double[i.length];
        gf = new double[f.length];
        startStates();
        gc0 = new double[c.length];
        gn0 = new double[n.length];
        gm0 = new double[m.length];
        for (int p = 0; p < batch * heads; p++) {
            gradients(p, dh, dc, dn, exact);
        }
    }

    private void gradients(int p, double[] dh, double[] dcLast, double[] dnLast, boolean exact) {
        double scale = 1 / Math.sqrt(dq);
        double[][] cs = new double[tokens + 1][];
        double[][] ns = new double[tokens + 1][];
        double[] ms = new double[tokens + 1];
        for (int t = 0; t <= tokens; t++) {
            cs[t] = java.util.Arrays.copyOfRange(c, p * dq * dv, (p + 1) * dq * dv);
            ns[t] = java.util.Arrays.copyOfRange(n, p * dq, (p + 1) * dq);
            ms[t] = m[p];
            if (t < tokens) {
                stepOne(p, t);
            }
        }
        double[] dc = new double[dq * dv];
        double[] dn = new double[dq];
        double dm = 0;
        double tail = 0;
        for (int a = 0; a < dq; a++) {
            for (int e = 0; e < dv && dcLast != null; e++) {
                dc[a * dv + e] = dcLast[(p * dq + a) * dv + e];
                tail += dc[a * dv + e] * cs[tokens][a * dv + e];
            }
            if (dnLast != null && exact) {
                dn[a] = dnLast[p * dq + a];
                tail += dn[a] * ns[tokens][a];
            }
        }
        if (exact && exponential) {
            dm = tail;
        }
        for (int t = tokens - 1; t >= 0; t--) {
            int x = token(p / heads, t, p % heads);
            double lf = logSigmoid(f[x]);
            double keep = Math.exp(lf + ms[t] - ms[t + 1]);
            double write = Math.exp(logInput(x) - ms[t + 1]);
            double den = 0;
            for (int a = 0; a < dq; a++) {
                den += scale * q[x * dq + a] * ns[t + 1][a];
            }
            double div = divisor(den, ms[t + 1]);
            double along = 0;
            for (int e = 0; e < dv; e++) {
                along += dh[x * dv + e] * h[x * dv + e];
            }
            double dden = 0;
            if (exact && normalize) {
                double ddiv = -along / div;
                if (Math.abs(den) > floor(ms[t + 1])) {
                    dden = ddiv * Math.signum(den);
                } else if (exponential) {
                    dm -= ddiv * floor(ms[t + 1]);
                }
            }
            double dkeep = 0;
            double dwrite = 0;
            for (int a = 0; a < dq; a++) {
                double qs = scale * q[x * dq + a];
                double dqs = dden * ns[t + 1][a];
                dn[a] += dden * qs;
                double toK = dn[a];
                for (int e = 0; e < dv; e++) {
                    double dnum = dh[x * dv + e] / div;
                    dqs += cs[t + 1][a * dv + e] * dnum;
                    dc[a * dv + e] += qs * dnum;
                    double g = dc[a * dv + e];
                    toK += g * v[x * dv + e];
                    gv[x * dv + e] += write * k[x * dq + a] * g;
                    dkeep += g * cs[t][a * dv + e];
                    dc[a * dv + e] = keep * g;
                }
                dkeep += dn[a] * ns[t][a];
                dwrite += toK * k[x * dq + a];
                gk[x * dq + a] = write * toK;
                gq[x * dq + a] = scale * dqs;
                dn[a] *= keep;
            }
            double toForget = dkeep * keep;
            double toInput = dwrite * write;
            if (exponential && exact) {
                dm -= dkeep * keep + dwrite * write;
                double before = dkeep * keep;
                if (lf + ms[t] >= i[x]) {
                    toForget += dm;
                    before += dm;
                } else {
                    toInput += dm;
                }
                dm = before;
            }
            if (!exact) {
                toForget -= tail;
            }
            gf[x] = toForget / (1 + Math.exp(f[x]));
            gi[x] = exponential ? toInput : toInput / (1 + Math.exp(i[x]));
        }
        System.arraycopy(dc, 0, gc0, p * dq * dv, dq * dv);
        if (exact || !normalize) {
            System.arraycopy(dn, 0, gn0, p * dq, dq);
        }
        gm0[p] = exact && exponential ? dm : 0;
    }
}
