package ai.lram.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Page-locked memory through which everything between host and device goes, in two halves: while one travels the other is filled. Uploads
 * may reuse their source at once; downloads reach their destination when the half is needed again or the stream is waited for.
 */
final class Staging {
    static final long HALF = 8L << 20;

    private static final long ALIGNMENT = 64;
    private static final int DISABLE_TIMING = 2;

    private record Delivery(MemorySegment from, MemorySegment to) {}

    private final Engine engine;
    private final MemorySegment[] halves = new MemorySegment[2];
    private final long[] left = new long[2];
    private final boolean[] travelling = new boolean[2];
    private final List<List<Delivery>> deliveries = List.of(new ArrayList<>(), new ArrayList<>());
    private int current;
    private long used;

    Staging(Engine engine) {
        this.engine = engine;
        for (int h = 0; h < 2; h++) {
            halves[h] = engine.pinned(HALF);
            left[h] = engine.newEvent(DISABLE_TIMING);
        }
    }

    /** Queues a copy to device memory; between the engine's enter and leave. */
    void upload(long device, MemorySegment from) {
        Driver driver = engine.driver();
        for (long done = 0; done < from.byteSize(); ) {
            long n = Math.min(from.byteSize() - done, HALF);
            MemorySegment room = reserve(n);
            room.copyFrom(from.asSlice(done, n));
            engine.check(
                    driver.copyToDevice(device + done, room.address(), n, engine.stream()),
                    "copying " + n + " bytes to the device");
            done += n;
        }
    }

    /** Queues a copy from device memory; between the engine's enter and leave. */
    void download(MemorySegment to, long device) {
        Driver driver = engine.driver();
        for (long done = 0; done < to.byteSize(); ) {
            long n = Math.min(to.byteSize() - done, HALF);
            MemorySegment room = reserve(n);
            engine.check(
                    driver.copyToHost(room.address(), device + done, n, engine.stream()),
                    "copying " + n + " bytes from the device");
            deliveries.get(current).add(new Delivery(room, to.asSlice(done, n)));
            done += n;
        }
    }

    private MemorySegment reserve(long bytes) {
        if (used + bytes > HALF) {
            engine.check(engine.driver().recordEvent(left[current], engine.stream()), "marking a copy");
            travelling[current] = true;
            current = 1 - current;
            if (travelling[current]) {
                engine.check(engine.driver().synchronizeEvent(left[current]), "waiting for a copy");
                travelling[current] = false;
            }
            deliver(current);
            used = 0;
        }
        MemorySegment room = halves[current].asSlice(used, bytes);
        used = (used + bytes + ALIGNMENT - 1) & -ALIGNMENT;
        return room;
    }

    private void deliver(int half) {
        List<Delivery> waiting = deliveries.get(half);
        if (waiting.isEmpty()) {
            return; // before an iterator is made
        }
        try {
            for (Delivery d : waiting) {
                d.to.copyFrom(d.from);
            }
        } finally {
            waiting.clear();
        }
    }

    /** Whether a download has not reached its destination. */
    boolean owes() {
        return !deliveries.get(0).isEmpty() || !deliveries.get(1).isEmpty();
    }

    /** After the stream has been waited for, or what was queued last: delivers what is left; both halves are free. */
    void settle() {
        travelling[0] = false;
        travelling[1] = false;
        used = 0;
        deliver(1 - current);
        deliver(current);
    }
}
