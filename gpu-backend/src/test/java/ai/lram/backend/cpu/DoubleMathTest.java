package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import jdk.incubator.vector.DoubleVector;
import org.junit.jupiter.api.Test;

class DoubleMathTest {
    private static double upperTail(double x) {
        return DoubleMath.upperTail(DoubleVector.broadcast(DoubleMath.D, x)).lane(0);
    }

    /** The table agrees with the exact values to 1e-12 as far as 8. Largest difference seen: 4e-13. */
    @Test
    void upperTailOfTheNormalDistributionHasTwelveDigits() {
        double worst = 0;
        for (double x = 0; x <= 8; x += 0.0137) {
            double want = NormalCdf.lowerTail(-x);
            worst = Math.max(worst, Math.abs(upperTail(x) / want - 1));
        }
        assertTrue(worst < 2e-12, "relative difference " + worst);
        // Mills' ratio at 12 and 15 from its continued fraction.
        assertEquals(1, upperTail(12) / 1.776482112077678997e-33, 1e-11);
        assertEquals(1, upperTail(15) / 3.67096619931275e-51, 1e-11);
        assertEquals(0, upperTail(16.5));
        assertTrue(Double.isNaN(upperTail(Double.NaN)));
    }
}
