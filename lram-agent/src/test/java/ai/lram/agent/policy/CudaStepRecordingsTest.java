package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.lram.Lram;
import ai.lram.agent.testing.Allocations;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

@Tag("cuda")
class CudaStepRecordingsTest extends StepRecordings {
    private static final int STEPS = 1000;

    @Override
    Backend openBackend() {
        return Backends.open("cuda", BackendOptions.defaults());
    }

    @Test
    void aWarmStepLeavesNothingOnTheHeap() {
        try (Lram model = LramPolicyTest.model(engine(), 64, true, false);
                LramPolicy policy = new LramPolicy(model, LramPolicyTest.CARD, LramPolicy.Options.of(2, 2))) {
            PolicyBatch batch = new PolicyBatch(LramPolicyTest.CARD, 2);
            policy.reset(0, LramPolicyTest.TASK);
            policy.reset(1, LramPolicyTest.CHOICE);
            policy.warmUp();
            batch.count = 2;
            batch.slot[1] = 1;
            long bytes = Allocations.afterWarmUp(() -> {
                for (int i = 0; i < STEPS; i++) {
                    batch.observation[0][0] = i % 7;
                    policy.step(batch);
                }
            });
            System.out.printf("control step on CUDA: %d bytes in %d steps%n", bytes, STEPS);
            assertTrue(bytes < STEPS, bytes + " bytes in " + STEPS + " steps");
        }
    }
}
