package ai.lram.agent.train;

/** SplitMix64: a random stream whose whole state is one number, so that a resumed run draws what an uninterrupted one would have. */
final class SeededRandom {
    private long state;

    SeededRandom(long seed) {
        state = seed;
    }

    long state() {
        return state;
    }

    void restore(long saved) {
        state = saved;
    }

    long nextLong() {
        state += 0x9E3779B97F4A7C15L;
        long z = state;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /** Uniform in [0, 1). */
    double nextDouble() {
        return (nextLong() >>> 11) * 0x1.0p-53;
    }

    double nextGaussian() {
        double u = 1 - nextDouble();
        return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * nextDouble());
    }
}
