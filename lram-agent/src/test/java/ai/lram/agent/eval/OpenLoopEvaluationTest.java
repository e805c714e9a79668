package ai.lram.agent.eval;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.baseline.ActionPredictor;
import ai.lram.agent.baseline.EpisodeRows;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.PolicyException;
import ai.lram.agent.testing.Stores;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.agent.train.TaskCards;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.Trainer;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OpenLoopEvaluationTest {
    private static final TrainConfig CONFIG = TrainConfigs.of(TrainConfigs.MIXED, 1, 1, true, 1);

    @TempDir
    Path folder;

    /** Off by 0.1 in the first dimension and by 0.3 times the number of the episode's rows in the second. */
    private static final ActionPredictor OFF = new ActionPredictor() {
        @Override
        public String name() {
            return "off";
        }

        @Override
        public void predict(EpisodeRows e, int t, float[] action) {
            action[0] = e.actions()[2 * t] + 0.1f;
            action[1] = e.actions()[2 * t + 1] - 0.3f * e.length();
        }
    };

    @Test
    void averagesOverRowsEpisodesAndGroups() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 10, 20, 5)) {
            TaskCard task = TaskCards.of(store, "linear", new int[] {0}, CONFIG);
            OpenLoopEvaluation.Errors e = OpenLoopEvaluation.of(
                    OFF,
                    store,
                    task,
                    new int[] {0, 1},
                    Map.of("x", n -> n.equals("x"), "grip", n -> n.equals("grip"), "none", n -> false));
            assertEquals((0.1 + 3) / 2, e.byEpisode().get(0), 1e-5);
            assertEquals((0.1 + 6) / 2, e.byEpisode().get(1), 1e-5);
            assertEquals((10 * 3.1 + 20 * 6.1) / 60, e.overall(), 1e-5, "rows weigh alike");
            assertEquals(0.1, e.byGroup().get("x"), 1e-5);
            assertEquals((10 * 3 + 20 * 6) / 30.0, e.byGroup().get("grip"), 1e-5);
            assertFalse(e.byGroup().containsKey("none"));
            List<EpisodeRows> rows = OpenLoopEvaluation.rows(store, new int[] {2, 0});
            assertEquals(List.of(5, 10), rows.stream().map(EpisodeRows::length).toList());
        }
    }

    @Test
    void aPolicyPlaysEachEpisodeFromAFreshState() {
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                TrajectoryStore store = Stores.linear(folder.resolve("s"), false, 12, 9)) {
            ModelCard card = Trainer.card(store, "m", CONFIG, new int[][] {{0, 1}}, Map.of());
            try (Lram model = new Lram(Trainer.modelConfig(card, CONFIG)).allocate(backend, false)) {
                model.parameters().initialize(1);
                try (LramPolicy policy = new LramPolicy(model, card, LramPolicy.Options.of(1, 1))) {
                    PolicyPredictor p = new PolicyPredictor(policy, card.tasks().getFirst());
                    EpisodeRows e = EpisodeRows.read(store, 0);
                    float[][] first = play(p, e);
                    play(p, EpisodeRows.read(store, 1));
                    float[][] again = play(p, e);
                    for (int t = 0; t < e.length(); t++) {
                        assertArrayEquals(first[t], again[t]);
                    }
                    float[] broken = e.observations().clone();
                    broken[0] = Float.NaN;
                    EpisodeRows bad = new EpisodeRows(e.length(), 3, 2, broken, e.actions());
                    PolicyException x = assertThrows(PolicyException.class, () -> p.predict(bad, 0, new float[2]));
                    assertTrue(x.getMessage().contains("row 0"), x.getMessage());
                }
            }
        }
    }

    private static float[][] play(PolicyPredictor p, EpisodeRows e) {
        float[][] out = new float[e.length()][e.actionSize()];
        for (int t = 0; t < e.length(); t++) {
            p.predict(e, t, out[t]);
        }
        return out;
    }
}
