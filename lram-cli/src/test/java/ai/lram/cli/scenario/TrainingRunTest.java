package ai.lram.cli.scenario;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.checkpoint.Safetensors;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.TrainingMetrics;
import ai.lram.bridge.env.expert.Quality;
import ai.lram.cli.config.InputException;
import ai.lram.cli.config.Settings;
import ai.lram.cli.config.TrainSettings;
import ai.lram.cli.progress.Progress;
import ai.lram.dataset.ProgressListener;
import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.store.TrajectoryStore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TrainingRunTest {
    private static final TrainConfig CONFIG = TrainSettings.read(
            Settings.text(
                    """
                    lram.train { backbone { width = 32, blocks = 2, heads = 2 }, batch = 4, steps = 16, updates = 10
                                 warmup-updates = 2, validate-every = 5, checkpoint-every = 3, held-out-fraction = 0.25 }
                    """,
                    "test",
                    List.of(TrainSettings.SECTION)),
            "test");

    @TempDir
    static Path shared;

    @TempDir
    Path temp;

    @BeforeAll
    static void makeData() {
        Generation.generate(List.of("pendulum"), Quality.MIXED, 8, 0, 0, shared.resolve("gen"), Progress.none());
        ImportJob.importDataset(
                shared.resolve("gen/pendulum"),
                shared.resolve("store"),
                ImportOptions.defaults(),
                ProgressListener.NONE);
    }

    private static TrainingRun.Result run(Path out, boolean resume, BooleanSupplier stop) {
        TrainingRun.Request request = new TrainingRun.Request(
                shared.resolve("store"),
                Optional.of(CONFIG),
                Optional.empty(),
                out,
                resume,
                "cpu",
                1,
                "test",
                Optional.empty());
        return TrainingRun.run(request, Progress.none(), stop);
    }

    /** True when asked for the {@code n}-th time: after n - 1 updates. */
    private static BooleanSupplier after(int updates) {
        int[] asked = {0};
        return () -> asked[0]++ >= updates;
    }

    @Test
    void aResumedRunGivesTheNumbersOfAnUninterruptedOne() throws IOException {
        TrainingRun.Result whole = run(temp.resolve("whole"), false, () -> false);
        assertTrue(whole.finished());
        TrainingRun.Result first = run(temp.resolve("parts"), false, after(4));
        assertFalse(first.finished());
        assertEquals(4, first.history().size());
        // Lines a killed process wrote after its last checkpoint.
        Path metrics = temp.resolve("parts/metrics.jsonl");
        Files.writeString(metrics, Files.readString(metrics) + "{\"update\":5,\"loss\":9}\n{\"upd");
        TrainingRun.Result rest = run(temp.resolve("parts"), true, () -> false);
        assertTrue(rest.finished());
        assertEquals(10, rest.history().size());
        for (int i = 0; i < 10; i++) {
            TrainingMetrics a = whole.history().get(i);
            TrainingMetrics b = rest.history().get(i);
            assertEquals(a.update(), b.update());
            assertEquals(a.loss(), b.loss(), "loss of update " + a.update());
            assertEquals(a.validationLoss(), b.validationLoss(), "validation after update " + a.update());
        }
        try (Safetensors a = Safetensors.open(whole.model().resolve("model.safetensors"));
                Safetensors b = Safetensors.open(rest.model().resolve("model.safetensors"))) {
            for (String name : a.names()) {
                assertArrayEquals(a.tensor(name).floats(), b.tensor(name).floats(), name);
            }
        }
        assertEquals(10, Files.readAllLines(metrics).size());
    }

    @Test
    void twoRunsDoNotShareAFolder() {
        boolean[] refused = {false};
        run(temp.resolve("run"), false, () -> {
            InputException e = assertThrows(InputException.class, () -> run(temp.resolve("run"), false, () -> true));
            refused[0] = e.getMessage().contains("another run");
            return true;
        });
        assertTrue(refused[0]);
    }

    @Test
    void aRunIsNotResumedOnOtherData() {
        run(temp.resolve("run"), false, after(1));
        Generation.generate(List.of("pendulum"), Quality.MIXED, 8, 0, 100, temp.resolve("gen"), Progress.none());
        ImportJob.importDataset(
                temp.resolve("gen/pendulum"), temp.resolve("store"), ImportOptions.defaults(), ProgressListener.NONE);
        TrainingRun.Request request = new TrainingRun.Request(
                temp.resolve("store"),
                Optional.empty(),
                Optional.empty(),
                temp.resolve("run"),
                true,
                "cpu",
                1,
                "test",
                Optional.empty());
        InputException e =
                assertThrows(InputException.class, () -> TrainingRun.run(request, Progress.none(), () -> false));
        assertTrue(e.getMessage().contains("is not the store of this model"), e.getMessage());
    }

    @Test
    void onlyTheBestShareByReturnIsTaken() {
        try (TrajectoryStore store = TrajectoryStore.open(shared.resolve("store"))) {
            int[] all = store.episodesOf("pendulum");
            int[] best = TrainingRun.perTask(store, all, 0.3)[0];
            assertEquals(3, best.length, "rounded up");
            double worstTaken = Arrays.stream(best)
                    .mapToDouble(e -> store.episode(e).episodeReturn())
                    .min()
                    .orElseThrow();
            long better = Arrays.stream(all)
                    .filter(e -> store.episode(e).episodeReturn() > worstTaken)
                    .count();
            assertEquals(2, better);
            assertArrayEquals(all, TrainingRun.perTask(store, all, 1)[0]);
        }
    }
}
