package ai.lram.agent.testing;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordedFrame;
import jdk.jfr.consumer.RecordingFile;

/** Heap bytes that threads allocate while something runs. */
public final class Allocations {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private static final String SAMPLE = "jdk.ObjectAllocationSample";

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
     * Runs {@code work} until two runs in a row allocate nothing, for thirty seconds at most: on a busy machine the compiler lags behind.
     *
     * @return bytes allocated by the last run
     */
    public static long afterWarmUp(Runnable work) {
        return afterWarmUp(work, -1);
    }

    /** The same, for five seconds at most where a run allocates no more than {@code bound}: a JVM that boxes vectors boxes them ever after. */
    public static long afterWarmUp(Runnable work, long bound) {
        return afterWarmUp(work, bound, 30);
    }

    private static long afterWarmUp(Runnable work, long bound, int most) {
        long begin = System.nanoTime();
        long bytes = of(work);
        for (int clean = 0; clean < 2; ) {
            long seconds = (System.nanoTime() - begin) / 1_000_000_000;
            if (seconds >= (bytes <= bound ? Math.min(5, most) : most)) {
                break;
            }
            bytes = of(work);
            clean = bytes == 0 ? clean + 1 : 0;
        }
        return bytes;
    }

    /**
     * As {@link #afterWarmUp}, for ten seconds at most, without vectors that compiled code boxes: which it does differs from JVM to JVM.
     *
     * @return bytes allocated by a run times the share of the flight recorder's samples outside the Vector API's own methods
     */
    public static long besidesVectors(Runnable work) {
        long bytes = afterWarmUp(work, -1, 10);
        if (bytes == 0) {
            return 0;
        }
        try (Recording recording = new Recording()) {
            recording.enable(SAMPLE).with("throttle", "off").withStackTrace();
            recording.start();
            work.run();
            recording.stop();
            Path file = Files.createTempFile("allocations", ".jfr");
            try {
                recording.dump(file);
                long own = Thread.currentThread().threadId();
                List<RecordedEvent> samples = RecordingFile.readAllEvents(file).stream()
                        .filter(e -> e.getEventType().getName().equals(SAMPLE))
                        .filter(e -> e.getThread() != null && e.getThread().getJavaThreadId() == own)
                        .toList();
                long others = samples.stream().filter(e -> !boxesVector(e)).count();
                return samples.isEmpty() ? bytes : bytes * others / samples.size();
            } finally {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static boolean boxesVector(RecordedEvent e) {
        if (e.getStackTrace() == null) {
            return false;
        }
        List<RecordedFrame> frames = e.getStackTrace().getFrames();
        String type =
                frames.isEmpty() ? "" : frames.getFirst().getMethod().getType().getName();
        return type.startsWith("jdk.incubator.vector.")
                || type.startsWith("jdk.internal.vm.vector.")
                || type.equals("jdk.internal.misc.ScopedMemoryAccess");
    }
}
