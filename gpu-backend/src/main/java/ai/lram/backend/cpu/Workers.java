package ai.lram.backend.cpu;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
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

    private final Thread[] helpers;
    private final AtomicBoolean busy = new AtomicBoolean();
    private final AtomicInteger next = new AtomicInteger();
    /** Generation of the job, whether it may still be joined, and how many helpers are in it. */
    private final AtomicLong gate = new AtomicLong();

    private volatile boolean closed;
    private volatile Throwable failure;
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
            failure = null;
            next.set(0);
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
                if (spins < SPINS_BEFORE_YIELD) {
                    Thread.onSpinWait();
                } else {
                    Thread.yield();
                }
            }
            if (failure instanceof RuntimeException e) {
                throw e;
            }
            if (failure instanceof Error e) {
                throw e;
            }
        } finally {
            this.body = null;
            busy.set(false);
        }
    }

    private void work() {
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
