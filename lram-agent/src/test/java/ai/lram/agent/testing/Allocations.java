package ai.lram.agent.testing;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;

/** Heap bytes that threads allocate while something runs. */
public final class Allocations {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private Allocations() {}

    /** Bytes allocated by the calling thread while {@code work} runs. */
    public static long of(Runnable work) {
        long id = Thread.currentThread().threadId();
        THREADS.getThreadAllocatedBytes(id);
        long before = THREADS.getThreadAllocatedBytes(id);
        work.run();
        return THREADS.getThreadAllocatedBytes(id) - before;
    }

    /**
     * Runs {@code work} until two runs in a row allocate nothing, for ten seconds at most: on a busy machine the compiler lags behind.
     *
     * @return bytes allocated by the last run
     */
    public static long afterWarmUp(Runnable work) {
        long deadline = System.nanoTime() + 10_000_000_000L;
        long bytes = of(work);
        for (int clean = 0; clean < 2 && System.nanoTime() < deadline; ) {
            bytes = of(work);
            clean = bytes == 0 ? clean + 1 : 0;
        }
        return bytes;
    }
}
