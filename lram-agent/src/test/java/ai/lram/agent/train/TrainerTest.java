package ai.lram.agent.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.ConfigException;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.testing.Stores;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.dataset.Episode;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TrainerTest {
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

    /** A trainer on all episodes of a store, validated on {@code held}. */
    private static Trainer trainer(TrajectoryStore store, TrainConfig config, int... held) {
        int[][] training = store.taskIds().stream()
                .map(t -> Arrays.stream(store.episodesOf(t))
                        .filter(e -> Arrays.stream(held).noneMatch(h -> h == e))
                        .toArray())
                .toArray(int[][]::new);
        ModelCard card = Trainer.card(store, "test", config, training, Map.of());
        int[][] validation = {held};
        return new Trainer(
                store, card, new Lram(Trainer.modelConfig(card, config)), backend, config, training, validation);
    }

    private static void discard(Trainer t) {
        t.close();
        t.model().close();
    }

    /** Loss, accuracy and gradient norm of every update. */
    private static List<double[]> run(Trainer t, long until) {
        List<double[]> out = new ArrayList<>();
        t.run(
                m -> out.add(new double[] {m.loss(), m.accuracy(), m.gradientNorm(), m.learningRate()}),
                () -> t.update() >= until);
        return out;
    }

    @ParameterizedTest(name = "carried state {0}")
    @ValueSource(booleans = {true, false})
    void theLossFallsOnATinyTask(boolean carry) {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 40, 40, 40, 40)) {
            Trainer t =
                    trainer(store, TrainConfigs.withRate(TrainConfigs.of(TrainConfigs.MIXED, 4, 10, carry, 120), 1e-2));
            List<double[]> log = run(t, 120);
            assertEquals(120, log.size());
            double first = log.getFirst()[0];
            double last = log.subList(110, 120).stream()
                    .mapToDouble(x -> x[0])
                    .average()
                    .orElseThrow();
            assertEquals(Math.log(274), first, 0.3, "a fresh model guesses among 274 ids");
            assertTrue(last < first - 1.2, first + " -> " + last);
            discard(t);
        }
    }

    @ParameterizedTest(name = "carried state {0}, {1} parts")
    @CsvSource({"true,1", "false,1", "true,3", "false,3"})
    void aResumedRunGivesTheNumbersOfAnUninterruptedOne(boolean carry, int parts) {
        TrainConfig config = TrainConfigs.withAccumulate(
                TrainConfigs.withNoise(TrainConfigs.of(TrainConfigs.MIXED, 3, 7, carry, 20), 0.05, 0.1), parts);
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 40, 25, 33)) {
            Trainer whole = trainer(store, config);
            List<double[]> all = run(whole, 20);
            Trainer half = trainer(store, config);
            List<double[]> begun = run(half, 9);
            TrainingSnapshot snapshot = half.snapshot();
            float[] parameters =
                    half.model().parameters().read(half.model().parameters().values());
            discard(half);
            Trainer resumed = trainer(store, config);
            run(resumed, 2);
            resumed.model().parameters().write(resumed.model().parameters().values(), parameters);
            resumed.restore(snapshot);
            begun.addAll(run(resumed, 20));
            assertEquals(all.size(), begun.size());
            for (int i = 0; i < all.size(); i++) {
                assertArrayEquals(all.get(i), begun.get(i), "update " + i);
            }
            assertArrayEquals(
                    whole.model().parameters().read(whole.model().parameters().values()),
                    resumed.model()
                            .parameters()
                            .read(resumed.model().parameters().values()));
            discard(whole);
            discard(resumed);
        }
    }

    @ParameterizedTest(name = "carried state {0}")
    @ValueSource(booleans = {true, false})
    void gradientsOfPartsAddUpToThoseOfTheBatch(boolean carry) {
        TrainConfig config = TrainConfigs.withEvery(
                TrainConfigs.withNoise(TrainConfigs.of(TrainConfigs.MIXED, 6, 7, carry, 12), 0.05, 0.1), 4, 0);
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 40, 25, 33, 20)) {
            Trainer whole = trainer(store, config, 3);
            List<double[]> want = run(whole, 12);
            Trainer parts = trainer(store, TrainConfigs.withAccumulate(config, 3), 3);
            List<double[]> got = run(parts, 12);
            for (int i = 0; i < want.size(); i++) {
                assertArrayEquals(want.get(i), got.get(i), 2e-4, "update " + i);
            }
            assertEquals(want.getFirst()[2], got.getFirst()[2], 1e-5 * want.getFirst()[2], "the first gradient's norm");
            assertEquals(whole.validate(), parts.validate(), 1e-4);
            assertTrue(
                    parts.activationBytes() < 0.4 * whole.activationBytes(),
                    parts.activationBytes() + " and " + whole.activationBytes() + " bytes");
            discard(whole);
            discard(parts);
        }
    }

    @Test
    void windowsWithCarriedStateGiveTheLossOfOneLongWindow() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 30, 64)) {
            double[] loss = new double[2];
            for (int k = 0; k < 2; k++) {
                TrainConfig c = TrainConfigs.of(TrainConfigs.MIXED, 1, k == 0 ? 8 : 64, true, 10);
                Trainer t = trainer(store, TrainConfigs.withEvery(c, 1, 0), 1);
                loss[k] = t.validate();
                assertEquals(loss[k], t.validate(), "validation sees the same batches every time");
                discard(t);
            }
            assertEquals(loss[1], loss[0], 1e-5 * loss[1]);
        }
    }

    @Test
    void validationAndCheckpointsComeWhenDue() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 30, 40)) {
            TrainConfig c = TrainConfigs.withEvery(TrainConfigs.of(XlstmConfig.mlstm(32, 1, 2), 2, 5, true, 9), 4, 3);
            Trainer t = trainer(store, c, 1);
            List<Long> validated = new ArrayList<>();
            List<Long> saved = new ArrayList<>();
            t.run(
                    new TrainingListener() {
                        @Override
                        public void updated(TrainingMetrics m) {
                            if (!Double.isNaN(m.validationLoss())) {
                                validated.add(m.update());
                            }
                            assertTrue(m.progress() > 0 && m.progress() <= 1 && m.tokensPerSecond() > 0);
                        }

                        @Override
                        public void checkpointDue(Trainer trainer) {
                            saved.add(trainer.update());
                        }
                    },
                    () -> false);
            assertEquals(List.of(4L, 8L), validated);
            assertEquals(List.of(3L, 6L, 9L), saved);
            assertEquals(9, t.update(), "the counter ends the run");
            discard(t);
        }
    }

    @Test
    void theClockEndsARun() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 30)) {
            TrainConfig c = TrainConfigs.of(XlstmConfig.mlstm(32, 1, 2), 1, 5, true, 1_000_000_000L);
            Trainer t = trainer(store, c.withMaxMinutes(0.5 / 60));
            t.run(m -> assertTrue(m.elapsedSeconds() < 30), () -> false);
            assertTrue(t.update() > 0 && t.update() < 1_000_000);
            discard(t);
        }
    }

    @Test
    void aDivergedLossStopsTheRunBeforeTheUpdate() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 30)) {
            Trainer t = trainer(store, TrainConfigs.of(TrainConfigs.MIXED, 1, 5, true, 50));
            run(t, 2);
            var set = t.model().parameters();
            float[] poisoned = set.read(t.model().headBias.value());
            poisoned[20] = Float.NaN;
            set.write(t.model().headBias.value(), poisoned);
            float[] before = set.read(t.model().head.value());
            TrainingDivergedException e = assertThrows(TrainingDivergedException.class, () -> run(t, 50));
            assertTrue(e.getMessage().contains("update 2") && e.getMessage().contains("; fix: "), e.getMessage());
            assertArrayEquals(
                    before, set.read(t.model().head.value()), "parameters are those before the failed update");
            discard(t);
        }
    }

    @Test
    void choicesAndContinuousTasksTrainTogether() {
        TaskInfo small = Stores.linearTask("small", true);
        TaskInfo choice = Stores.choiceTask("choice");
        List<Episode> all = List.of(
                Stores.linear(small, 30, 1),
                Stores.linear(small, 30, 2),
                Stores.choice(choice, 30, 3),
                Stores.choice(choice, 30, 4));
        try (TrajectoryStore store = Stores.of(folder.resolve("two"), List.of(small, choice), all)) {
            Trainer t = trainer(store, TrainConfigs.of(TrainConfigs.MIXED, 4, 10, true, 60));
            List<double[]> log = run(t, 60);
            assertTrue(log.getLast()[0] < log.getFirst()[0] - 1.5, log.getFirst()[0] + " -> " + log.getLast()[0]);
            assertTrue(log.getLast()[1] > 0.3, "accuracy " + log.getLast()[1]);
            discard(t);
        }
    }

    @Test
    void anImageTaskTrains() {
        TaskInfo task = Stores.imageTask("look");
        try (TrajectoryStore store = Stores.of(
                folder.resolve("pixels"), List.of(task), List.of(Stores.image(task, 6, 1), Stores.image(task, 5, 2)))) {
            Trainer t = trainer(
                    store, TrainConfigs.withRate(TrainConfigs.of(XlstmConfig.mlstm(32, 1, 2), 2, 3, true, 4), 1e-3));
            var set = t.model().parameters();
            float[] before = set.read(set.get("embed_image.cnn.0.conv.weight").value());
            List<double[]> log = run(t, 4);
            assertEquals(4, log.size());
            assertTrue(log.stream().allMatch(x -> Double.isFinite(x[0]) && x[2] > 0));
            assertFalse(
                    Arrays.equals(
                            before,
                            set.read(set.get("embed_image.cnn.0.conv.weight").value())),
                    "the first layer learns");
            discard(t);
        }
    }

    @Test
    void imagesAndVectorsInOneBatchAreRefused() {
        TaskInfo look = Stores.imageTask("look");
        TaskInfo move = Stores.linearTask("move", true);
        try (TrajectoryStore store = Stores.of(
                folder.resolve("mixed"),
                List.of(look, move),
                List.of(Stores.image(look, 4, 1), Stores.linear(move, 10, 1)))) {
            ConfigException e = assertThrows(
                    ConfigException.class,
                    () -> trainer(store, TrainConfigs.of(XlstmConfig.mlstm(32, 1, 2), 2, 3, true, 4)));
            assertTrue(e.getMessage().contains("image and vector"), e.getMessage());
        }
    }

    @Test
    void snapshotsOfAnotherConfigurationAreRefused() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 30)) {
            Trainer t = trainer(store, TrainConfigs.of(XlstmConfig.mlstm(32, 1, 2), 2, 5, true, 9));
            TrainingSnapshot good = t.snapshot();
            Map<String, float[]> tensors = new HashMap<>(good.tensors());
            tensors.put("second", new float[3]);
            TrainingSnapshot bad = new TrainingSnapshot(1, 1, good.streams(), tensors);
            ConfigException e = assertThrows(ConfigException.class, () -> t.restore(bad));
            assertTrue(e.getMessage().contains("second"), e.getMessage());
            tensors.remove("second");
            assertThrows(ConfigException.class, () -> t.restore(new TrainingSnapshot(1, 1, good.streams(), tensors)));
            discard(t);
        }
    }

    @Test
    void configurationsOutOfRangeAreRefused() {
        TrainConfig good = TrainConfigs.of(TrainConfigs.MIXED, 1, 1, true, 1);
        refuses("batch=0", () -> TrainConfigs.of(TrainConfigs.MIXED, 0, 1, true, 1));
        refuses("updates=0", () -> TrainConfigs.of(TrainConfigs.MIXED, 1, 1, true, 0));
        refuses("maxMinutes", () -> good.withMaxMinutes(-1));
        refuses("peakLearningRate", () -> TrainConfigs.withRate(good, 0));
        refuses("observationNoise", () -> TrainConfigs.withNoise(good, -1, 0));
        refuses("binMargin", () -> TrainConfigs.withTargets(good, 1, false, -1, 0.5));
        refuses("targetQuantile", () -> TrainConfigs.withTargets(good, 1, false, 0, 1.5));
        refuses("validateEvery", () -> TrainConfigs.withEvery(good, -1, 0));
        refuses("width 0", () -> XlstmConfig.mlstm(0, 1, 1));
        refuses("no multiple", () -> XlstmConfig.mlstm(32, 1, 3));
        refuses("slstmAt names block 2", () -> new XlstmConfig(32, 2, 2, List.of(2)));
        refuses("bins=1", () -> new ai.lram.agent.lram.LramConfig(1, 1, 0, 1, false, false, TrainConfigs.MIXED));
    }

    private static void refuses(String part, Runnable make) {
        ConfigException e = assertThrows(ConfigException.class, make::run);
        assertTrue(e.getMessage().contains(part) && e.getMessage().contains("; fix: "), e.getMessage());
    }
}
