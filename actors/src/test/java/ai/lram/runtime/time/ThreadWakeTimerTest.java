package ai.lram.runtime.time;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class ThreadWakeTimerTest {
    private final LinkedBlockingQueue<String> fired = new LinkedBlockingQueue<>();

    @Test
    void firesAlarmsInTheOrderOfTheirTimesAndNotBefore() throws InterruptedException {
        try (ThreadWakeTimer timer = new ThreadWakeTimer("test-timer", MonotonicClock.system())) {
            WakeTimer.Alarm late = timer.register(() -> fired.add("late"));
            WakeTimer.Alarm early = timer.register(() -> fired.add("early"));
            long startNs = System.nanoTime();
            late.set(startNs + 40_000_000);
            early.set(startNs + 20_000_000);
            assertEquals("early", fired.poll(20, TimeUnit.SECONDS));
            assertTrue(System.nanoTime() - startNs >= 20_000_000);
            assertEquals("late", fired.poll(20, TimeUnit.SECONDS));
            assertTrue(System.nanoTime() - startNs >= 40_000_000);
        }
    }

    @Test
    void movingAnAlarmReplacesItsTime() throws InterruptedException {
        try (ThreadWakeTimer timer = new ThreadWakeTimer("test-timer", MonotonicClock.system())) {
            WakeTimer.Alarm moved = timer.register(() -> fired.add("moved"));
            WakeTimer.Alarm cleared = timer.register(() -> fired.add("cleared"));
            WakeTimer.Alarm last = timer.register(() -> fired.add("last"));
            long nowNs = System.nanoTime();
            moved.set(nowNs + 3_600_000_000_000L);
            cleared.set(nowNs + 10_000_000);
            cleared.set(WakeTimer.NEVER);
            moved.set(nowNs + 5_000_000);
            last.set(nowNs + 30_000_000);
            assertEquals("moved", fired.poll(20, TimeUnit.SECONDS));
            assertEquals("last", fired.poll(20, TimeUnit.SECONDS));
            assertNull(fired.poll());
        }
    }

    @Test
    void anAlarmInThePastFiresAtOnce() throws InterruptedException {
        try (ThreadWakeTimer timer = new ThreadWakeTimer("test-timer", MonotonicClock.system())) {
            WakeTimer.Alarm alarm = timer.register(() -> fired.add("now"));
            alarm.set(System.nanoTime() - 1);
            assertEquals("now", fired.poll(20, TimeUnit.SECONDS));
        }
    }
}
