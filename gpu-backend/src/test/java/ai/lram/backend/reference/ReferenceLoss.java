package ai.lram.backend.reference;

/** Masked cross-entropy; as in {@link ai.lram.backend.ops.LossOps}. */
public final class ReferenceLoss {
    private ReferenceLoss() {}

    /** @param stats loss, weight, hit rate */
    public record Result(double[] stats, double[] dlogits) {}

    /** @param distributions target distributions [M,V] */
    public static Result crossEntropy(
            double[] logits, double[] distributions, int[] bins, double[] mask, int width, double gradScale) {
        double[] gradient = new double[logits.length];
        double loss = 0;
        double weight = 0;
        double hits = 0;
        for (double m : mask) {
            weight += m;
        }
        if (weight == 0) {
            return new Result(new double[3], gradient);
        }
        for (int row = 0; row < mask.length; row++) {
            if (mask[row] == 0) {
                continue;
            }
            int best = 0;
            double max = Double.NEGATIVE_INFINITY;
            for (int j = 0; j < width; j++) {
                if (logits[row * width + j] > max) {
                    max = logits[row * width + j];
                    best = j;
                }
            }
            double sum = 0;
            for (int j = 0; j < width; j++) {
                sum += Math.exp(logits[row * width + j] - max);
            }
            for (int j = 0; j < width; j++) {
                int i = row * width + j;
                double logP = logits[i] - max - Math.log(sum);
                loss -= distributions[i] == 0 ? 0 : mask[row] * distributions[i] * logP;
                gradient[i] = gradScale * mask[row] / weight * (Math.exp(logP) - distributions[i]);
            }
            hits += best == bins[row] ? 1 : 0;
        }
        return new Result(new double[] {loss / weight, weight, hits / weight}, gradient);
    }

    public static double[] oneHot(int[] targets, int width) {
        double[] p = new double[targets.length * width];
        for (int row = 0; row < targets.length; row++) {
            p[row * width + targets[row]] = 1;
        }
        return p;
    }

    /** A normal density about each target, integrated over each bin by Simpson's rule and renormalised. */
    public static double[] softBins(double[] targets, int width, int firstBin, int bins, double sigma) {
        double[] p = new double[targets.length * width];
        for (int row = 0; row < targets.length; row++) {
            double t = targets[row];
            if (t < firstBin - 8 * sigma) {
                t = firstBin;
            } else if (t > firstBin + bins + 8 * sigma) {
                t = firstBin + bins;
            }
            double total = 0;
            for (int j = firstBin; j < firstBin + bins; j++) {
                p[row * width + j] = integral((j - t) / sigma, (j + 1 - t) / sigma);
                total += p[row * width + j];
            }
            for (int j = firstBin; j < firstBin + bins; j++) {
                p[row * width + j] /= total;
            }
        }
        return p;
    }

    private static double integral(double from, double to) {
        double lo = Math.max(from, -40);
        double hi = Math.min(to, 40);
        if (hi <= lo) {
            return 0;
        }
        int n = 2 * (int) Math.ceil(200 * Math.max(1, hi - lo));
        double h = (hi - lo) / n;
        double sum = Math.exp(-lo * lo / 2) + Math.exp(-hi * hi / 2);
        for (int i = 1; i < n; i++) {
            double z = lo + i * h;
            sum += (i % 2 == 1 ? 4 : 2) * Math.exp(-z * z / 2);
        }
        return sum * h / 3;
    }
}
