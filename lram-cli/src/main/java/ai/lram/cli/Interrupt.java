package ai.lram.cli;

import java.util.concurrent.CountDownLatch;
import java.util.function.BooleanSupplier;

/**
 * Turns Ctrl-C (and a plain kill) into a request to stop: the process ends only when the job has saved what it must. A second Ctrl-C while
 * that goes on is ignored by the JVM; kill -9 still works.
 */
final class Interrupt implements AutoCloseable, BooleanSupplier {
    private final CountDownLatch done = new CountDownLatch(1);
    private final Thread hook;
    private volatile boolean asked;

    Interrupt(Runnable onAsked) {
        hook = new Thread(
                () -> {
                    asked = true;
                    onAsked.run();
                    try {
                        done.await();
                    } catch (InterruptedException e) {
                        Thread.currentThread().interrupt();
                    }
                },
                "lram-interrupt");
        Runtime.getRuntime().addShutdownHook(hook);
    }

    /** True once the process was asked to end. */
    @Override
    public boolean getAsBoolean() {
        return asked;
    }

    /** The job is done; lets the process go. */
    @Override
    public void close() {
        done.countDown();
        if (!asked) {
            try {
                Runtime.getRuntime().removeShutdownHook(hook);
            } catch (IllegalStateException e) {
                // The JVM began to shut down in this very moment; the hook finds the latch open.
                asked = true;
            }
        }
    }
}
