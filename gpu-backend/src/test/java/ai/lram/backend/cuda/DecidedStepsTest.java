package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.DeviceLostException;
import ai.lram.backend.Replay;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.HeadMemory;
import ai.lram.backend.ops.HeadWeights;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.StepChoice;
import ai.lram.backend.ops.StepWeight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** How the host learns that a step is decided: from the step's last kernel, or else from the driver. */
class DecidedStepsTest extends OnEmulator {
    private static final int WIDTH = 32;
    private static final int LOGITS = 7;

    /** In every dimension the last but one is the largest. */
    private static final int LARGEST = LOGITS - 2;

    /** The end of a step alone: a head without weights, whose bias decides. */
    private final class End {
        private final CudaBackend on;
        private final HeadWeights weights;
        private final HeadMemory memory;
        final StepChoice choice;

        End(CudaBackend on, int rows, int dims) {
            this.on = on;
            float[] bias = new float[dims * LOGITS];
            for (int dim = 0; dim < dims; dim++) {
                bias[dim * LOGITS + LARGEST] = 1;
            }
            weights = new HeadWeights(
                    new NormSpec(1, 1e-5f, true, false),
                    fx.zeros(WIDTH),
                    null,
                    StepWeight.of(fx.zeros(dims * LOGITS, WIDTH)),
                    fx.of(bias, dims * LOGITS));
            Tensor part = fx.zeros(rows, WIDTH);
            memory = HeadMemory.of(fx.zeros(rows, 3, WIDTH), 2, part, part, fx.zeros(rows, dims * LOGITS));
            choice = new StepChoice(
                    fx.arena.hostVisible(DType.I32, rows),
                    fx.ofInts(new int[] {0, LOGITS}, 1, 2),
                    fx.of(new float[] {0, 10, 20, 30, 40, 50, 60}, LOGITS),
                    false,
                    fx.arena.hostVisible(DType.I32, rows, dims),
                    fx.arena.hostVisible(DType.F32, rows, dims));
        }

        void decide() {
            on.ops().session().decide(on.stream(), weights, memory, choice);
        }

        /** Recorded, what was asked of the driver forgotten. */
        Replay record() {
            Replay replay = on.stream().record(this::decide);
            driver.calls.clear();
            return replay;
        }

        void forget() {
            choice.chosen().segment().fill((byte) 0);
            choice.numbers().segment().fill((byte) 0);
        }

        /** All rows and dimensions, in the host's memory. */
        void assertDecided() {
            int n = choice.rows() * choice.dims();
            int[] chosen = new int[n];
            float[] numbers = new float[n];
            Arrays.fill(chosen, LARGEST);
            Arrays.fill(numbers, 10 * LARGEST);
            assertArrayEquals(chosen, choice.chosen().segment().toArray(ValueLayout.JAVA_INT));
            assertArrayEquals(numbers, choice.numbers().toFloatArray());
        }
    }

    private DecidedSteps steps() {
        return engine.engine().decided();
    }

    @ParameterizedTest(name = "{0} rows, {1} dimensions")
    @CsvSource({"1,1", "1,3", "8,3", "9,1", "20,3"})
    void aStepSaysOnceThatAllIsDecidedAndTheDriverIsNotAsked(int rows, int dims) {
        End end = new End(engine, rows, dims);
        try (Replay replay = end.record()) {
            for (int step = 1; step <= 3; step++) {
                driver.calls.clear();
                end.forget();
                replay.finish();
                assertEquals(List.of("launchGraph"), driver.calls);
                assertEquals(step, steps().said());
                end.assertDecided();
            }
        }
    }

    @Test
    void stepsOfAllKindsCountTogether() {
        End few = new End(engine, 1, 1);
        End many = new End(engine, 9, 1);
        few.decide();
        many.decide();
        try (Replay one = few.record();
                Replay both = fx.stream.record(() -> {
                    few.decide();
                    many.decide();
                })) {
            one.run();
            both.run();
            driver.calls.clear();
            both.finish();
            one.finish();
            assertEquals(List.of("launchGraph", "launchGraph"), driver.calls);
            assertEquals(2 + 1 + 2 + 2 + 1, steps().said());
        }
    }

    @Test
    void aStepIsNotTakenForTheOneBefore() {
        End end = new End(engine, 1, 3);
        try (Replay replay = end.record()) {
            driver.slow = true;
            replay.run();
            replay.finish();
            assertEquals(List.of("launchGraph", "launchGraph", "queryStream", "queryStream"), driver.calls);
            assertEquals(2, steps().said());
            driver.calls.clear();
            end.forget();
            replay.finish();
            assertEquals(List.of("launchGraph", "queryStream"), driver.calls);
            assertEquals(3, steps().said());
            end.assertDecided();
        }
    }

    @Test
    void aSlotOutsideThePoolIsReportedByItsStep() {
        End end = new End(engine, 9, 3);
        try (Replay replay = end.record()) {
            end.choice.slots().segment().setAtIndex(ValueLayout.JAVA_INT, 8, 5);
            ShapeMismatchException e = assertThrows(ShapeMismatchException.class, replay::finish);
            assertTrue(e.getMessage().contains("slot 5 at row 8"), e.getMessage());
            assertEquals(List.of("launchGraph", "fillBytes"), driver.calls);
            end.choice.slots().segment().fill((byte) 0);
            end.forget();
            replay.finish();
            assertEquals(2, steps().said());
            end.assertDecided();
        }
    }

    /** Kernels that use indices do nothing after an earlier one's fault; the step still ends, and reports it. */
    @Test
    void aFaultOfAKernelBeforeIsReportedByTheStep() {
        End end = new End(engine, 1, 3);
        Tensor bad = fx.ofInts(new int[] {9}, 1);
        Tensor table = fx.zeros(3, 4);
        Tensor y = fx.zeros(1, 4);
        try (Replay replay = fx.stream.record(() -> {
            engine.ops().embedding().lookup(fx.stream, bad, table, y);
            end.decide();
        })) {
            driver.calls.clear();
            ShapeMismatchException e = assertThrows(ShapeMismatchException.class, replay::finish);
            assertTrue(e.getMessage().contains("id 9 at row 0"), e.getMessage());
            assertEquals(List.of("launchGraph", "fillBytes"), driver.calls);
        }
    }

    @Test
    void downloadsQueuedBeforeAreDelivered() {
        End end = new End(engine, 1, 1);
        Tensor t = fx.of(new float[] {3, 4}, 2);
        try (Replay replay = end.record();
                Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(8);
            engine.download(fx.stream, t, m);
            driver.calls.clear();
            replay.finish();
            assertEquals(List.of("launchGraph", "queryStream"), driver.calls);
            assertArrayEquals(new float[] {3, 4}, m.toArray(ValueLayout.JAVA_FLOAT));
            driver.calls.clear();
            replay.finish();
            assertEquals(List.of("launchGraph"), driver.calls);
        }
    }

    @Test
    void whatFollowsAStepInItsRecordingIsWaitedFor() {
        End end = new End(engine, 1, 1);
        Tensor t = fx.zeros(3);
        try (Replay kernel = fx.stream.record(() -> {
                    end.decide();
                    engine.ops().elementwise().fill(fx.stream, 1, t);
                });
                Replay copy = fx.stream.record(() -> {
                    end.decide();
                    engine.copy(fx.stream, end.choice.numbers(), end.choice.numbers());
                });
                Replay none = fx.stream.record(() -> {});
                Replay alone = end.record()) {
            for (Replay longer : List.of(kernel, copy, none)) {
                driver.calls.clear();
                longer.finish();
                assertEquals(List.of("launchGraph", "queryStream"), driver.calls);
            }
            driver.calls.clear();
            alone.finish();
            assertEquals(List.of("launchGraph"), driver.calls);
            assertEquals(3, steps().said());
        }
    }

    @Test
    void aRecordingThatFailedCountsNothing() {
        End end = new End(engine, 1, 1);
        assertThrows(
                IllegalStateException.class,
                () -> fx.stream.record(() -> {
                    end.decide();
                    throw new IllegalStateException("no more");
                }));
        try (Replay replay = end.record()) {
            replay.finish();
            assertEquals(List.of("launchGraph"), driver.calls);
            assertEquals(1, steps().said());
        }
    }

    @Test
    void aDeviceThatIsLostIsNotWaitedForInVain() {
        try (Replay replay = new End(engine, 1, 1).record()) {
            driver.slow = true;
            driver.answers.put("queryStream", 700);
            assertThrows(DeviceLostException.class, replay::finish);
            assertEquals(List.of("launchGraph", "queryStream"), driver.calls);
            driver.answers.clear();
        }
    }

    @Test
    void aStepThatTakesLongIsAskedForNowAndThenAndThenWaitedFor() {
        End end = new End(engine, 1, 1);
        try (Replay replay = end.record()) {
            driver.slow = true;
            driver.answers.put("queryStream", Driver.NOT_READY);
            replay.finish();
            assertEquals("launchGraph", driver.calls.getFirst());
            assertEquals(200, Collections.frequency(driver.calls, "queryStream"), "times in 20 ms");
            assertEquals("synchronizeStream", driver.calls.getLast());
            assertEquals(202, driver.calls.size());
            end.assertDecided();
        }
    }

    @Test
    void aHostThatComesBackLateLooksOnceMore() {
        End end = new End(engine, 1, 1);
        try (Replay replay = end.record()) {
            driver.tickNs = 1_000_000_000;
            replay.finish();
            assertEquals(List.of("launchGraph"), driver.calls);
            end.assertDecided();
        }
    }

    @Test
    @SuppressWarnings("try")
    void aStepCanBeWaitedForInTheDriverAlone() {
        try (Setting changed = Setting.of(Engine.WAIT, "block");
                CudaBackend other = Emulator.open(driver)) {
            End end = new End(other, 1, 1);
            try (Replay replay = end.record()) {
                replay.finish();
                assertEquals(List.of("launchGraph", "synchronizeStream"), driver.calls);
                end.assertDecided();
            }
        }
    }
}
