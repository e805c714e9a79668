package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.cuda.BlockSteps.Cut;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** How the resident control step cuts heads' matrix states into units of its cell. */
class BlockCutTest {
    /** The cuts of the models whose times are in docs/performance.md, on 132 multiprocessors: a change of them is to be timed. */
    @ParameterizedTest(name = "{0} heads of {1}")
    @CsvSource({"4,256,32,2", "8,256,32,2", "32,256,64,1", "4,640,64,3", "8,640,128,3", "16,640,96,1"})
    void theCutsThatWereTimedStay(int all, int dim, int columns, int bands) {
        assertEquals(new Cut(columns, bands), Cut.of(132, all, dim));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 12, 78, 108, 132, 144})
    void noBlockHasTwoUnitsWhereACoarserCutHasOne(int blocks) {
        for (int all = 1; all <= 40; all++) {
            for (int dim = 4; dim <= 700; dim += 4) {
                Cut cut = Cut.of(blocks, all, dim);
                String what = cut + " of " + all + " heads of " + dim + " on " + blocks + " blocks";
                boolean possible = new Cut(Math.min(128, dim), 1).units(all, dim) <= blocks;
                assertTrue(!possible || cut.units(all, dim) <= blocks, what);
                assertTrue(cut.columns() == dim || cut.columns() % 32 == 0, what);
                assertTrue(cut.columns() <= 128 && cut.bands() >= 1, what);
            }
        }
    }

    @Test
    void moreHeadsThanBlocksAreCutAsCoarselyAsCanBe() {
        assertEquals(new Cut(128, 1), Cut.of(12, 13, 640));
        assertEquals(new Cut(20, 1), Cut.of(12, 13, 20));
    }
}
