package ai.lram.agent.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.ConfigException;
import org.junit.jupiter.api.Test;

class LearningRateTest {
    @Test
    void warmsUpThenFollowsACosine() {
        LearningRate r = new LearningRate(1, 0.1, 4, 10);
        assertEquals(0.25, r.at(0), 1e-12);
        assertEquals(1, r.at(3), 1e-12, "last warm-up step");
        assertEquals(1, r.at(4), 1e-12, "first cosine step");
        assertEquals(0.55, r.at(9), 1e-12, "half way");
        assertEquals(0.1, r.at(14), 1e-12);
        assertEquals(0.1, r.at(1e9), 1e-12);
    }

    @Test
    void neverRisesAfterTheWarmUp() {
        LearningRate r = new LearningRate(1e-3, 1e-5, 0, 100);
        for (int s = 0; s < 200; s++) {
            assertTrue(r.at(s + 1) <= r.at(s));
        }
    }

    @Test
    void refusesValuesOutOfRange() {
        assertThrows(ConfigException.class, () -> new LearningRate(0, 0, 0, 1));
        assertThrows(ConfigException.class, () -> new LearningRate(1, 2, 0, 1));
        assertThrows(ConfigException.class, () -> new LearningRate(1, 0, -1, 1));
        assertThrows(ConfigException.class, () -> new LearningRate(1, 0, 0, 0));
        assertThrows(ConfigException.class, () -> new LearningRate(Double.NaN, 0, 0, 1));
    }
}
