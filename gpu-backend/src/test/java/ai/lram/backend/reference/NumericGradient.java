package ai.lram.backend.reference;

import java.util.function.ToDoubleFunction;

/** Gradients by central differences, fourth order: what analytic reference gradients are checked with. */
public final class NumericGradient {
    private NumericGradient() {}

    /** The gradient of {@code f} at {@code x}, which is changed meanwhile and restored. */
    public static double[] of(double[] x, ToDoubleFunction<double[]> f) {
        double[] g = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            double at = x[i];
            double h = 1e-3 * Math.max(1, Math.abs(at));
            g[i] = (8 * (at(x, i, at + h, f) - at(x, i, at - h, f))
                            - (at(x, i, at + 2 * h, f) - at(x, i, at - 2 * h, f)))
                    / (12 * h);
            x[i] = at;
        }
        return g;
    }

    private static double at(double[] x, int i, double value, ToDoubleFunction<double[]> f) {
        x[i] = value;
        return f.applyAsDouble(x);
    }

    /** Fails unless max|analytic - numeric| <= tolerance * max(1, max|numeric|). */
    public static void assertAgrees(String name, double[] analytic, double[] numeric, double tolerance) {
        double diff = 0;
        double scale = 1;
        for (int i = 0; i < numeric.length; i++) {
            diff = Math.max(diff, Math.abs(analytic[i] - numeric[i]));
            scale = Math.max(scale, Math.abs(numeric[i]));
        }
        if (analytic.length != numeric.length || !(diff <= tolerance * scale)) {
            throw new AssertionError(name + ": analytic and numeric gradient differ by " + diff + " at scale " + scale);
        }
    }
}
