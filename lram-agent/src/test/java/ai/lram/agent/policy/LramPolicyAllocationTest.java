package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.testing.Allocations;
import ai.lram.agent.testing.Cards;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.ops.FoldSchedule;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * What a warm control step leaves on the heap of the thread that takes it: two sessions of different tasks, across folds. Nothing, in most
 * runs; in others the compiler decides not to inline some vector code and boxes vectors, which a JVM then does for as long as it lives.
 */
@Tag("allocation")
class LramPolicyAllocationTest {
    /** A few hundred boxed vectors. */
    private static final long BOXES = 32_768;

    @ParameterizedTest(name = "{0} threads, width {1}, mixed {2}, images {3}")
    @CsvSource({
        "1, 32, false, false, 1000",
        "1, 32, true, false, 1000",
        "1, 32, true, true, 60",
        "1, 96, false, false, 1000",
        "2, 128, false, false, 1000",
        "2, 128, true, false, 1000",
        "2, 128, false, true, 60",
    })
    void aStepAllocatesLittle(int threads, int width, boolean mixed, boolean images, int steps) {
        TaskCard second = images ? LramPolicyTest.LOOK : LramPolicyTest.CHOICE;
        ModelCard card = Cards.model(LramPolicyTest.TASK, second);
        try (Backend own = Backends.open("cpu", BackendOptions.threads(threads));
                Lram model = LramPolicyTest.model(own, width, mixed, images);
                LramPolicy policy = new LramPolicy(
                        model, card, LramPolicy.Options.of(2, 2).withSchedule(new FoldSchedule(12, 9, 2)))) {
            PolicyBatch batch = new PolicyBatch(card, 2);
            policy.reset(0, LramPolicyTest.TASK);
            policy.reset(1, second);
            batch.count = 2;
            batch.slot[1] = 1;
            batch.first[0] = batch.first[1] = true;
            policy.step(batch);
            batch.first[0] = batch.first[1] = false;
            Runnable run = () -> {
                for (int i = 0; i < steps; i++) {
                    batch.observation[0][0] = i % 7;
                    policy.step(batch);
                }
            };
            long bytes = Allocations.afterWarmUp(run, steps * BOXES);
            System.out.printf(
                    "control step, %d threads, width %d, mixed %s, images %s: %d bytes per step%n",
                    threads, width, mixed, images, bytes / steps);
            assertTrue(bytes <= steps * BOXES, bytes + " bytes in " + steps + " steps");
        }
    }
}
