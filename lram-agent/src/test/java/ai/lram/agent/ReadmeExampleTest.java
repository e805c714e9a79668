package ai.lram.agent;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.policy.EpisodeReturn;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.testing.Stores;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.Trainer;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.dataset.sample.EpisodeSplit;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The example of this module's README. */
class ReadmeExampleTest {
    @Test
    void trainsSavesAndControls(@TempDir Path folder) {
        TrainConfig config = TrainConfigs.of(TrainConfigs.MIXED, 2, 10, true, 5);
        Stores.linear(folder.resolve("store"), true, 40, 40, 40).close();
        float[] observation = {0.1f, 0.2f, 0.3f};
        float reward = 0.5f;
        try (Backend backend = Backends.open("auto", BackendOptions.defaults());
                TrajectoryStore store = TrajectoryStore.open(folder.resolve("store"))) {
            int[][] training = {EpisodeSplit.random(store, 0.2, 1).training()};
            ModelCard card = Trainer.card(store, "arm", config, training, Map.of());
            try (Lram model = new Lram(Trainer.modelConfig(card, config));
                    Trainer trainer = new Trainer(store, card, model, backend, config, training, new int[][] {{}})) {
                trainer.run(metrics -> System.out.printf("%d %.3f%n", metrics.update(), metrics.loss()), () -> false);
                Checkpoint.save(folder.resolve("model"), model, card, Optional.of(trainer.snapshot()));
            }
            assertTrue(Checkpoint.exists(folder.resolve("model")));
            Checkpoint.Loaded loaded = Checkpoint.load(folder.resolve("model"), backend, false);
            TaskCard task = loaded.card().task("linear");
            try (Lram model = loaded.model();
                    Policy policy = new LramPolicy(model, loaded.card(), LramPolicy.Options.of(8, 4))) {
                PolicyBatch batch = new PolicyBatch(policy.card(), 4);
                EpisodeReturn returns = new EpisodeReturn(task);
                policy.reset(3, task);
                returns.begin(task.targetReturn());
                for (int t = 0; t < 5; t++) {
                    batch.count = 1;
                    batch.slot[0] = 3;
                    System.arraycopy(observation, 0, batch.observation[0], 0, observation.length);
                    returns.fill(batch, 0);
                    policy.step(batch); // batch.action[0] holds the action where batch.status[0] is OK
                    returns.rewarded(reward);
                    assertEquals(PolicyBatch.OK, batch.status[0]);
                }
            }
        }
    }
}
