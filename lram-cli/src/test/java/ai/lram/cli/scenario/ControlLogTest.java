package ai.lram.cli.scenario;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.runtime.protocol.FallbackCause;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ControlLogTest {
    @Test
    void mergedLogsHoldEverything() {
        ControlLog a = new ControlLog("t");
        ControlLog b = new ControlLog("t");
        for (int i = 1; i <= 900; i++) {
            a.step(i * 1_000L, false);
        }
        for (int i = 901; i <= 1000; i++) {
            b.step(i * 1_000L, i % 2 == 0);
        }
        a.missed(Miss.QUEUE);
        b.missed(Miss.QUEUE);
        b.missed(Miss.LATE_CLIENT);
        b.episode(new EpisodeResult("t", 7, -3, 100, false));
        a.add(b);
        assertEquals(1000, a.steps());
        assertEquals(50, a.clamped());
        assertEquals(0.5, a.latencyMs(50), 0.001);
        assertEquals(0.99, a.latencyMs(99), 0.002);
        assertEquals(1.0, a.maxMs(), 0.002);
        assertEquals(Map.of(Miss.QUEUE, 2L, Miss.LATE_CLIENT, 1L), a.missed());
        assertEquals(3, a.missedTotal());
        assertEquals(7, a.episodes().getFirst().seed());
    }

    @Test
    void everyMissedDeadlineOfTheServerHasACause() {
        for (FallbackCause cause : FallbackCause.values()) {
            if (cause.missedDeadline()) {
                assertEquals(cause.name(), Miss.of(cause).name());
            } else {
                assertThrows(IllegalArgumentException.class, () -> Miss.of(cause));
            }
        }
    }

    @Test
    void anEmptyLogHasNoLatency() {
        assertEquals(0, new ControlLog("t").latencyMs(99));
        assertEquals(0, new ControlLog("t").maxMs());
    }
}
