package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.lram.agent.lram.Lram;
import ai.lram.agent.testing.Allocations;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.ops.FoldSchedule;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A warm control step leaves no garbage in the thread that takes it: two sessions of different tasks, across folds. */
@Tag("allocation")
class LramPolicyAllocationTest {
    @ParameterizedTest(name = "{0} threads, width {1}, mixed {2}")
    @CsvSource({"1, 32, false", "1, 32, true", "1, 96, false", "2, 128, false", "2, 128, true"})
    void aStepAllocatesNothing(int threads, int width, boolean mixed) {
        try (Backend own = Backends.open("cpu", BackendOptions.threads(threads));
                Lram model = LramPolicyTest.model(own, width, mixed, false);
                LramPolicy policy = new LramPolicy(
                        model,
                        LramPolicyTest.CARD,
                        LramPolicy.Options.of(2, 2).withSchedule(new FoldSchedule(12, 9, 2)))) {
            PolicyBatch batch = new PolicyBatch(LramPolicyTest.CARD, 2);
            policy.reset(0, LramPolicyTest.TASK);
            policy.reset(1, LramPolicyTest.CHOICE);
            batch.count = 2;
            batch.slot[1] = 1;
            batch.first[0] = batch.first[1] = true;
            policy.step(batch);
            batch.first[0] = batch.first[1] = false;
            long bytes = Allocations.afterWarmUp(() -> {
                for (int i = 0; i < 1000; i++) {
                    batch.observation[0][0] = i % 7;
                    policy.step(batch);
                }
            });
            assertEquals(0, bytes, "bytes in 1000 steps");
        }
    }
}
