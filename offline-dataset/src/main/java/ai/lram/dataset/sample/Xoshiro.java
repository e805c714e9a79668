package ai.lram.dataset.sample;

/**
 * xoshiro256** with a state that can be saved, which the generators of the JDK do not offer.
 *
 * @see "Blackman, Vigna 2021, Scrambled Linear Pseudorandom Number Generators, ACM TOMS 47(4)"
 */
final class Xoshiro {
    static final int STATE_LONGS = 4;

    private final long[] s = new long[STATE_LONGS];

    Xoshiro(long seed) {
        long x = seed;
        for (int i = 0; i < STATE_LONGS; i++) {
            x += 0x9e3779b97f4a7c15L;
            long z = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L;
            z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
            s[i] = z ^ (z >>> 31);
        }
    }

    long nextLong() {
        long result = Long.rotateLeft(s[1] * 5, 7) * 9;
        long t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = Long.rotateLeft(s[3], 45);
        return result;
    }

    /** Uniform in [0, bound), exactly; {@code bound} at least 1. */
    long nextLong(long bound) {
        long bits = nextLong() >>> 1;
        long value = bits % bound;
        while (bits - value + (bound - 1) < 0) {
            bits = nextLong() >>> 1;
            value = bits % bound;
        }
        return value;
    }

    void save(long[] target, int offset) {
        System.arraycopy(s, 0, target, offset, STATE_LONGS);
    }

    void load(long[] source, int offset) {
        System.arraycopy(source, offset, s, 0, STATE_LONGS);
    }
}
