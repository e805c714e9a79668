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
     * Runs {@code work} until one run allocates nothing, at most {@code limit} times, then once more.
     *
     * @return bytes allocated by that last run
     */
    public static long afterWarmUp(int limit, Runnable work) {
        for (int i = 0; i < limit && of(work) != 0; i++) {
            Thread.onSpinWait();
        }
        return of(work);
    }
}
