package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class LatenciesTest {
    @Test
    void percentilesOfAKnownDistribution() {
        Latencies l = new Latencies(10_000, 1);
        for (int us = 10_000; us >= 1; us--) {
            l.record(us * 1000L);
        }
        double[] ms = l.ms(50, 90, 99, 99.9, 99.99, 100);
        assertArrayEquals(new double[] {5, 9, 9.9, 9.99, 9.999, 10}, ms, 0.01);
        assertEquals(0.001, l.minMs(), 1e-5);
        assertEquals(10_000, l.count());
        assertNull(l.range(50), "there was one repetition");
    }

    @Test
    void repetitionsShowWhatChangedBetweenThem() {
        Latencies l = new Latencies(400, 4);
        for (int i = 0; i < 400; i++) {
            l.record((1 + i / 100) * 1_000_000L);
        }
        assertArrayEquals(new double[] {1, 4}, l.range(50), 0.01);
        assertEquals(2, l.ms(50), 0.01);
    }

    @Test
    void oddDurationsAreKeptWithinBounds() {
        Latencies l = new Latencies(1, 5);
        l.record(-5);
        l.record(Long.MAX_VALUE);
        assertEquals(2, l.count());
        assertEquals(100_000, l.ms(100), 100);
        assertEquals(0, new Latencies(1, 1).ms(99), "no samples");
    }

    @Test
    void aCaseWithoutSamplesCannotBeAnnounced() {
        assertThrows(IllegalArgumentException.class, () -> new Latencies(0, 1));
        assertThrows(IllegalArgumentException.class, () -> new Latencies(1, 0));
    }
}
