package ai.lram.bench.latency;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.latency.LoopLog.Part;
import ai.lram.bench.subject.Shapes;
import ai.lram.runtime.protocol.StepTiming;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongUnaryOperator;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Time is moved by hand: a step takes what a script says. */
class PacedLoopTest {
    private static final long MS = 1_000_000;
    private static final long PERIOD = 10 * MS;

    private final ManualClock clock = new ManualClock();

    private static final class ManualClock implements PacedLoop.Clock {
        private long now = 5;

        @Override
        public long nowNs() {
            return now;
        }

        @Override
        public void sleepUntil(long ns) {
            now = Math.max(now, ns);
        }
    }

    /** Step k takes {@code durations(k)}. */
    private final class ScriptedRobot implements Robot {
        private final LongUnaryOperator durations;
        private long step;

        ScriptedRobot(LongUnaryOperator durations) {
            this.durations = durations;
        }

        @Override
        public Reply act(float[] observation, byte[] image, float reward, boolean reset) {
            assertEquals(step == 0, reset);
            long ns = durations.applyAsLong(step++);
            clock.now += ns;
            return new Reply(new float[] {0}, new StepTiming(ns / 10, ns / 10, ns / 2, ns * 4 / 5));
        }

        @Override
        public void close() {}
    }

    private LoopLog run(long steps, long giveUpNs, LongUnaryOperator durations) {
        LoopLog log = new LoopLog(steps, PERIOD);
        Source source = Source.drawn(Shapes.vector("t", 3, 1, 100), 1);
        new PacedLoop(new ScriptedRobot(durations), source, clock).run(10, PERIOD, steps, giveUpNs, log);
        return log;
    }

    @Test
    void aStallIsSeenByEveryStepItDelays() {
        // Step 100 stalls for a second, which is 100 periods; all others take a millisecond.
        LoopLog log = run(1000, Long.MAX_VALUE, k -> k == 100 ? 1000 * MS : MS);
        assertEquals(1000, log.total().count());
        assertEquals(1000, log.total().ms(100), 1, "the step that stalled");
        // The step behind waited 990 ms, and so on by 9 ms a step until the loop has caught up: 111 late steps.
        long late = Math.round(1000 * log.lateShare());
        assertTrue(late >= 109 && late <= 112, late + " late steps");
        assertEquals(990, log.total().ms(99.9), 20);
        assertTrue(log.total().ms(95) > 400, "p95 is " + log.total().ms(95));
        assertEquals(1, log.total().ms(50), 0.01, "most steps know nothing of it");
        assertFalse(log.keepsTheRate());
        // What a loop without a schedule would have said: one slow step in a thousand, p99 a millisecond.
        assertEquals(1, log.part(Part.STEP).ms(99) * 2, 0.01);
        assertTrue(log.part(Part.WAKE).ms(99.9) > 900, "the delay shows as waiting before the step is sent");
    }

    @Test
    void aLoopInTimeWaitsForItsSchedule() {
        LoopLog log = run(50, Long.MAX_VALUE, k -> 2 * MS);
        assertEquals(2, log.total().ms(100), 0.01);
        assertEquals(0, log.lateShare());
        assertTrue(log.keepsTheRate());
        assertEquals(10 + 49 * PERIOD + 2 * MS, clock.now, "step 49 was due at 49 periods");
        double sum = 0;
        for (Part p : Part.values()) {
            sum += log.part(p).ms(50);
        }
        assertEquals(2, sum, 0.02, "the parts are the whole");
    }

    @Test
    void stepsThatWereNeverSentCountWithWhatTheyWaited() {
        // Every step takes three periods; the loop gives up after 30.
        LoopLog log = run(1000, 10 + 30 * PERIOD, k -> 3 * PERIOD);
        assertTrue(
                log.total().count() > 25 && log.total().count() < 40,
                log.total().count() + " steps were due");
        assertEquals(1, log.lateShare(), 1e-9);
        assertTrue(
                log.total().ms(100) > 200,
                "ms waited by the oldest: " + log.total().ms(100));
        assertTrue(log.part(Part.STEP).count() < log.total().count());
    }

    @Test
    void hurryingTakesStepsWithoutMeasuring() {
        Source source = Source.drawn(Shapes.vector("t", 3, 1, 100), 1);
        ScriptedRobot robot = new ScriptedRobot(k -> MS);
        new PacedLoop(robot, source, clock).hurry(7, 0);
        assertEquals(7, robot.step);
        new PacedLoop(robot, source, clock).hurry(0, clock.now + 5 * MS);
        assertEquals(12, robot.step);
    }

    @Test
    void aContextBeginsExactlyThatManyStepsAfterAReset() {
        List<Boolean> resets = new ArrayList<>();
        Robot robot = new Robot() {
            @Override
            public Reply act(float[] observation, byte[] image, float reward, boolean reset) {
                resets.add(reset);
                return new Reply(new float[] {0}, new StepTiming(0, 0, 0, 0));
            }

            @Override
            public void close() {}
        };
        PacedLoop loop = new PacedLoop(robot, Source.drawn(Shapes.vector("t", 3, 1, 100), 1), clock);
        loop.hurry(9, 0);
        loop.restart();
        loop.advanceTo(5);
        assertEquals(14, resets.size(), "5 steps of the new episode");
        assertEquals(List.of(0, 9), starts(resets));
        loop.run(clock.now, PERIOD, 3, Long.MAX_VALUE, new LoopLog(3, PERIOD));
        loop.advanceTo(10);
        assertEquals(19, resets.size(), "8 were taken, 2 were missing");
        assertEquals(List.of(0, 9), starts(resets), "the episode goes on");
        loop.advanceTo(4);
        assertEquals(23, resets.size());
        assertEquals(List.of(0, 9, 19), starts(resets), "there is no way back but to begin anew");
    }

    private static List<Integer> starts(List<Boolean> resets) {
        return IntStream.range(0, resets.size()).filter(resets::get).boxed().toList();
    }
}
