package ai.lram.bench.machine;

/**
 * A fixed amount of work that touches no memory: a chain of multiplications and exclusive ors, each waiting for the last. It always takes the
 * same number of cycles, so what varies in its time is the machine, not the program.
 */
public final class RegisterWork {
    /** Latency of one turn: three cycles for a 64-bit multiplication and one for an exclusive or, on x86-64 of the last fifteen years. */
    static final int CYCLES_PER_TURN = 4;

    private static final long MULTIPLIER = 6364136223846793005L;
    private static final long PATTERN = 0x9E3779B97F4A7C15L;

    private RegisterWork() {}

    /**
     * Multiplying and adding would let the compiler join turns; multiplying and XOR do not distribute.
     *
     * @return depends on every turn, so that none can be left out
     */
    public static long run(long turns, long seed) {
        long x = seed;
        for (long i = 0; i < turns; i++) {
            x = x * MULTIPLIER ^ PATTERN;
        }
        return x;
    }
}
