package ai.lram.bench.machine;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Bandwidths and arithmetic rates of this machine, measured when first asked for and kept. Each is the best of several repetitions: a
 * ceiling is what the machine can do when it is left alone. Single thread.
 */
public final class Ceilings {
    private static final int REPETITIONS = 5;
    private static final long LONG_NS = 60_000_000;
    private static final long SHORT_NS = 4_000_000;
    private static final long CHUNK_TURNS = 100_000;
    /** For each loop to be compiled, from small calls, before it is measured. */
    private static final long WARM_UP_NS = 250_000_000;

    private static final int SMALL_BYTES = 1 << 16;
    private static final int SMALL_TURNS = 1000;

    private final long repetitionNs;
    private final Caches caches = Caches.here();
    private final Map<String, Rate> known = new HashMap<>();
    /** Takes what loops compute, so that they must compute it. */
    private final AtomicLong sink = new AtomicLong();

    /** Takes a second, in which the loops are compiled. @param quick less time per number: for trying out, not for quoting */
    public Ceilings(boolean quick) {
        repetitionNs = quick ? SHORT_NS : LONG_NS;
        try (Arena arena = Arena.ofShared()) {
            MemorySegment small = arena.allocate(SMALL_BYTES, 4096);
            MemorySegment other = arena.allocate(SMALL_BYTES, 4096);
            warmUp(() -> sink.lazySet(ReadLoop.xor(small, 0, SMALL_BYTES)));
            warmUp(() -> sink.lazySet((long) FmaLoop.run(SMALL_TURNS)));
            warmUp(() -> sink.lazySet(RegisterWork.run(SMALL_TURNS, sink.get())));
            warmUp(() -> other.copyFrom(small));
        }
    }

    private static void warmUp(Runnable loop) {
        for (long until = System.nanoTime() + WARM_UP_NS; System.nanoTime() < until; ) {
            loop.run();
        }
    }

    /**
     * A rate per second.
     *
     * @param best of the repetitions
     * @param worst of the repetitions
     * @param repetitions how many
     */
    public record Rate(double best, double worst, int repetitions) {}

    /** Work of one chunk, on every member of a team. */
    private interface Chunk {
        void run(int member);
    }

    public Caches caches() {
        return caches;
    }

    /** Bytes that lie well within a core's second-level cache. */
    public long l2Bytes() {
        return caches.l2Bytes() / 2;
    }

    /** Bytes that lie within the shared cache and well beyond {@code threads} second-level ones. */
    public long l3Bytes(int threads) {
        return Math.max(caches.l3Bytes() / 2, 3 * threads * caches.l2Bytes());
    }

    /** Bytes that no cache holds. */
    public long memoryBytes() {
        return memoryBytes(caches);
    }

    private static long memoryBytes(Caches caches) {
        return Math.max(256L << 20, 4 * caches.l3Bytes());
    }

    /** Native memory that measuring {@link #read} over so many bytes takes, before it does. */
    public static long readingBytes(long bytes) {
        return Math.min(bytes, memoryBytes(Caches.here()));
    }

    /**
     * Bytes per second that {@code threads} together read when they go over {@code bytes} again and again, each over its own share. More
     * than {@link #memoryBytes} are no different and count as so many.
     *
     * @param bytes of all threads together
     */
    public Rate read(long bytes, int threads) {
        long read = Math.min(bytes, memoryBytes());
        return known.computeIfAbsent("read " + read + " " + threads, k -> measureRead(read, threads));
    }

    private Rate measureRead(long bytes, int threads) {
        long unit = Math.max(ReadLoop.STRIDE, 4096);
        long share = Math.max(unit, bytes / threads / unit * unit);
        try (Arena arena = Arena.ofShared();
                Team team = new Team(threads)) {
            MemorySegment memory = arena.allocate(share * threads, 4096);
            memory.fill((byte) 1);
            return rate(
                    team,
                    share * threads,
                    member -> sink.lazySet(ReadLoop.xor(memory, member * share, (member + 1) * share)));
        }
    }

    /** Bytes per second that one thread copies, read or written, between two places of {@code bytes} each. */
    public Rate copy(long bytes) {
        return known.computeIfAbsent("copy " + bytes, k -> {
            try (Arena arena = Arena.ofShared();
                    Team team = new Team(1)) {
                MemorySegment from = arena.allocate(bytes, 4096);
                MemorySegment to = arena.allocate(bytes, 4096);
                from.fill((byte) 1);
                return rate(team, bytes, member -> to.copyFrom(from));
            }
        });
    }

    /** Single-precision floating-point operations per second, a fused multiply-add counting two. */
    public Rate fma(int threads) {
        return known.computeIfAbsent("fma " + threads, k -> {
            try (Team team = new Team(threads)) {
                return rate(
                        team,
                        CHUNK_TURNS * FmaLoop.flopPerTurn() * threads,
                        member -> sink.lazySet((long) FmaLoop.run(CHUNK_TURNS)));
            }
        });
    }

    /** Cycles per second of one core, from work whose cycles are known. */
    public Rate clock() {
        return known.computeIfAbsent("clock", k -> {
            try (Team team = new Team(1)) {
                return rate(
                        team,
                        CHUNK_TURNS * RegisterWork.CYCLES_PER_TURN,
                        member -> sink.lazySet(RegisterWork.run(CHUNK_TURNS, sink.get())));
            }
        });
    }

    /** Most floating-point operations per second that {@code threads} cores with two FMA units each could do at the clock measured. */
    public double fmaLimit(int threads) {
        return clock().best() * 2 * 2 * FmaLoop.SPECIES.length() * threads;
    }

    /** Most bytes per second that {@code threads} second-level caches could deliver: a line of 64 bytes a cycle each. */
    public double l2Limit(int threads) {
        return clock().best() * 64 * threads;
    }

    private Rate rate(Team team, double perChunk, Chunk chunk) {
        long begin = System.nanoTime();
        while (System.nanoTime() - begin < repetitionNs) {
            team.run(chunk::run);
        }
        double best = 0;
        double worst = Double.POSITIVE_INFINITY;
        for (int r = 0; r < REPETITIONS; r++) {
            double fastest = 0;
            long start = System.nanoTime();
            for (long at = start; at - start < repetitionNs; ) {
                team.run(chunk::run);
                long now = System.nanoTime();
                fastest = Math.max(fastest, perChunk * 1e9 / Math.max(1, now - at));
                at = now;
            }
            best = Math.max(best, fastest);
            worst = Math.min(worst, fastest);
        }
        return new Rate(best, worst, REPETITIONS);
    }
}
