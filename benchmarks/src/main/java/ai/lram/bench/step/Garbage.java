package ai.lram.bench.step;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadInfo;
import java.util.Arrays;

/** Heap bytes that the calling thread and the engine's helpers have allocated since {@link #begin}. */
final class Garbage {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final String HELPER = "lram-cpu-";

    private long[] ids;
    private long before;

    void begin() {
        long own = Thread.currentThread().threadId();
        long[] helpers = Arrays.stream(THREADS.getThreadInfo(THREADS.getAllThreadIds()))
                .filter(info -> info != null && info.getThreadName().startsWith(HELPER))
                .mapToLong(ThreadInfo::getThreadId)
                .toArray();
        ids = Arrays.copyOf(helpers, helpers.length + 1);
        ids[helpers.length] = own;
        // The first call allocates.
        sum();
        before = sum();
    }

    long end() {
        return sum() - before;
    }

    private long sum() {
        long bytes = 0;
        for (long id : ids) {
            bytes += Math.max(0, THREADS.getThreadAllocatedBytes(id));
        }
        return bytes;
    }
}
