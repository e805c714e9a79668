package ai.lram.agent.baseline;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.testing.Stores;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.agent.train.TaskCards;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PredictorsTest {
    @TempDir
    Path folder;

    private static float[] predict(ActionPredictor p, EpisodeRows e, int t) {
        float[] a = new float[e.actionSize()];
        p.predict(e, t, a);
        return a;
    }

    /** Random observations; action = 0.5 x_t - 0.25 y_{t-1} + 2, and y_t. */
    private static EpisodeRows rows(int n, long seed) {
        Random r = new Random(seed);
        float[] o = new float[2 * n];
        float[] a = new float[2 * n];
        for (int t = 0; t < n; t++) {
            o[2 * t] = (float) r.nextGaussian();
            o[2 * t + 1] = (float) r.nextGaussian();
            a[2 * t] = 0.5f * o[2 * t] - 0.25f * o[2 * Math.max(0, t - 1) + 1] + 2;
            a[2 * t + 1] = o[2 * t + 1];
        }
        return new EpisodeRows(n, 2, 2, o, a);
    }

    @Test
    void ridgeRecoversALinearLawOfTwoObservations() {
        RidgeRegression ridge = new RidgeRegression(List.of(rows(200, 1), rows(150, 2)), 1e-6);
        EpisodeRows unseen = rows(50, 3);
        for (int t = 0; t < 50; t++) {
            float[] a = predict(ridge, unseen, t);
            assertEquals(unseen.actions()[2 * t], a[0], 1e-4);
            assertEquals(unseen.actions()[2 * t + 1], a[1], 1e-4);
        }
        assertEquals("ridge", ridge.name());
    }

    @Test
    void aHugePenaltyLeavesOnlyTheMean() {
        EpisodeRows e = rows(500, 1);
        double mean = 0;
        for (int t = 0; t < 500; t++) {
            mean += e.actions()[2 * t] / 500;
        }
        assertEquals(mean, predict(new RidgeRegression(List.of(e), 1e9), rows(5, 2), 3)[0], 1e-3);
    }

    @Test
    void nearestNeighbourAnswersWithTheClosestStandardisedRow() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 60, 60)) {
            TaskCard task =
                    TaskCards.of(store, "linear", new int[] {0, 1}, TrainConfigs.of(TrainConfigs.MIXED, 1, 1, true, 1));
            EpisodeRows e = EpisodeRows.read(store, 0);
            NearestNeighbour p = new NearestNeighbour(task, List.of(e, EpisodeRows.read(store, 1)));
            for (int t = 0; t < e.length(); t++) {
                float[] own = {e.actions()[2 * t], e.actions()[2 * t + 1]};
                assertArrayEquals(own, predict(p, e, t), "a training row is its own neighbour");
            }
            float[] shifted = e.observations().clone();
            shifted[3 * 7] += 1e-4f;
            EpisodeRows near = new EpisodeRows(e.length(), 3, 2, shifted, e.actions());
            assertArrayEquals(new float[] {e.actions()[14], e.actions()[15]}, predict(p, near, 7));
        }
    }

    @Test
    void simplePredictorsDoWhatTheirNamesSay() {
        EpisodeRows a = new EpisodeRows(2, 1, 1, new float[] {5, 6}, new float[] {1, 2});
        EpisodeRows b = new EpisodeRows(1, 1, 1, new float[] {7}, new float[] {6});
        ActionPredictor mean = SimplePredictors.meanAction(List.of(a, b));
        assertEquals(3, predict(mean, a, 0)[0], "over rows, not episodes");
        ActionPredictor last = SimplePredictors.lastAction();
        assertEquals(1, predict(last, a, 1)[0]);
        assertEquals(1, predict(last, a, 0)[0], "the first row has only its own");
        assertEquals(List.of("meanAction", "lastAction"), List.of(mean.name(), last.name()));
    }

    @Test
    void currentPositionFindsTheObservationOfTheActionsName() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 10)) {
            TaskCard task =
                    TaskCards.of(store, "linear", new int[] {0}, TrainConfigs.of(TrainConfigs.MIXED, 1, 1, true, 1));
            EpisodeRows e = EpisodeRows.read(store, 0);
            float[] got = predict(SimplePredictors.currentPosition(task), e, 4);
            assertEquals(e.observations()[12], got[0], "x is observed as x");
            assertEquals(0, got[1], "grip is not observed");
        }
    }
}
