package ai.lram.backend.cpu;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;

/**
 * A fixed pool for data-parallel loops. The calling thread is worker 0; helpers spin for {@link #SPIN_NS} after a job and then park, so
 * that the cores are free for others between steps. The caller never waits for a helper that has not begun: one that wakes late finds
 * the job closed. A second caller while a job runs does its loop alone.
 */
final class Workers implements AutoCloseable {
    /** How long an idle helper spins before it parks. */
    static final long SPIN_NS = 50_000;

    /** How often a caller looks for the last helper before it lets others have its core. */
    private static final int SPINS_BEFORE_YIELD = 10_000;

    private static final long ACTIVE = 0xFFFF;
    private static final long OPEN = 1L << 16;
    private static final int GENERATION = 17;

    /** A piece of a loop: indices {@code from} (inclusive) to {@code to} (exclusive). */
    @FunctionalInterface
    interface Range {
        void run(int from, int to);
    }

    /**
     * A loop after loop: phase p + 1 begins when every unit of phase p is done. Units are handed out one by one; a unit may read what earlier
     * phases wrote and write only what it owns.
     */
    interface Phased {
        /** At most {@link #MOST_PHASES}. */
        int phases();

        int units(int phase);

        void run(int phase, int unit);
    }

    static final int MOST_PHASES = 8;

    /** Counters lie two cache lines apart: neighbouring lines are fetched in pairs. */
    private static final int APART = 32;

    private final Thread[] helpers;
    private final AtomicBoolean busy = new AtomicBoolean();
    private final AtomicInteger next = new AtomicInteger();
    /** Generation of the job, whether it may still be joined, and how many helpers are in it. */
    private final AtomicLong gate = new AtomicLong();

    private volatile boolean closed;
    private volatile Throwable failure;
    /** Units handed out and done of every phase. */
    private final AtomicIntegerArray counters = new AtomicIntegerArray((2 * MOST_PHASES + 1) * APART);

    private Phased phased;
    private Range body;
    private int limit;
    private int grain;

    Workers(int threads) {
        helpers = new Thread[Math.max(0, threads - 1)];
        for (int i = 0; i < helpers.length; i++) {
            helpers[i] =
                    Thread.ofPlatform().daemon().name("lram-cpu-" + (i + 1)).unstarted(this::help);
        }
    }

    int threads() {
        return helpers.length + 1;
    }

    /**
     * Runs {@code body} over 0..n-1 in pieces of at most {@code grain} indices, on all workers, and returns when all are done. Pieces are
     * handed out dynamically: a body may write only what its indices own.
     */
    void forRange(int n, int grain, Range body) {
        if (n <= grain || helpers.length == 0 || !busy.compareAndSet(false, true)) {
            if (n > 0) {
                body.run(0, n);
            }
            return;
        }
        try {
            this.body = body;
            this.limit = n;
            this.grain = grain;
            next.set(0);
            share();
        } finally {
            this.body = null;
            busy.set(false);
        }
    }

    /** Runs all phases of {@code job} on all workers and returns when they are done. */
    void phases(Phased job) {
        if (helpers.length == 0 || !busy.compareAndSet(false, true)) {
            alone(job);
            return;
        }
        try {
            phased = job;
            for (int p = 0; p < job.phases(); p++) {
                counters.setPlain(handedOut(p), 0);
                counters.setPlain(done(p), 0);
            }
            share();
        } finally {
            phased = null;
            busy.set(false);
        }
    }

    /** All phases of {@code job} on the calling thread. */
    static void alone(Phased job) {
        for (int p = 0; p < job.phases(); p++) {
            for (int u = 0; u < job.units(p); u++) {
                job.run(p, u);
            }
        }
    }

    private static int handedOut(int phase) {
        return (2 * phase + 1) * APART;
    }

    private static int done(int phase) {
        return (2 * phase + 2) * APART;
    }

    /** Opens the job to the helpers, works on it, and waits for those that came. */
    private void share() {
        failure = null;
        gate.set(((gate.get() >>> GENERATION) + 1) << GENERATION | OPEN);
        for (Thread t : helpers) {
            if (t.getState() == Thread.State.NEW) {
                t.start();
            } else {
                LockSupport.unpark(t);
            }
        }
        work();
        gate.getAndAdd(-OPEN);
        for (int spins = 0; (gate.get() & ACTIVE) != 0; spins++) {
            pause(spins);
        }
        if (failure instanceof RuntimeException e) {
            throw e;
        }
        if (failure instanceof Error e) {
            throw e;
        }
    }

    private static void pause(int spins) {
        if (spins < SPINS_BEFORE_YIELD) {
            Thread.onSpinWait();
        } else {
            Thread.yield();
        }
    }

    private void work() {
        if (phased != null) {
            workOnPhases(phased);
        } else {
            workOnRange();
        }
    }

    private void workOnPhases(Phased job) {
        try {
            int phases = job.phases();
            for (int p = 0; p < phases; p++) {
                int units = job.units(p);
                int mine = 0;
                for (int u = counters.getAndAdd(handedOut(p), 1); u < units; u = counters.getAndAdd(handedOut(p), 1)) {
                    job.run(p, u);
                    mine++;
                }
                counters.getAndAdd(done(p), mine);
                for (int spins = 0; counters.get(done(p)) < units; spins++) {
                    if (failure != null) {
                        return;
                    }
                    pause(spins);
                }
            }
        } catch (RuntimeException | Error e) {
            failure = e;
        }
    }

    private void workOnRange() {
        Range b = body;
        int n = limit;
        int g = grain;
        try {
            for (int from = next.getAndAdd(g); from < n && from >= 0; from = next.getAndAdd(g)) {
                b.run(from, Math.min(n, from + g));
            }
        } catch (RuntimeException | Error e) {
            failure = e;
            next.set(n);
        }
    }

    private void help() {
        long seen = 0;
        while (true) {
            long spinUntil = System.nanoTime() + SPIN_NS;
            int spins = 0;
            while (gate.get() >>> GENERATION == seen && !closed) {
                if ((++spins & 63) != 0 || System.nanoTime() < spinUntil) {
                    Thread.onSpinWait();
                } else {
                    LockSupport.park(this);
                    spinUntil = System.nanoTime() + SPIN_NS;
                }
            }
            if (closed) {
                return;
            }
            long g = gate.get();
            if ((g & OPEN) == 0) {
                seen = g >>> GENERATION;
            } else if (gate.compareAndSet(g, g + 1)) {
                seen = g >>> GENERATION;
                work();
                gate.getAndAdd(-1);
            }
        }
    }

    @Override
    public void close() {
        closed = true;
        for (Thread t : helpers) {
            LockSupport.unpark(t);
        }
    }
}
