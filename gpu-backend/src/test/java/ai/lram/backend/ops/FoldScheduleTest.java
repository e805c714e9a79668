package ai.lram.backend.ops;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FoldScheduleTest {
    private static final int TOKENS = 3;

    /** Most sessions whose head of this index folds in the same step, again and again after as many steps as there are phases. */
    private static int mostAtOnce(FoldSchedule schedule, int index, int sessions, int stepsApart) {
        int[] folds = IntStream.range(0, sessions)
                .map(slot ->
                        Math.floorMod(slot * stepsApart + schedule.firstOf(index, slot) / TOKENS, schedule.stagger()))
                .toArray();
        return IntStream.of(folds)
                .map(step -> (int) IntStream.of(folds).filter(f -> f == step).count())
                .max()
                .orElseThrow();
    }

    @ParameterizedTest(
            name =
                    "heads of {0}, {1} sessions: {2} phases, {3} at once of those begun together, {4} of those begun apart")
    @CsvSource({"640,64,20,4,5", "640,256,20,14,14", "256,256,13,20,20", "64,16,6,4,3"})
    void sessionsFoldInDifferentSteps(int dim, int sessions, int phases, int together, int apart) {
        FoldSchedule schedule = FoldSchedule.forHead(dim, dim, DType.F32);
        assertEquals(phases, schedule.stagger());
        for (int index = 0; index < 80; index++) {
            assertEquals(together, mostAtOnce(schedule, index, sessions, 0), "begun together, head " + index);
            int most = mostAtOnce(schedule, index, sessions, 1);
            assertTrue(most <= apart, most + " begun a step apart, head " + index);
        }
    }

    @Test
    void aFirstFoldIsAtMostAllPhasesEarly() {
        FoldSchedule schedule = new FoldSchedule(40, 20, 6);
        int earliest = 40;
        for (int index = 0; index < 12; index++) {
            for (int slot = 0; slot < 100; slot++) {
                int first = schedule.firstOf(index, slot);
                assertEquals(40 % TOKENS, first % TOKENS);
                assertTrue(first <= 40 && first >= 40 - 5 * TOKENS, "first " + first);
                earliest = Math.min(earliest, first);
            }
        }
        assertEquals(25, earliest);
        assertEquals(3, new FoldSchedule(6, 6, 3).firstOf(2, 0), "never below a step's tokens");
    }

    @Test
    void aScheduleWithoutRoomForAStepIsRefused() {
        assertThrows(IllegalArgumentException.class, () -> new FoldSchedule(2, 6, 1));
        assertThrows(IllegalArgumentException.class, () -> new FoldSchedule(6, 2, 1));
        assertThrows(IllegalArgumentException.class, () -> new FoldSchedule(6, 6, 0));
    }
}
