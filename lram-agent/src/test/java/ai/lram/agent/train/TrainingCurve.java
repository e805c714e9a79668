package ai.lram.agent.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.testing.Stores;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Training on the CUDA engine beside training on the CPU engine: the same seed, data and settings. */
abstract class TrainingCurve {
    /** Mean difference of losses over a stretch of updates, of the loss itself. */
    private static final double TOLERANCE = 0.02;

    private static final int STRETCHES = 10;

    @TempDir
    Path folder;

    abstract Backend openBackend();

    abstract XlstmConfig model();

    abstract int batch();

    abstract int updates();

    private TrainConfig config(boolean carry) {
        return TrainConfigs.of(model(), batch(), 8, carry, updates());
    }

    private static Trainer trainer(TrajectoryStore store, Backend backend, TrainConfig config, Precision precision) {
        int[][] episodes = {store.episodesOf(store.taskIds().getFirst())};
        ModelCard card = Trainer.card(store, "test", config, episodes, Map.of());
        return new Trainer(
                store,
                card,
                new Lram(Trainer.modelConfig(card, config)),
                backend,
                config,
                episodes,
                new int[][] {{}},
                precision);
    }

    private static List<Double> run(Trainer t, long until) {
        List<Double> losses = new ArrayList<>();
        t.run(m -> losses.add(m.loss()), () -> t.update() >= until);
        return losses;
    }

    private static void discard(Trainer t) {
        t.close();
        t.model().close();
    }

    @ParameterizedTest
    @EnumSource(Precision.class)
    void lossesAreThoseOfTheCpu(Precision precision) {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 60, 60, 60, 60);
                Backend cpu = Backends.open("cpu", BackendOptions.threads(1));
                Backend cuda = openBackend()) {
            Trainer a = trainer(store, cpu, config(false), Precision.FP32);
            List<Double> want = run(a, updates());
            discard(a);
            Trainer b = trainer(store, cuda, config(false), precision);
            List<Double> got = run(b, updates());
            discard(b);
            assertEquals(updates(), got.size());
            int n = updates() / STRETCHES;
            double worst = 0;
            StringBuilder curve = new StringBuilder();
            for (int s = 0; s < STRETCHES; s++) {
                double w = mean(want.subList(s * n, (s + 1) * n));
                double g = mean(got.subList(s * n, (s + 1) * n));
                worst = Math.max(worst, Math.abs(w - g) / w);
                curve.append(String.format(Locale.ROOT, " %.4f/%.4f", g, w));
            }
            assertTrue(worst <= TOLERANCE, "losses differ by " + worst + ", in stretches:" + curve);
            assertTrue(want.getLast() < want.getFirst(), "the model learns");
        }
    }

    private static double mean(List<Double> x) {
        return x.stream().mapToDouble(v -> v).average().orElseThrow();
    }

    @Test
    void aResumedRunGivesTheBitsOfAnUninterruptedOne() {
        TrainConfig config = config(true);
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 40, 25, 33);
                Backend cuda = openBackend()) {
            Trainer whole = trainer(store, cuda, config, Precision.BF16);
            List<Double> all = run(whole, 12);
            Trainer half = trainer(store, cuda, config, Precision.BF16);
            List<Double> parts = run(half, 5);
            TrainingSnapshot snapshot = half.snapshot();
            float[] parameters =
                    half.model().parameters().read(half.model().parameters().values());
            discard(half);
            Trainer resumed = trainer(store, cuda, config, Precision.BF16);
            run(resumed, 2);
            resumed.model().parameters().write(resumed.model().parameters().values(), parameters);
            resumed.restore(snapshot);
            parts.addAll(run(resumed, 12));
            assertEquals(all, parts);
            assertArrayEquals(
                    whole.model().parameters().read(whole.model().parameters().values()),
                    resumed.model()
                            .parameters()
                            .read(resumed.model().parameters().values()));
            discard(whole);
            discard(resumed);
        }
    }

    @ParameterizedTest
    @EnumSource(Precision.class)
    void gradientsOfPartsAddUpToThoseOfTheBatch(Precision precision) {
        TrainConfig config = TrainConfigs.of(model(), 4, 8, true, 12);
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 40, 25, 33);
                Backend cuda = openBackend()) {
            Trainer whole = trainer(store, cuda, config, precision);
            List<Double> want = run(whole, 12);
            Trainer parts = trainer(store, cuda, TrainConfigs.withAccumulate(config, 4), precision);
            List<Double> got = run(parts, 12);
            for (int i = 0; i < 12; i++) {
                assertEquals(want.get(i), got.get(i), 1e-3 * want.get(i), "update " + i);
            }
            assertEquals(want.getFirst(), got.getFirst(), 1e-6 * want.getFirst(), "the first loss");
            discard(whole);
            discard(parts);
        }
    }

    /** Sees with the fp32 encoder and thinks in bf16; every part of the model is trained. */
    @Test
    void aModelWithImagesTrains() {
        TrainConfig config = TrainConfigs.withRate(TrainConfigs.of(XlstmConfig.mlstm(32, 1, 2), 1, 1, false, 3), 1e-3);
        TaskInfo task = Stores.imageTask("pixels");
        try (TrajectoryStore store = Stores.of(folder.resolve("s"), List.of(task), List.of(Stores.image(task, 1, 1)));
                Backend cpu = Backends.open("cpu", BackendOptions.threads(1));
                Backend cuda = openBackend()) {
            Trainer a = trainer(store, cpu, config, Precision.FP32);
            List<Double> want = run(a, 3);
            discard(a);
            Trainer b = trainer(store, cuda, config, Precision.BF16);
            Map<String, float[]> before = new HashMap<>();
            ParameterSet set = b.model().parameters();
            set.all().forEach(p -> before.put(p.name(), set.read(p.value())));
            List<Double> got = run(b, 3);
            for (int i = 0; i < 3; i++) {
                assertEquals(want.get(i), got.get(i), TOLERANCE * want.get(i), "update " + i);
            }
            assertTrue(got.getLast() < got.getFirst(), got.toString());
            List<String> still = before.keySet().stream()
                    .filter(name -> name.startsWith("embed_image."))
                    .filter(name -> Arrays.equals(
                            before.get(name), set.read(set.get(name).value())))
                    .toList();
            assertEquals(List.of(), still, "parameters of the encoder that did not move");
            discard(b);
        }
    }

    @Test
    void anUpdateWithoutAFiniteNormChangesNothing() {
        try (TrajectoryStore store = Stores.linear(folder.resolve("s"), true, 40, 25, 33);
                Backend cuda = openBackend()) {
            Trainer t = trainer(store, cuda, config(false), Precision.BF16);
            run(t, 3);
            float[] values = t.model().parameters().read(t.model().parameters().values());
            float[] broken = t.model().parameters().read(t.model().headBias.value());
            Arrays.fill(broken, Float.NaN);
            t.model().parameters().write(t.model().headBias.value(), broken);
            float[] before = t.model().parameters().read(t.model().parameters().values());
            try {
                run(t, 4);
                throw new AssertionError("a NaN in the model went unseen");
            } catch (TrainingDivergedException e) {
                assertArrayEquals(
                        before,
                        t.model().parameters().read(t.model().parameters().values()));
                assertEquals(values.length, before.length);
            }
            discard(t);
        }
    }
}
