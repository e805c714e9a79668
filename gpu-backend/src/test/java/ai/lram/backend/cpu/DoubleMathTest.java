package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import jdk.incubator.vector.DoubleVector;
import org.junit.jupiter.api.Test;

class DoubleMathTest {
    /** erfc(x / sqrt 2) / 2 to 18 digits. */
    private static final double[][] TAIL = {
        {0, 0.5},
        {0.1, 0.460172162722971019},
        {0.5, 0.308537538725986896},
        {1, 0.158655253931457051},
        {1.7, 0.0445654627585430395},
        {2.5, 0.00620966532577613517},
        {3.3, 0.000483424142383777201},
        {5, 2.86651571879193912e-7},
        {7.9, 1.39451714665926825e-15},
        {10, 7.61985302416052607e-24},
        {12, 1.776482112077679e-33},
        {15, 3.67096619931275089e-51},
    };

    private static double upperTail(double x) {
        return DoubleMath.upperTail(DoubleVector.broadcast(DoubleMath.D, x)).lane(0);
    }

    @Test
    void upperTailOfTheNormalDistributionHasTwelveDigits() {
        for (double[] t : TAIL) {
            assertEquals(1, upperTail(t[0]) / t[1], 1e-12, "at " + t[0]);
        }
        assertEquals(0, upperTail(16.5));
        assertTrue(Double.isNaN(upperTail(Double.NaN)));
    }

    @Test
    void upperTailAgreesWithTheTable() {
        for (double x = 0; x <= 6; x += 0.0137) {
            assertEquals(1, upperTail(x) / NormalCdf.lowerTail(-x), 1e-10, "at " + x);
        }
    }
}
