package ai.lram.bridge.env;

/** The soft indicator functions of the DeepMind Control Suite (Tassa et al. 2018, arXiv:1801.00690, section 2.3). */
final class Tolerance {
    private static final double GAUSSIAN_SCALE_SQUARED = -2 * Math.log(0.1);

    private Tolerance() {}

    /** 1 at zero, 0.1 at {@code margin}, Gaussian in between and beyond. */
    static double gaussian(double x, double margin) {
        double d = x / margin;
        return Math.exp(-0.5 * d * d * GAUSSIAN_SCALE_SQUARED);
    }

    /** 1 at zero, 0 from {@code margin} on, a parabola in between. */
    static double quadratic(double x, double margin) {
        double d = x / margin;
        return Math.max(0, 1 - d * d);
    }
}
