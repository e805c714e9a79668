package ai.lram.bench.machine;

import ai.lram.bench.Latencies;

/**
 * The control measurement: work on registers only, as long as what it stands beside and on as many threads. Its spread is the machine's
 * own; what is measured beside it cannot be steadier. One thread.
 */
public final class Control implements AutoCloseable {
    private static final int CALIBRATIONS = 20;
    private static final long CALIBRATION_TURNS = 20_000;

    private final Team team;
    private final long turns;
    private volatile long sink;

    /** @param ms how long one piece of work should take on an undisturbed core */
    public Control(int threads, double ms) {
        team = new Team(threads);
        double fastest = Double.POSITIVE_INFINITY;
        for (int i = 0; i < CALIBRATIONS; i++) {
            long begin = System.nanoTime();
            sink = RegisterWork.run(CALIBRATION_TURNS, begin);
            fastest = Math.min(fastest, (System.nanoTime() - begin) / (double) CALIBRATION_TURNS);
        }
        turns = Math.max(1, Math.round(ms * 1e6 / fastest));
    }

    /** Does the work {@code times} times on all threads at once and records how long each took. */
    public void measure(int times, Latencies into) {
        for (int i = 0; i < times; i++) {
            long begin = System.nanoTime();
            team.run(member -> sink = RegisterWork.run(turns, begin + member));
            into.record(System.nanoTime() - begin);
        }
    }

    @Override
    public void close() {
        team.close();
    }
}
