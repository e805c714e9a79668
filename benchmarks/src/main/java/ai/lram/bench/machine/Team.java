package ai.lram.bench.machine;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntConsumer;

/**
 * Threads that do the same thing at the same time. The caller is member 0; helpers spin from the first job to {@link #close}, so a team
 * lives as long as its measurement and no longer. One caller.
 */
public final class Team implements AutoCloseable {
    private final int threads;
    private final AtomicInteger running = new AtomicInteger();
    private volatile int generation;
    private volatile IntConsumer job;
    private volatile Throwable failure;
    private volatile boolean closed;

    public Team(int threads) {
        if (threads < 1) {
            throw new IllegalArgumentException("a team has at least one thread, got " + threads);
        }
        this.threads = threads;
        for (int i = 1; i < threads; i++) {
            int member = i;
            Thread.ofPlatform().daemon().name("lram-bench-" + i).start(() -> help(member));
        }
    }

    public int threads() {
        return threads;
    }

    /** Runs {@code body} with the member's number on every thread; returns when all are done. What one throws is thrown here. */
    public void run(IntConsumer body) {
        failure = null;
        job = body;
        running.set(threads - 1);
        generation++;
        try {
            body.accept(0);
        } finally {
            while (running.get() > 0) {
                Thread.onSpinWait();
            }
        }
        if (failure != null) {
            throw new IllegalStateException("a measuring thread failed", failure);
        }
    }

    private void help(int member) {
        int seen = 0;
        while (true) {
            while (generation == seen && !closed) {
                Thread.onSpinWait();
            }
            if (closed) {
                return;
            }
            seen++;
            try {
                job.accept(member);
            } catch (RuntimeException | Error e) {
                failure = e;
            } finally {
                running.decrementAndGet();
            }
        }
    }

    @Override
    public void close() {
        closed = true;
    }
}
