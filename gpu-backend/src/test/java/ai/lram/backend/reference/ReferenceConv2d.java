package ai.lram.backend.reference;

/** Square 2-D convolution and max pooling; layouts as in {@link ai.lram.backend.ops.ConvOps}. */
public record ReferenceConv2d(int n, int c, int h, int w, int o, int k, int stride, int pad) {
    public int outHeight() {
        return (h + 2 * pad - k) / stride + 1;
    }

    public int outWidth() {
        return (w + 2 * pad - k) / stride + 1;
    }

    /** Visits every product: positions in x, w and y. */
    private interface Visitor {
        void visit(int x, int w, int y);
    }

    private void eachProduct(Visitor v) {
        for (int in = 0; in < n; in++) {
            for (int io = 0; io < o; io++) {
                for (int oh = 0; oh < outHeight(); oh++) {
                    for (int ow = 0; ow < outWidth(); ow++) {
                        int y = ((in * o + io) * outHeight() + oh) * outWidth() + ow;
                        for (int ic = 0; ic < c; ic++) {
                            for (int i = 0; i < k; i++) {
                                for (int j = 0; j < k; j++) {
                                    int row = oh * stride - pad + i;
                                    int column = ow * stride - pad + j;
                                    if (row >= 0 && row < h && column >= 0 && column < w) {
                                        v.visit(
                                                ((in * c + ic) * h + row) * w + column,
                                                ((io * c + ic) * k + i) * k + j,
                                                y);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    public double[] forward(double[] x, double[] weights, double[] bias) {
        int pixels = outHeight() * outWidth();
        double[] y = new double[n * o * pixels];
        for (int i = 0; i < y.length; i++) {
            y[i] = bias == null ? 0 : bias[i / pixels % o];
        }
        eachProduct((ix, iw, iy) -> y[iy] += x[ix] * weights[iw]);
        return y;
    }

    public record Gradients(double[] dx, double[] dw, double[] dbias) {}

    public Gradients backward(double[] dy, double[] x, double[] weights) {
        Gradients g = new Gradients(new double[x.length], new double[weights.length], new double[o]);
        int pixels = outHeight() * outWidth();
        for (int i = 0; i < dy.length; i++) {
            g.dbias[i / pixels % o] += dy[i];
        }
        eachProduct((ix, iw, iy) -> {
            g.dx[ix] += dy[iy] * weights[iw];
            g.dw[iw] += dy[iy] * x[ix];
        });
        return g;
    }

    /** For each window the position h*W + w of its first maximum. */
    public static int[] poolIndex(float[] x, int planes, int h, int w, int k, int stride, int pad) {
        int oh = (h + 2 * pad - k) / stride + 1;
        int ow = (w + 2 * pad - k) / stride + 1;
        int[] index = new int[planes * oh * ow];
        for (int out = 0; out < index.length; out++) {
            int best = -1;
            for (int i = 0; i < k; i++) {
                for (int j = 0; j < k; j++) {
                    int row = out / ow % oh * stride - pad + i;
                    int column = out % ow * stride - pad + j;
                    if (row >= 0 && row < h && column >= 0 && column < w) {
                        int base = out / (oh * ow) * h * w;
                        if (best < 0 || x[base + row * w + column] > x[base + best]) {
                            best = row * w + column;
                        }
                    }
                }
            }
            index[out] = best;
        }
        return index;
    }
}
