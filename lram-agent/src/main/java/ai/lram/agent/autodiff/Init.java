package ai.lram.agent.autodiff;

import java.util.random.RandomGenerator;

/** How a parameter gets its first values. */
@FunctionalInterface
public interface Init {
    void fill(RandomGenerator random, float[] values, int[] shape);

    static Init constant(double v) {
        return (r, a, s) -> java.util.Arrays.fill(a, (float) v);
    }

    static Init zeros() {
        return constant(0);
    }

    static Init normal(double std) {
        return (r, a, s) -> {
            for (int i = 0; i < a.length; i++) {
                a[i] = (float) (r.nextGaussian() * std);
            }
        };
    }

    /** Uniform in [-bound, bound]. */
    static Init uniform(double bound) {
        return (r, a, s) -> {
            for (int i = 0; i < a.length; i++) {
                a[i] = (float) ((2 * r.nextDouble() - 1) * bound);
            }
        };
    }

    /** Evenly spaced over the whole parameter, both ends included. */
    static Init linspace(double from, double to) {
        return (r, a, s) -> {
            for (int i = 0; i < a.length; i++) {
                a[i] = (float) (a.length == 1 ? from : from + (to - from) * i / (a.length - 1));
            }
        };
    }
}
