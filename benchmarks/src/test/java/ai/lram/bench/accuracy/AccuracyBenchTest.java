package ai.lram.bench.accuracy;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.cuda.EmulatedCuda;
import ai.lram.bench.BenchException;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.subject.Shapes;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import ai.lram.dataset.store.TrajectoryStoreWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AccuracyBenchTest {
    private static final int OBSERVATIONS = 6;
    private static final int ACTIONS = 2;
    private static final int LENGTH = 40;
    private static final TaskCard TASK = Shapes.vector("reach", OBSERVATIONS, ACTIONS, 50);

    @TempDir
    Path temp;

    private Path model() {
        Path folder = temp.resolve("model");
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                Lram model = new Lram(LramConfig.of(XlstmConfig.mlstm(64, 2, 2)))) {
            model.allocate(backend, false);
            model.parameters().initialize(3);
            Checkpoint.save(folder, model, Shapes.card(TASK), Optional.empty());
        }
        return folder;
    }

    private Path store(int episodes) {
        Path folder = temp.resolve("store");
        Random random = new Random(5);
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(folder)) {
            writer.addTask(TaskInfo.of(
                    TASK.id(),
                    "test",
                    FeatureSpec.vector("observation", OBSERVATIONS),
                    FeatureSpec.vector("action", ACTIONS),
                    50,
                    false));
            for (int e = 0; e < episodes; e++) {
                float[] observations = new float[LENGTH * OBSERVATIONS];
                float[] actions = new float[LENGTH * ACTIONS];
                for (int i = 0; i < observations.length; i++) {
                    observations[i] = (float) random.nextGaussian();
                }
                for (int i = 0; i < actions.length; i++) {
                    actions[i] = random.nextFloat() - 0.5f;
                }
                writer.append(Episode.builder(TASK.id(), LENGTH)
                        .column(Column.OBSERVATION, observations)
                        .column(Column.ACTION, actions)
                        .sourceEpisode(e)
                        .build());
            }
            writer.commit();
        }
        return folder;
    }

    @Test
    void narrowWeightsDeviateAndInt8MoreThanBf16() {
        Run run = new Run(what -> {});
        try (TrajectoryStore store = TrajectoryStore.open(store(3))) {
            new AccuracyBench(model(), store, TASK, new int[] {2, 0}, 65).run(run);
        }
        Map<String, Result> byName = run.results().stream().collect(Collectors.toMap(Result::caseName, r -> r));
        for (String what : List.of("logits-max", "logits-rms", "action-max", "action-mean")) {
            double bf16 = byName.get("bf16-" + what).value();
            double int8 = byName.get("int8-" + what).value();
            assertTrue(bf16 > 0 && bf16 < int8 && int8 < 0.1, what + ": " + bf16 + " and " + int8);
        }
        assertTrue(byName.get("bf16-logits-rms").value()
                < byName.get("bf16-logits-max").value());
        assertTrue(byName.get("bf16-same-bin").value() > 80, "of " + byName.get("bf16-same-bin"));
        assertFalse(byName.containsKey("fp32-logits-max"), "nothing to say of the exact one");
        assertTrue(byName.get("fp32-error").value() > 0.01, "drawn weights do not know the data");
        assertEquals(65, byName.get("int8-same-bin").samples(), "all of one episode, a part of the next");
        assertTrue(
                run.notes().getFirst().contains("65 recorded steps"),
                run.notes().toString());
    }

    @Test
    void aStateInBf16IsOneMoreCase() {
        Run run = new Run(what -> {});
        try (TrajectoryStore store = TrajectoryStore.open(store(2));
                Backend engine = EmulatedCuda.open()) {
            new AccuracyBench("cuda", DType.BF16, model(), store, TASK, new int[] {0, 1}, 70).measure(run, engine);
        }
        Map<String, Result> byName = run.results().stream().collect(Collectors.toMap(Result::caseName, r -> r));
        double moved = byName.get("bf16state-logits-max").value();
        assertTrue(moved > 0 && moved < 0.05, "of the logits' range: " + moved);
        assertEquals(70, byName.get("bf16state-action-max").samples());
        assertTrue(byName.get("bf16state-same-bin").value() > 80, "of " + byName.get("bf16state-same-bin"));
        assertTrue(byName.containsKey("int8-logits-max"), byName.keySet().toString());
    }

    @Test
    void differencesAreCountedInPartsOfTheirRanges() {
        TaskCard task = new TaskCard(
                "t",
                "d",
                50,
                List.of(new ObservationFeature("o", "", -1, 1, 0, 1)),
                List.of(),
                List.of(
                        ActionFeature.bounded("a", "", 0, 4),
                        new ActionFeature("b", "", -9, 9, Double.POSITIVE_INFINITY, -0.5, 0.5, "o")),
                0,
                1,
                true,
                0,
                0,
                Fallback.HOLD,
                List.of(0.0, 0.0));
        LramConfig config = new LramConfig(1, 2, 1, 3, false, false, XlstmConfig.mlstm(64, 2, 2));
        Deviation d = new Deviation(task, config);
        // One discrete id that this task does not choose from, then three bins, for each of two dimensions.
        float[] exact = {99, 0, 5, 1, -99, 2, 1, 10};
        float[] got = {0, 0, 5, 6, 0, 2, 1, 9};
        d.add(exact, got, new float[] {1, 0.1f}, new float[] {2, 0.2f}, new float[] {7, 2, 0.2f}, 1);
        assertEquals(10, d.logitRange());
        assertEquals(0.5, d.largestLogit(), 1e-9);
        assertEquals(Math.sqrt((25 + 1) / 6.0) / 10, d.rmsLogit(), 1e-9);
        assertEquals(0.25, d.largestAction(), 1e-6);
        assertEquals((0.25 + 0.1) / 2, d.meanAction(), 1e-6);
        assertEquals(0, d.meanError(), 1e-6);
        assertEquals(50, d.equalChoices(), "the second dimension's");
    }

    @Test
    void whatCannotBeComparedIsRefused() {
        Path model = model();
        try (TrajectoryStore store = TrajectoryStore.open(store(1))) {
            for (Runnable bad : List.<Runnable>of(
                    () -> new AccuracyBench(model, store, TASK, new int[] {0}, 0),
                    () -> new AccuracyBench(model, store, TASK, new int[0], 10),
                    () -> new AccuracyBench(model, store, Shapes.image("i", 3, 10), new int[] {0}, 10))) {
                BenchException e = assertThrows(BenchException.class, bad::run);
                assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
            }
        }
    }
}
