package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.Replay;
import ai.lram.backend.Stream;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class StepRecordingTest {
    private final List<String> events = new ArrayList<>();

    /** Notes what it is asked. */
    private final class Noting implements Stream {
        private final boolean records;

        Noting(boolean records) {
            this.records = records;
        }

        @Override
        public Backend backend() {
            throw new AssertionError("not asked for");
        }

        @Override
        public boolean records() {
            return records;
        }

        @Override
        public void synchronize() {
            events.add("wait");
        }

        @Override
        public Replay record(Runnable work) {
            events.add("record");
            work.run();
            return new Replay() {
                @Override
                public void run() {
                    events.add("replay");
                }

                @Override
                public void finish() {
                    events.add("replay and wait");
                }

                @Override
                public void close() {
                    events.add("close");
                }
            };
        }
    }

    @Test
    void theFirstRunIsQueuedTheSecondRecordedAndAllAreReplayedAfterwards() {
        try (StepRecording step = new StepRecording(new Noting(true), () -> events.add("kernels"))) {
            step.finish();
            assertFalse(step.recorded());
            assertEquals(List.of("kernels", "wait"), events);
            step.run();
            assertTrue(step.recorded());
            step.finish();
        }
        assertEquals(List.of("kernels", "wait", "record", "kernels", "replay", "replay and wait", "close"), events);
    }

    @Test
    void withoutRecordingKernelsAreQueuedEachTime() {
        try (StepRecording step = new StepRecording(new Noting(false), () -> events.add("kernels"))) {
            assertTrue(step.recorded(), "there is nothing to prepare");
            step.run();
            step.finish();
            step.finish();
        }
        assertEquals(List.of("kernels", "kernels", "wait", "kernels", "wait"), events);
    }
}
