package ai.lram.runtime.dispatch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SpinParkExecutorTest {
    private final LinkedBlockingQueue<Throwable> uncaught = new LinkedBlockingQueue<>();

    private SpinParkExecutor executor(long spinNs) {
        return new SpinParkExecutor(
                task -> Thread.ofPlatform()
                        .name("spin-park")
                        .uncaughtExceptionHandler((thread, failure) -> uncaught.add(failure))
                        .unstarted(task),
                spinNs);
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 50_000})
    void runsEveryTaskOfManyThreadsInTheirOrderOnOneThread(long spinNs) throws InterruptedException {
        SpinParkExecutor executor = executor(spinNs);
        int writers = 4;
        int tasks = 5_000;
        List<List<Integer>> seen = new ArrayList<>();
        CountDownLatch done = new CountDownLatch(writers * tasks);
        for (int w = 0; w < writers; w++) {
            List<Integer> mine = new ArrayList<>();
            seen.add(mine);
            Thread.ofPlatform().start(() -> {
                for (int i = 0; i < tasks; i++) {
                    int number = i;
                    executor.execute(() -> {
                        mine.add(number);
                        done.countDown();
                    });
                }
            });
        }
        assertTrue(done.await(30, TimeUnit.SECONDS), done.getCount() + " tasks were not run");
        for (List<Integer> mine : seen) {
            assertEquals(tasks, mine.size());
            for (int i = 0; i < tasks; i++) {
                assertEquals(i, mine.get(i));
            }
        }
        executor.shutdown();
        assertTrue(executor.awaitTermination(20, TimeUnit.SECONDS));
        assertTrue(executor.isTerminated());
        assertThrows(RejectedExecutionException.class, () -> executor.execute(() -> {}));
    }

    @Test
    void goesOnAfterATaskThatThrows() throws InterruptedException {
        SpinParkExecutor executor = executor(0);
        executor.execute(() -> {
            throw new IllegalStateException("task");
        });
        CountDownLatch next = new CountDownLatch(1);
        executor.execute(next::countDown);
        assertTrue(next.await(20, TimeUnit.SECONDS));
        assertEquals("task", uncaught.poll(20, TimeUnit.SECONDS).getMessage());
        executor.shutdownNow();
        assertTrue(executor.awaitTermination(20, TimeUnit.SECONDS));
    }
}
