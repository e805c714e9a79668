package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.locks.LockSupport;

/**
 * What warm code leaves on the heap of the calling thread. Zero is what the kernels are written for and what most runs show; in others
 * the compiler decides not to inline something and boxes a few vectors, so the bound is a few of them per call.
 */
final class WarmGarbage {
    private static final long BYTES_PER_CALL = 4096;
    private static final long PATIENCE_NS = 20_000_000_000L;
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private WarmGarbage() {}

    /**
     * On a busy machine the compiler lags behind the warm-up: further rounds, with pauses for it, until one is clean or time is up.
     *
     * @param warmUp calls before anything is measured
     * @param measured calls per round
     */
    static void assertLittle(String what, int warmUp, int measured, Runnable code) {
        for (int n = 0; n < warmUp; n++) {
            code.run();
        }
        long deadline = System.nanoTime() + PATIENCE_NS;
        long bytes = allocated(measured, code);
        while (bytes > 0 && System.nanoTime() < deadline) {
            LockSupport.parkNanos(20_000_000);
            bytes = allocated(measured, code);
        }
        assertTrue(
                bytes <= measured * BYTES_PER_CALL, what + ": " + bytes + " bytes allocated in " + measured + " calls");
    }

    /** Of so many calls, with pauses for the compiler, the last round leaves nothing. */
    static void assertNoneWithin(String what, int calls, int round, Runnable code) {
        long bytes = 1;
        for (int n = 0; n < calls && bytes > 0; n += round) {
            LockSupport.parkNanos(100_000_000);
            bytes = allocated(round, code);
        }
        assertEquals(0, bytes, what + " after " + calls + " calls");
    }

    private static long allocated(int calls, Runnable code) {
        long before = THREADS.getCurrentThreadAllocatedBytes();
        for (int n = 0; n < calls; n++) {
            code.run();
        }
        return THREADS.getCurrentThreadAllocatedBytes() - before;
    }
}
