package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.testing.Allocations;
import ai.lram.agent.testing.Cards;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Tag("cuda")
class CudaStepRecordingsTest extends StepRecordings {
    private static final int STEPS = 1000;

    @Override
    Backend openBackend() {
        return Backends.open("cuda", BackendOptions.defaults());
    }

    @Test
    void aPreparedStepIsOneLaunchWithAndWithoutImages() {
        LramPolicyTest.assertOneLaunch(engine());
    }

    @Test
    void moreImagesThanAreEncodedAtOnceAnswerAlike() {
        int rows = 150;
        ModelCard card = Cards.model(LramPolicyTest.TASK, LramPolicyTest.LOOK);
        try (Lram model = LramPolicyTest.model(engine(), 64, false, true);
                LramPolicy policy = new LramPolicy(model, card, LramPolicy.Options.of(rows, rows))) {
            PolicyBatch batch = new PolicyBatch(card, rows);
            batch.count = rows;
            for (int row = 0; row < rows; row++) {
                policy.reset(row, LramPolicyTest.LOOK);
                batch.slot[row] = row;
                batch.first[row] = true;
                new Random(row % 10).nextBytes(batch.image[row]);
            }
            for (int t = 0; t < 3; t++) {
                policy.step(batch);
                int n = policy.logitsPerRow();
                float[] all = policy.logits();
                for (int row = 0; row < rows; row++) {
                    float[] own = Arrays.copyOfRange(all, row * n, (row + 1) * n);
                    float[] alike = Arrays.copyOfRange(all, row % 10 * n, (row % 10 + 1) * n);
                    float[] other = Arrays.copyOfRange(all, (row + 1) % 10 * n, ((row + 1) % 10 + 1) * n);
                    assertArrayEquals(alike, own, 1e-4f, "row " + row);
                    assertFalse(Arrays.equals(other, own), "row " + row + " has an image of its own");
                }
            }
        }
    }

    @ParameterizedTest(name = "images {0}")
    @ValueSource(booleans = {false, true})
    void aWarmStepLeavesNothingOnTheHeap(boolean images) {
        TaskCard second = images ? LramPolicyTest.LOOK : LramPolicyTest.CHOICE;
        ModelCard card = Cards.model(LramPolicyTest.TASK, second);
        try (Lram model = LramPolicyTest.model(engine(), 64, true, images);
                LramPolicy policy = new LramPolicy(model, card, LramPolicy.Options.of(2, 2))) {
            PolicyBatch batch = new PolicyBatch(card, 2);
            policy.reset(0, LramPolicyTest.TASK);
            policy.reset(1, second);
            policy.warmUp();
            batch.count = 2;
            batch.slot[1] = 1;
            long bytes = Allocations.afterWarmUp(() -> {
                for (int i = 0; i < STEPS; i++) {
                    batch.observation[0][0] = i % 7;
                    policy.step(batch);
                }
            });
            System.out.printf("control step on CUDA, images %s: %d bytes in %d steps%n", images, bytes, STEPS);
            assertTrue(bytes < STEPS, bytes + " bytes in " + STEPS + " steps");
        }
    }
}
