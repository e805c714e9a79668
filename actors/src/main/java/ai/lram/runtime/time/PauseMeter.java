package ai.lram.runtime.time;

import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.TimeUnit;

/** How long garbage collection has stopped this process since it started. */
@FunctionalInterface
public interface PauseMeter {
    /** Total pause in nanoseconds, never decreasing. Any thread, no allocation. */
    long pausedNs();

    /**
     * The pauses the JVM's collectors report, with a resolution of one millisecond. Concurrent cycles are left out: they take
     * cores from the application but do not stop it.
     */
    static PauseMeter ofCollectors() {
        GarbageCollectorMXBean[] pausing = ManagementFactory.getGarbageCollectorMXBeans().stream()
                .filter(bean ->
                        !bean.getName().contains("Cycles") && !bean.getName().contains("Concurrent"))
                .toArray(GarbageCollectorMXBean[]::new);
        return () -> {
            long totalMs = 0;
            for (GarbageCollectorMXBean bean : pausing) {
                totalMs += Math.max(0, bean.getCollectionTime());
            }
            return TimeUnit.MILLISECONDS.toNanos(totalMs);
        };
    }
}
