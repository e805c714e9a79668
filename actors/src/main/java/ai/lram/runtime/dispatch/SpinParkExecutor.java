package ai.lram.runtime.dispatch;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.AbstractExecutorService;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * One thread that runs tasks in order, spins for a short budget when it runs dry, then parks and is woken by the next task.
 *
 * <p>Within the spin budget a task is picked up in about a microsecond; after it, at the cost of one thread wake-up. Akka's
 * affinity pool polls instead of being woken, which at control rates adds its poll period (a few hundred microseconds) to
 * every message. The queue is bounded by its users: an actor schedules at most one task at a time.
 */
final class SpinParkExecutor extends AbstractExecutorService {
    private final ConcurrentLinkedQueue<Runnable> queue = new ConcurrentLinkedQueue<>();
    private final long spinNs;
    private final Thread thread;
    private volatile boolean parked;
    private volatile boolean shutdown;

    SpinParkExecutor(ThreadFactory threads, long spinNs) {
        this.spinNs = spinNs;
        this.thread = threads.newThread(this::loop);
        thread.start();
    }

    @Override
    public void execute(Runnable task) {
        if (shutdown) {
            throw new RejectedExecutionException("the executor of " + thread.getName() + " was shut down");
        }
        queue.add(task);
        if (parked) {
            LockSupport.unpark(thread);
        }
    }

    private void loop() {
        while (true) {
            Runnable task = next();
            if (task == null) {
                return;
            }
            try {
                task.run();
            } catch (Throwable failure) {
                Thread.UncaughtExceptionHandler handler = thread.getUncaughtExceptionHandler();
                if (handler != null) {
                    handler.uncaughtException(thread, failure);
                }
            }
        }
    }

    private Runnable next() {
        long spinUntilNs = 0;
        while (true) {
            Runnable task = queue.poll();
            if (task != null) {
                return task;
            }
            if (shutdown) {
                return null;
            }
            if (spinUntilNs == 0) {
                spinUntilNs = System.nanoTime() + spinNs;
            }
            if (System.nanoTime() < spinUntilNs) {
                Thread.onSpinWait();
                continue;
            }
            parked = true;
            if (queue.isEmpty() && !shutdown) {
                LockSupport.park(this);
            }
            parked = false;
        }
    }

    @Override
    public void shutdown() {
        shutdown = true;
        LockSupport.unpark(thread);
    }

    @Override
    public List<Runnable> shutdownNow() {
        shutdown();
        List<Runnable> left = new ArrayList<>();
        for (Runnable task = queue.poll(); task != null; task = queue.poll()) {
            left.add(task);
        }
        return left;
    }

    @Override
    public boolean isShutdown() {
        return shutdown;
    }

    @Override
    public boolean isTerminated() {
        return shutdown && !thread.isAlive();
    }

    @Override
    public boolean awaitTermination(long timeout, TimeUnit unit) throws InterruptedException {
        return thread.join(java.time.Duration.ofNanos(unit.toNanos(timeout)));
    }
}
