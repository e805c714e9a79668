package ai.lram.bench.machine;

import ai.lram.bench.Latencies;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;

/** What it costs to look at the clock, to sleep and to be woken. Each method takes the calling thread and, where named, one more. */
public final class Waits {
    private static final long SLEEP_NS = 1_000_000;
    /** Long enough for a waiting thread to be parked. */
    private static final long SETTLE_NS = 100_000;

    private Waits() {}

    /** Smallest difference between two readings of {@link System#nanoTime()} that is not zero, in ns. */
    public static long granularityNs(int readings) {
        long smallest = Long.MAX_VALUE;
        for (int i = 0; i < readings; i++) {
            long first = System.nanoTime();
            long next = System.nanoTime();
            while (next == first) {
                next = System.nanoTime();
            }
            smallest = Math.min(smallest, next - first);
        }
        return smallest;
    }

    /** Cost of one reading of the clock in ns, over {@code readings} of them. */
    public static double readingNs(int readings) {
        long begin = System.nanoTime();
        long last = begin;
        for (int i = 0; i < readings; i++) {
            last = System.nanoTime();
        }
        return (last - begin) / (double) readings;
    }

    /** How much longer than asked for a sleep of 1 ms takes. */
    public static Latencies oversleep(int sleeps, int repetitions) {
        Latencies latencies = new Latencies(sleeps, repetitions);
        for (int i = 0; i < sleeps; i++) {
            long due = System.nanoTime() + SLEEP_NS;
            for (long left = SLEEP_NS; left > 0; left = due - System.nanoTime()) {
                LockSupport.parkNanos(left);
            }
            latencies.record(System.nanoTime() - due);
        }
        return latencies;
    }

    /**
     * From {@link LockSupport#unpark} or a write until the other thread goes on.
     *
     * @param parked the other thread sleeps meanwhile; else it spins
     */
    public static Latencies wakeUp(int times, int repetitions, boolean parked) {
        Latencies latencies = new Latencies(times, repetitions);
        AtomicLong sentNs = new AtomicLong();
        AtomicLong tookNs = new AtomicLong(-1);
        Thread other = Thread.ofPlatform().daemon().name("lram-bench-woken").start(() -> {
            for (int i = 0; i < times; i++) {
                long sent = sentNs.get();
                while (sent == 0) {
                    if (parked) {
                        LockSupport.park();
                    } else {
                        Thread.onSpinWait();
                    }
                    sent = sentNs.get();
                }
                long took = System.nanoTime() - sent;
                sentNs.set(0);
                tookNs.set(took);
            }
        });
        for (int i = 0; i < times; i++) {
            for (long until = System.nanoTime() + (parked ? SETTLE_NS : 1_000); System.nanoTime() < until; ) {
                Thread.onSpinWait();
            }
            sentNs.set(System.nanoTime());
            if (parked) {
                LockSupport.unpark(other);
            }
            while (tookNs.get() < 0) {
                Thread.onSpinWait();
            }
            latencies.record(tookNs.getAndSet(-1));
        }
        return latencies;
    }
}
