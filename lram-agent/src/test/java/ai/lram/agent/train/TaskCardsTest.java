package ai.lram.agent.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.ConfigException;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.testing.Stores;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TaskCardsTest {
    @TempDir
    Path folder;

    private static final TrainConfig CONFIG = TrainConfigs.of(TrainConfigs.MIXED, 1, 4, true, 10);

    private static Episode constant(TaskInfo task, float... perRow) {
        float[] obs = new float[perRow.length * Stores.OBS];
        float[] act = new float[perRow.length * Stores.ACT];
        for (int t = 0; t < perRow.length; t++) {
            for (int i = 0; i < Stores.OBS; i++) {
                obs[t * Stores.OBS + i] = perRow[t] * (i + 1);
            }
            act[t * Stores.ACT] = perRow[t] * 0.5f;
            act[t * Stores.ACT + 1] = 7;
        }
        Episode.Builder b = Episode.builder(task.taskId(), perRow.length)
                .column(Column.OBSERVATION, obs)
                .column(Column.ACTION, act);
        return (task.hasRewards() ? b.column(Column.REWARD, perRow.clone()) : b).build();
    }

    @Test
    void takesNormalisationAndLimitsFromTheTrainingEpisodes() {
        TaskInfo task = Stores.linearTask("t", true);
        try (TrajectoryStore store = Stores.of(
                folder.resolve("s"),
                List.of(task),
                List.of(constant(task, 1, 3), constant(task, 3, 5), constant(task, 900)))) {
            TaskCard card = TaskCards.of(store, "t", new int[] {0, 1}, CONFIG);
            assertEquals(3, card.observation().get(0).mean(), 1e-9);
            assertEquals(Math.sqrt(2), card.observation().get(0).std(), 1e-9);
            assertEquals(2 * Math.sqrt(2), card.observation().get(1).std(), 1e-9);
            assertEquals("x", card.observation().get(0).name());
            assertEquals(0.5, card.action().get(0).low(), 1e-9);
            assertEquals(2.5, card.action().get(0).high(), 1e-9);
            assertEquals(0.5 - 0.02 * 2, card.action().get(0).encodeLow(), 1e-9);
            assertEquals(2.5 + 0.02 * 2, card.action().get(0).encodeHigh(), 1e-9);
            assertEquals(8, card.rewardScale(), 1e-9, "largest return");
            assertEquals(6, card.targetReturn(), 1e-9, "median of 4 and 8");
            assertEquals(2, card.maxEpisodeSteps());
            assertEquals(50, card.rateHz());
            assertTrue(card.action().get(1).low() < card.action().get(1).high(), "a constant action still has a range");
        }
    }

    @Test
    void heldOutEpisodesDoNotChangeTheCard() {
        TaskInfo task = Stores.linearTask("t", true);
        Episode[] training = {Stores.linear(task, 20, 1), Stores.linear(task, 30, 2)};
        TaskCard[] cards = new TaskCard[2];
        for (int k = 0; k < 2; k++) {
            Episode heldOut = k == 0 ? Stores.linear(task, 25, 3) : constant(task, 1e6f, -1e6f);
            try (TrajectoryStore store =
                    Stores.of(folder.resolve("s" + k), List.of(task), List.of(training[0], heldOut, training[1]))) {
                cards[k] = TaskCards.of(store, "t", new int[] {0, 2}, CONFIG);
                assertNotEquals(cards[k], TaskCards.of(store, "t", new int[] {0, 1, 2}, CONFIG), "training ones do");
            }
        }
        assertEquals(cards[0], cards[1]);
    }

    @Test
    void dataWithoutRewardsIsImitated() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), false, 20, 30)) {
            TaskCard card = TaskCards.of(store, "linear", new int[] {0, 1}, CONFIG);
            assertTrue(card.imitation());
            assertEquals(0, card.targetReturn());
            assertEquals(1, card.rewardScale());
            assertTrue(Double.isFinite(card.action().get(0).maxRate()), "recorded motion limits the rate");
        }
    }

    @Test
    void relativeActionsNameTheirObservation() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), false, 50, 50)) {
            TrainConfig relative = TrainConfigs.withTargets(CONFIG, 1.5, true, 0.02, 0.5);
            TaskCard card = TaskCards.of(store, "linear", new int[] {0, 1}, relative);
            assertEquals("x", card.action().get(0).relativeTo());
            assertNull(card.action().get(1).relativeTo(), "no observation is called grip");
        }
    }

    @Test
    void discreteTasksCountTheirChoices() {
        TaskInfo task = Stores.choiceTask("c");
        try (TrajectoryStore store =
                Stores.of(folder.resolve("s"), List.of(task), List.of(Stores.choice(task, 30, 1)))) {
            TaskCard card = TaskCards.of(store, "c", new int[] {0}, CONFIG);
            assertTrue(card.discrete());
            assertEquals(3, card.discreteActions());
        }
    }

    @Test
    void quantilesInterpolate() {
        double[] sorted = {1, 2, 4, 8};
        assertEquals(1, TaskCards.quantile(sorted, 0));
        assertEquals(8, TaskCards.quantile(sorted, 1));
        assertEquals(3, TaskCards.quantile(sorted, 0.5));
        assertEquals(1.75, TaskCards.quantile(sorted, 0.25));
    }

    @Test
    void refusesATaskWithoutTrainingEpisodes() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 20)) {
            ConfigException e =
                    assertThrows(ConfigException.class, () -> TaskCards.of(store, "linear", new int[0], CONFIG));
            assertTrue(e.getMessage().contains("no training episodes"), e.getMessage());
        }
    }
}
