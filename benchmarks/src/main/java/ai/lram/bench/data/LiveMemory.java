package ai.lram.bench.data;

import ai.lram.bench.BenchException;
import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;

/** What this process holds, as opposed to what it has touched. */
final class LiveMemory {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final Path STATUS = Path.of("/proc/self/status");

    private LiveMemory() {}

    /** Heap bytes this thread has allocated since it started. */
    static long allocatedBytes() {
        return THREADS.getCurrentThreadAllocatedBytes();
    }

    /** Bytes of the heap that are reachable: collects it first. */
    static long heapBytes() {
        System.gc();
        return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    }

    /** Resident bytes that no file backs: heap, native memory, stacks. Where the system does not say, the used heap. */
    static long anonymousBytes() {
        if (!Files.isReadable(STATUS)) {
            return heapBytes();
        }
        try {
            for (String line : Files.readAllLines(STATUS)) {
                String[] words = line.split("\\s+");
                if (words[0].equals("RssAnon:")) {
                    return Long.parseLong(words[1]) << 10;
                }
            }
        } catch (IOException e) {
            throw new BenchException(
                    "memory of this process is unknown", e.toString(), "check that /proc is mounted", e);
        }
        return heapBytes();
    }
}
