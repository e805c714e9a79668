package ai.lram.agent.baseline;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.ConfigException;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.eval.OpenLoopEvaluation;
import ai.lram.agent.eval.PolicyPredictor;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import ai.lram.agent.testing.Allocations;
import ai.lram.agent.testing.Stores;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.Trainer;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.dataset.Episode;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BehaviourCloningTest {
    private static final TrainConfig CARD_RULES = TrainConfigs.of(TrainConfigs.MIXED, 1, 1, true, 1);
    private static final BehaviourCloning.Config SMALL =
            new BehaviourCloning.Config(32, 32, 400, 4e-3, 0.01, 1.5, 0, 1);

    private static Backend backend;

    @TempDir
    Path folder;

    @BeforeAll
    static void open() {
        backend = Backends.open("cpu", BackendOptions.threads(1));
    }

    @AfterAll
    static void close() {
        backend.close();
    }

    @Test
    void clonesALinearExpert() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 100, 100, 100, 60)) {
            int[][] episodes = {{0, 1, 2}};
            ModelCard card = Trainer.card(store, "bc", CARD_RULES, episodes, Map.of());
            List<Double> losses = new ArrayList<>();
            try (BehaviourCloning net = BehaviourCloning.train(store, card, episodes, SMALL, backend, losses::add);
                    Policy policy = net.policy(1, 1)) {
                assertEquals(400, losses.size());
                assertTrue(losses.getLast() < losses.getFirst() - 2, losses.getFirst() + " -> " + losses.getLast());
                TaskCard task = card.tasks().getFirst();
                int[] heldOut = {3};
                double ours = OpenLoopEvaluation.of(new PolicyPredictor(policy, task), store, task, heldOut, Map.of())
                        .overall();
                double mean = OpenLoopEvaluation.of(
                                SimplePredictors.meanAction(OpenLoopEvaluation.rows(store, episodes[0])),
                                store,
                                task,
                                heldOut,
                                Map.of())
                        .overall();
                assertTrue(ours < 0.15 * mean, "error " + ours + ", mean action " + mean);
            }
        }
    }

    @Test
    void oneNetClonesSeveralTasksByWhatItObserves() {
        TaskInfo move = Stores.linearTask("move", true);
        TaskInfo choose = Stores.choiceTask("choose");
        List<Episode> all = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            all.add(Stores.linear(move, 60, i));
            all.add(Stores.choice(choose, 60, i));
        }
        try (TrajectoryStore store = Stores.of(folder.resolve("two"), List.of(move, choose), all)) {
            int[][] episodes = {store.episodesOf("move"), store.episodesOf("choose")};
            ModelCard card = Trainer.card(store, "bc", CARD_RULES, episodes, Map.of());
            try (BehaviourCloning net = BehaviourCloning.train(store, card, episodes, SMALL, backend, x -> {});
                    Policy policy = net.policy(2, 2)) {
                PolicyBatch batch = new PolicyBatch(card, 2);
                policy.reset(0, card.task("choose"));
                policy.reset(1, card.task("move"));
                batch.count = 2;
                batch.slot[1] = 1;
                for (int best = 0; best < 3; best++) {
                    for (int i = 0; i < 3; i++) {
                        batch.observation[0][i] = i == best ? 1 : -1;
                        batch.observation[1][i] = 0.3f * i;
                    }
                    policy.step(batch);
                    assertEquals(best, batch.action[0][0]);
                    assertEquals(Stores.law(0, batch.observation[1], 0), batch.action[1][0], 0.2);
                }
            }
        }
    }

    /** An untrained net: one update of next to nothing. */
    private BehaviourCloning untrained(TrajectoryStore store, ModelCard card) {
        return BehaviourCloning.train(
                store,
                card,
                new int[][] {{0}},
                new BehaviourCloning.Config(16, 2, 1, 1e-9, 0, 0, 0, 1),
                backend,
                x -> {});
    }

    @Test
    void keepsThePolicyContract() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 30)) {
            ModelCard card = Trainer.card(store, "bc", CARD_RULES, new int[][] {{0}}, Map.of());
            TaskCard task = card.tasks().getFirst();
            try (BehaviourCloning net = untrained(store, card);
                    Policy policy = net.policy(3, 2)) {
                PolicyBatch batch = new PolicyBatch(card, 2);
                batch.count = 1;
                assertThrows(PolicyException.class, () -> policy.step(batch), "slot 0 was never reset");
                assertThrows(PolicyException.class, () -> policy.restoreState(0, MemorySegment.NULL));
                assertThrows(PolicyException.class, () -> policy.reset(3, task));
                assertThrows(PolicyException.class, () -> net.policy(1, 2));
                policy.reset(0, task);
                policy.reset(1, task);
                policy.restoreState(0, MemorySegment.NULL);
                policy.saveState(0, MemorySegment.NULL);
                assertEquals(0, policy.stateBytes());
                batch.count = 2;
                assertThrows(PolicyException.class, () -> policy.step(batch), "slot 0 is named twice");
                batch.slot[1] = 1;
                batch.observation[0][0] = 0.5f;
                policy.step(batch);
                float[] clean = batch.action[0].clone();
                batch.observation[1][2] = Float.NaN;
                policy.step(batch);
                assertArrayEquals(clean, batch.action[0], "stateless, and rows do not touch each other");
                assertEquals(PolicyBatch.OK, batch.status[0]);
                assertEquals(PolicyBatch.NOT_FINITE, batch.status[1]);
                batch.count = 0;
                policy.step(batch);
            }
        }
    }

    @Test
    @Tag("allocation")
    void aStepAllocatesLittle() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 30)) {
            ModelCard card = Trainer.card(store, "bc", CARD_RULES, new int[][] {{0}}, Map.of());
            try (BehaviourCloning net = untrained(store, card);
                    Policy policy = net.policy(1, 1)) {
                PolicyBatch batch = new PolicyBatch(card, 1);
                policy.reset(0, card.tasks().getFirst());
                batch.count = 1;
                long bytes = Allocations.afterWarmUp(() -> {
                    for (int i = 0; i < 1000; i++) {
                        policy.step(batch);
                    }
                });
                // Zero in most runs; see LramPolicyAllocationTest.
                assertTrue(bytes <= 32_768_000, bytes + " bytes in 1000 steps");
            }
        }
    }

    @Test
    void refusesImagesAndBadNumbers() {
        TaskInfo look = Stores.imageTask("look");
        try (TrajectoryStore store = Stores.of(folder.resolve("p"), List.of(look), List.of(Stores.image(look, 3, 1)))) {
            ModelCard card = Trainer.card(store, "bc", CARD_RULES, new int[][] {{0}}, Map.of());
            ConfigException e = assertThrows(ConfigException.class, () -> untrained(store, card));
            assertTrue(e.getMessage().contains("images"), e.getMessage());
        }
        assertThrows(ConfigException.class, () -> new BehaviourCloning.Config(0, 1, 1, 1, 0, 0, 0, 1));
        assertThrows(ConfigException.class, () -> new BehaviourCloning.Config(1, 1, 1, 0, 0, 0, 0, 1));
        assertThrows(ConfigException.class, () -> new BehaviourCloning.Config(1, 1, 1, 1, 0, -1, 0, 1));
    }
}
