package ai.lram.runtime.recording;

import java.util.EnumMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;

/** The chunks all recordings share, and the count of what became of episodes. Any thread. */
public final class RecordingMemory {
    private final int chunkFrames;
    private final AtomicInteger free;
    private final AtomicLong episodes = new AtomicLong();
    private final AtomicLong frames = new AtomicLong();
    private final AtomicLongArray dropped = new AtomicLongArray(DropReason.values().length);

    /**
     * @param chunks how many chunks may exist at once
     * @param chunkFrames steps per chunk
     */
    public RecordingMemory(int chunks, int chunkFrames) {
        this.free = new AtomicInteger(chunks);
        this.chunkFrames = chunkFrames;
    }

    int chunkFrames() {
        return chunkFrames;
    }

    boolean tryTake() {
        int seen = free.get();
        while (seen > 0) {
            if (free.compareAndSet(seen, seen - 1)) {
                return true;
            }
            seen = free.get();
        }
        return false;
    }

    void giveBack(int chunks) {
        free.addAndGet(chunks);
    }

    /** Chunks not in use. */
    public int free() {
        return free.get();
    }

    void stored(long frameCount) {
        episodes.incrementAndGet();
        frames.addAndGet(frameCount);
    }

    void dropped(DropReason reason) {
        dropped.incrementAndGet(reason.ordinal());
    }

    public RecordingStats stats() {
        Map<DropReason, Long> byReason = new EnumMap<>(DropReason.class);
        for (DropReason reason : DropReason.values()) {
            if (dropped.get(reason.ordinal()) > 0) {
                byReason.put(reason, dropped.get(reason.ordinal()));
            }
        }
        return new RecordingStats(episodes.get(), frames.get(), byReason);
    }
}
