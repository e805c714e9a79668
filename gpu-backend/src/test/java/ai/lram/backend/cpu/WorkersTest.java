package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Arrays;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class WorkersTest {
    @ParameterizedTest(name = "threads={0} n={1} grain={2}")
    @CsvSource({"1,100,7", "2,0,1", "2,1,1", "2,1000,1", "3,1001,10", "4,37,100"})
    void everyIndexIsVisitedOnce(int threads, int n, int grain) {
        try (Workers w = new Workers(threads)) {
            for (int round = 0; round < 50; round++) {
                AtomicIntegerArray visits = new AtomicIntegerArray(n);
                w.forRange(n, grain, (from, to) -> {
                    for (int i = from; i < to; i++) {
                        visits.incrementAndGet(i);
                    }
                });
                int[] got = new int[n];
                Arrays.setAll(got, visits::get);
                int[] want = new int[n];
                Arrays.fill(want, 1);
                assertArrayEquals(want, got);
            }
        }
    }

    @Test
    void twoThreadsWorkAtTheSameTime() throws InterruptedException {
        try (Workers w = new Workers(2)) {
            ConcurrentHashMap<Thread, Integer> seen = new ConcurrentHashMap<>();
            CountDownLatch both = new CountDownLatch(2);
            w.forRange(2, 1, (from, to) -> {
                seen.put(Thread.currentThread(), from);
                both.countDown();
                await(both);
            });
            assertEquals(2, seen.size());
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            if (!latch.await(60, TimeUnit.SECONDS)) {
                throw new AssertionError("the other thread did not come");
            }
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    @ParameterizedTest(name = "threads={0} failing index {1}")
    @CsvSource({"1,0", "2,0", "2,999", "3,500"})
    void anExceptionReachesTheCallerAndThePoolLivesOn(int threads, int bad) {
        try (Workers w = new Workers(threads)) {
            IllegalStateException thrown = new IllegalStateException("provoked");
            for (int round = 0; round < 20; round++) {
                assertSame(
                        thrown,
                        assertThrows(
                                IllegalStateException.class,
                                () -> w.forRange(1000, 1, (from, to) -> {
                                    if (from <= bad && bad < to) {
                                        throw thrown;
                                    }
                                })));
                AtomicInteger sum = new AtomicInteger();
                w.forRange(100, 1, (from, to) -> sum.addAndGet(to - from));
                assertEquals(100, sum.get());
            }
        }
    }

    @Test
    void anErrorReachesTheCaller() {
        try (Workers w = new Workers(2)) {
            assertThrows(
                    AssertionError.class,
                    () -> w.forRange(10, 1, (from, to) -> {
                        throw new AssertionError("provoked");
                    }));
        }
    }

    @Test
    void aLoopWithinALoopRunsOnItsThread() {
        try (Workers w = new Workers(2)) {
            AtomicInteger sum = new AtomicInteger();
            w.forRange(10, 1, (from, to) -> w.forRange(10, 1, (a, b) -> sum.addAndGet(b - a)));
            assertEquals(100, sum.get());
        }
    }

    @Test
    void twoCallersAtOnceBothFinish() throws InterruptedException {
        try (Workers w = new Workers(2)) {
            AtomicInteger sum = new AtomicInteger();
            Runnable caller = () -> {
                for (int i = 0; i < 200; i++) {
                    w.forRange(50, 1, (from, to) -> sum.addAndGet(to - from));
                }
            };
            Thread other = new Thread(caller);
            other.start();
            caller.run();
            other.join();
            assertEquals(2 * 200 * 50, sum.get());
        }
    }

    /** Every unit of a phase adds to what the phase before left in all places. */
    private static final class Sums implements Workers.Phased {
        final int[] sizes;
        final int[][] values;

        Sums(int... sizes) {
            this.sizes = sizes;
            values = new int[sizes.length][];
            for (int p = 0; p < sizes.length; p++) {
                values[p] = new int[sizes[p]];
            }
        }

        @Override
        public int phases() {
            return sizes.length;
        }

        @Override
        public int units(int phase) {
            return sizes[phase];
        }

        @Override
        public void run(int phase, int unit) {
            int before = phase == 0 ? 1 : Arrays.stream(values[phase - 1]).sum();
            values[phase][unit] += before;
        }
    }

    @ParameterizedTest(name = "threads={0}")
    @CsvSource({"1", "2", "3"})
    void aPhaseBeginsWhenTheOneBeforeIsDone(int threads) {
        try (Workers w = new Workers(threads)) {
            for (int round = 0; round < 300; round++) {
                Sums job = new Sums(5, 1, 7, 0, 3);
                w.phases(job);
                assertEquals(5, Arrays.stream(job.values[0]).sum());
                assertEquals(5, Arrays.stream(job.values[1]).sum());
                assertEquals(35, Arrays.stream(job.values[2]).sum());
                assertEquals(0, Arrays.stream(job.values[4]).sum());
            }
        }
    }

    @ParameterizedTest(name = "threads={0}")
    @CsvSource({"1", "2", "3"})
    void anExceptionInAPhaseReachesTheCallerAndNoLaterPhaseRuns(int threads) {
        try (Workers w = new Workers(threads)) {
            for (int round = 0; round < 100; round++) {
                AtomicInteger later = new AtomicInteger();
                IllegalStateException thrown = new IllegalStateException("provoked");
                Workers.Phased job = new Workers.Phased() {
                    @Override
                    public int phases() {
                        return 2;
                    }

                    @Override
                    public int units(int phase) {
                        return 6;
                    }

                    @Override
                    public void run(int phase, int unit) {
                        if (phase == 1) {
                            later.incrementAndGet();
                        } else if (unit == 4) {
                            throw thrown;
                        }
                    }
                };
                assertSame(thrown, assertThrows(IllegalStateException.class, () -> w.phases(job)));
                assertEquals(0, later.get());
                Sums next = new Sums(4, 4);
                w.phases(next);
                assertEquals(16, Arrays.stream(next.values[1]).sum());
            }
        }
    }
}
