package ai.lram.agent.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RehearsalTest {
    private final ScriptedPolicy.Clock clock = new ScriptedPolicy.Clock();

    @Test
    void aPolicyIsPreparedAndSteppedInBatchesOfEverySize() {
        ScriptedPolicy policy = new ScriptedPolicy(clock, 1000);
        new Rehearsal(policy, clock::now, () -> 0).warm(Rehearsal.EPISODE * (1 + 2 + 3 + 1) * 1000L);
        assertEquals(List.of("warm-up", "step of 1", "step of 2", "step of 3", "step of 1"), policy.asked);
    }

    /** A policy whose code is still being compiled is slow, and whoever compiles it takes its time on a busy machine. */
    @Test
    void theWarmUpGoesOnWhileCodeIsCompiled() {
        long second = 1_000_000_000L;
        for (long busy : new long[] {0, 4, 7, 1000}) {
            ScriptedPolicy policy = new ScriptedPolicy(clock, 1_000_000);
            long begin = clock.now();
            new Rehearsal(policy, clock::now, () -> Math.min(clock.now() - begin, busy * second) / 2_000_000)
                    .warm(3 * second);
            double seconds = (clock.now() - begin) / (double) second;
            assertEquals(busy == 0 ? 3 : Math.min(busy + 1, 15), seconds, 0.05, busy + " s of compiling");
        }
    }

    @Test
    void aWarmPolicyIsHandedOutOpen() {
        ScriptedPolicy policy = new ScriptedPolicy(clock, 1000);
        assertSame(policy, Rehearsal.warm(policy, 1_000_000));
        assertFalse(policy.closed());
    }

    @ParameterizedTest
    @ValueSource(strings = {"warm-up", "step of 2"})
    void aPolicyThatCannotBePreparedIsClosed(String failing) {
        ScriptedPolicy policy = new ScriptedPolicy(clock, 1000);
        policy.failing = failing;
        assertThrows(IllegalStateException.class, () -> Rehearsal.warm(policy, 600_000_000_000L));
        assertEquals("close", policy.asked.getLast());
    }
}
