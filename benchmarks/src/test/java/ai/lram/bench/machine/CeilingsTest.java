package ai.lram.bench.machine;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.Latencies;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;

class CeilingsTest {
    @Test
    void theReadLoopReadsEveryByte() {
        try (Arena arena = Arena.ofConfined()) {
            long bytes = 3L * ReadLoop.STRIDE;
            MemorySegment m = arena.allocate(bytes, 64);
            Random random = new Random(1);
            long expected = 0;
            for (long i = 0; i < bytes / 8; i++) {
                long v = random.nextLong();
                m.setAtIndex(ValueLayout.JAVA_LONG, i, v);
                expected ^= v;
            }
            assertEquals(expected, ReadLoop.xor(m, 0, bytes));
            assertEquals(0, ReadLoop.xor(m, 0, 0));
            assertEquals(expected, ReadLoop.xor(m, 0, ReadLoop.STRIDE) ^ ReadLoop.xor(m, ReadLoop.STRIDE, bytes));
        }
    }

    @Test
    void theArithmeticLoopsComputeWhatTheySay() {
        double sum = 0;
        for (int chain = 1; chain <= FmaLoop.CHAINS; chain++) {
            double x = chain;
            for (int t = 0; t < 100; t++) {
                x = x * 0.999 + 0.001;
            }
            sum += x * FmaLoop.SPECIES.length();
        }
        assertEquals(sum, FmaLoop.run(100), 1e-3 * sum);
        assertEquals(RegisterWork.run(1000, 1), RegisterWork.run(1000, 1));
        assertNotEquals(RegisterWork.run(1000, 1), RegisterWork.run(1001, 1));
    }

    @Test
    void ratesArePositiveAndMeasuredOnce() {
        Ceilings c = new Ceilings(true);
        for (int threads : new int[] {1, 2}) {
            assertTrue(
                    c.fma(threads).best() > 0 && Double.isFinite(c.fma(threads).best()));
            Ceilings.Rate read = c.read(1 << 20, threads);
            assertTrue(read.best() >= read.worst() && read.worst() > 0, read.toString());
            assertSame(read, c.read(1 << 20, threads));
        }
        assertTrue(c.copy(12_000).best() > 0);
        assertTrue(c.clock().best() > 1e6 && c.clock().best() < 2e10, "cycles per second: " + c.clock());
        assertTrue(c.fmaLimit(2) > c.fmaLimit(1) && c.l2Limit(1) > 0);
    }

    @Test
    void sizesOfLevelsAreInOrder() {
        Ceilings c = new Ceilings(true);
        assertTrue(c.l2Bytes() < c.caches().l2Bytes());
        assertTrue(c.l3Bytes(2) > 2 * c.caches().l2Bytes());
        assertTrue(c.memoryBytes() > c.caches().l3Bytes());
    }

    @Test
    void aTeamRunsEveryMemberOnceAndPassesFailuresOn() {
        try (Team team = new Team(3)) {
            AtomicIntegerArray runs = new AtomicIntegerArray(3);
            for (int i = 0; i < 50; i++) {
                team.run(runs::incrementAndGet);
            }
            assertEquals("[50, 50, 50]", runs.toString());
            assertThrows(
                    IllegalStateException.class,
                    () -> team.run(member -> {
                        if (member == 2) {
                            throw new IllegalArgumentException("no");
                        }
                    }));
            team.run(runs::incrementAndGet);
            assertEquals("[51, 51, 51]", runs.toString());
        }
        assertThrows(IllegalArgumentException.class, () -> new Team(0));
    }

    @Test
    void waitsAndControlsAreMeasured() {
        assertTrue(Waits.granularityNs(100) > 0);
        assertTrue(Waits.readingNs(1000) > 0);
        for (boolean parked : new boolean[] {false, true}) {
            Latencies woken = Waits.wakeUp(20, 2, parked);
            assertEquals(20, woken.count());
            assertTrue(woken.ms(100) > 0);
        }
        assertTrue(Waits.oversleep(3, 1).ms(100) > 0);
        Latencies control = new Latencies(10, 1);
        try (Control c = new Control(2, 0.2)) {
            c.measure(10, control);
        }
        assertEquals(10, control.count());
        assertTrue(control.minMs() > 0.01, "about 0.2 ms asked for, got " + control.minMs());
    }

    @Test
    void theBenchmarkShowsEveryCeilingBesideWhatBoundsIt() {
        Run run = new Run(what -> {});
        new MachineBench(List.of(1, 2), true).run(run);
        List<String> names = run.headlines().stream().map(Result::caseName).toList();
        for (String name : List.of(
                "clock",
                "fma-1t",
                "fma-2t",
                "read-l2-1t",
                "read-l3-2t",
                "read-memory-1t",
                "read-memory-2t",
                "clock-granularity",
                "clock-reading",
                "wake-up",
                "oversleep",
                "control-1t",
                "control-2t")) {
            assertTrue(names.contains(name), name + " in " + names);
        }
        for (Result r : run.results()) {
            assertTrue(r.value() > 0 && Double.isFinite(r.value()), r.toString());
            boolean base = r.caseName().startsWith("clock") || r.caseName().startsWith("handoff");
            assertEquals(base, Double.isNaN(r.floor()), r.toString());
        }
    }
}
