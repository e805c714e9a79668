package ai.lram.backend.ops;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FoldScheduleTest {
    @Test
    void firstFoldsAreSpreadOverAllPhases() {
        FoldSchedule schedule = new FoldSchedule(40, 20, 6);
        int earliest = 40;
        for (int index = -7; index < 12; index++) {
            int first = schedule.firstOf(index);
            assertEquals(schedule.firstOf(index + 6), first);
            assertTrue(first <= 40 && first >= 25, "first " + first);
            earliest = Math.min(earliest, first);
        }
        assertEquals(25, earliest);
        assertEquals(3, new FoldSchedule(6, 6, 3).firstOf(2), "never below a step's tokens");
    }

    /** By hand: of 12 c / (2 d) tokens between folds the square root costs least. */
    @ParameterizedTest(name = "head of {0}, {1}: {2}, {3}")
    @CsvSource({"640,640,62,20", "256,256,40,13", "64,128,23,7", "1,1,6,2"})
    void aHeadsScheduleFollowsFromItsSize(int dimQk, int dimHv, int period, int stagger) {
        assertEquals(new FoldSchedule(period, period, stagger), FoldSchedule.forHead(dimQk, dimHv));
    }

    @ParameterizedTest(name = "first={0} period={1} stagger={2}")
    @CsvSource({"2,6,1", "6,2,1", "6,6,0", "6,6,1048577"})
    void aScheduleWithoutRoomForAStepOrWithTooManyPhasesIsRefused(int first, int period, int stagger) {
        assertThrows(IllegalArgumentException.class, () -> new FoldSchedule(first, period, stagger));
    }
}
