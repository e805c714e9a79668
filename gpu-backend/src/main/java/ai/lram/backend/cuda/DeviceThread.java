package ai.lram.backend.cuda;

import ai.lram.backend.DeviceLostException;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;

/**
 * The thread that owns a device: the context is made, entered and ended there, memory is taken and given back there, modules are loaded
 * there. Callers may be any thread, virtual ones too; they wait for the result. Kernels are queued by their caller directly (see {@link
 * Engine}), because waking a thread costs more than a launch.
 */
final class DeviceThread implements AutoCloseable {
    private final String name;
    private final ExecutorService executor;
    private volatile Thread thread;

    DeviceThread(String name) {
        this.name = name;
        executor = Executors.newSingleThreadExecutor(task -> {
            Thread t = Thread.ofPlatform().daemon().name(name).unstarted(task);
            thread = t;
            return t;
        });
    }

    /** Runs {@code task} on the owning thread; its exception is the caller's. An interrupt is kept for the caller, not obeyed here. */
    <T> T call(Callable<T> task) {
        if (Thread.currentThread() == thread) {
            try {
                return task.call();
            } catch (Exception e) {
                throw rethrown(e);
            }
        }
        Future<T> result;
        try {
            result = executor.submit(task);
        } catch (RejectedExecutionException e) {
            throw new DeviceLostException(
                    "use of " + name, "its engine was closed", "keep the engine open as long as its tensors", e);
        }
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return result.get();
                } catch (InterruptedException e) {
                    interrupted = true;
                } catch (ExecutionException e) {
                    throw rethrown(e.getCause());
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    void run(Runnable task) {
        call(() -> {
            task.run();
            return null;
        });
    }

    private static RuntimeException rethrown(Throwable e) {
        if (e instanceof Error error) {
            throw error;
        }
        return e instanceof RuntimeException r ? r : new IllegalStateException(e);
    }

    @Override
    public void close() {
        executor.shutdown();
    }
}
