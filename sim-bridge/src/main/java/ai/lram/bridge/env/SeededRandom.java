package ai.lram.bridge.env;

/**
 * SplitMix64 (Steele, Lea and Flood 2014) with uniform and normal draws: the same numbers for a seed on every JDK, no
 * allocation. Single thread.
 */
public final class SeededRandom {
    private long state;
    private double spare;
    private boolean hasSpare;

    public SeededRandom(long seed) {
        seed(seed);
    }

    /** Starts the sequence of {@code seed} from its beginning. */
    public void seed(long seed) {
        state = seed;
        hasSpare = false;
    }

    public long nextLong() {
        state += 0x9E3779B97F4A7C15L;
        long z = state;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /** Uniform in [0, 1). */
    public double nextDouble() {
        return (nextLong() >>> 11) * 0x1.0p-53;
    }

    /** Uniform in [low, high). */
    public double uniform(double low, double high) {
        return low + (high - low) * nextDouble();
    }

    /** Uniform in 0..bound-1; bound > 0. */
    public int nextInt(int bound) {
        return (int) (nextDouble() * bound);
    }

    /** Normal with mean 0 and standard deviation 1 (Marsaglia's polar method). */
    public double nextGaussian() {
        if (hasSpare) {
            hasSpare = false;
            return spare;
        }
        double a;
        double b;
        double squared;
        do {
            a = uniform(-1, 1);
            b = uniform(-1, 1);
            squared = a * a + b * b;
        } while (squared >= 1 || squared == 0);
        double factor = Math.sqrt(-2 * StrictMath.log(squared) / squared);
        spare = b * factor;
        hasSpare = true;
        return a * factor;
    }
}
