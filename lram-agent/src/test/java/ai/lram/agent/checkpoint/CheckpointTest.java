package ai.lram.agent.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.train.TrainingSnapshot;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckpointTest {
    private static final LramConfig CONFIG =
            new LramConfig(11, 3, 18, 32, true, true, new XlstmConfig(32, 3, 4, List.of(1)));

    private static final TrainingSnapshot SNAPSHOT = new TrainingSnapshot(9, 1, new long[0], Map.of());

    private static Backend backend;

    @TempDir
    Path temp;

    @BeforeAll
    static void open() {
        backend = Backends.open("cpu", BackendOptions.threads(1));
    }

    @AfterAll
    static void close() {
        backend.close();
    }

    @Test
    void aModelIsReadBackBitByBitWithItsOptimiserAndTrainer() {
        Path folder = temp.resolve("model");
        TrainingSnapshot snapshot = new TrainingSnapshot(
                123,
                4.75,
                new long[] {Long.MIN_VALUE, 7L},
                Map.of("first", new float[] {1, -0f, Float.MIN_VALUE}, "carried.0", new float[] {3e38f}));
        try (Lram model = model(5, true)) {
            Checkpoint.save(folder, model, JsonCodecTest.card(), Optional.of(snapshot));
            try (Checkpoint.Loaded loaded = Checkpoint.load(folder, backend, true)) {
                assertEquals(CONFIG, loaded.model().config());
                assertEquals(JsonCodecTest.card(), loaded.card());
                assertEquals(List.of(), loaded.extraTensors());
                TrainingSnapshot read = loaded.training().orElseThrow();
                assertEquals(123, read.update());
                assertEquals(4.75, read.elapsedSeconds());
                assertArrayEquals(snapshot.streams(), read.streams());
                assertEquals(Set.of("first", "carried.0"), read.tensors().keySet());
                assertArrayEquals(
                        snapshot.tensors().get("first"), read.tensors().get("first"));
                assertArrayEquals(
                        snapshot.tensors().get("carried.0"), read.tensors().get("carried.0"));
                assertSameNumbers(model, loaded.model());
            }
            try (Checkpoint.Loaded loaded = Checkpoint.load(folder, backend, false)) {
                assertTrue(loaded.training().isEmpty());
                assertSameNumbers(model, loaded.model());
                assertThrows(
                        IllegalStateException.class, () -> loaded.model().head.grad());
            }
        }
        assertEquals(List.of("model"), names(temp));
        assertEquals(
                List.of("card.json", "config.json", "model.safetensors", "training.json", "training.safetensors"),
                names(folder));
    }

    @Test
    void theRecurrentKernelIsStoredInThePublishedLayout() {
        Path folder = temp.resolve("model");
        try (Lram model = model(5, false)) {
            Checkpoint.save(folder, model, JsonCodecTest.card(), Optional.empty());
            Parameter p = model.parameters().get("encoder.layers.blocks.1.xlstm.slstm_cell._recurrent_kernel_");
            float[] memory = model.parameters().read(p.value());
            try (Safetensors file = Safetensors.open(folder.resolve(Checkpoint.MODEL))) {
                HostTensor t = file.tensor(p.name());
                assertArrayEquals(new int[] {4, 32, 8}, t.shape());
                float[] stored = t.floats();
                for (int h = 0; h < 4; h++) {
                    for (int in = 0; in < 8; in++) {
                        for (int g = 0; g < 4; g++) {
                            for (int out = 0; out < 8; out++) {
                                assertEquals(
                                        memory[((h * 8 + in) * 4 + g) * 8 + out],
                                        stored[(h * 32 + g * 8 + out) * 8 + in]);
                            }
                        }
                    }
                }
            }
        }
    }

    @Test
    void aKillBetweenAnyTwoFilesLeavesTheOldOrTheNewCheckpoint() {
        Path folder = temp.resolve("model");
        try (Lram before = model(1, true);
                Lram after = model(2, true)) {
            Optional<TrainingSnapshot> training = Optional.of(SNAPSHOT);
            Checkpoint.save(folder, before, JsonCodecTest.card(), training);
            List<String> steps = new ArrayList<>();
            Checkpoint.save(temp.resolve("other"), before, JsonCodecTest.card(), training, steps::add);
            steps.add(steps.size() - 1, "old renamed");
            assertEquals(7, steps.size(), steps.toString());
            for (String at : steps) {
                assertThrows(
                        CheckpointWriteException.class,
                        () -> Checkpoint.save(folder, after, JsonCodecTest.card(), training, done -> {
                            if (done.equals(at)) {
                                throw new IOException("killed after " + at);
                            }
                        }),
                        at);
                assertTrue(Checkpoint.exists(folder), at);
                try (Checkpoint.Loaded loaded = Checkpoint.load(folder, backend, true)) {
                    assertSameNumbers(at.equals("published") ? after : before, loaded.model());
                }
            }
            Checkpoint.save(folder, after, JsonCodecTest.card(), training);
            try (Checkpoint.Loaded loaded = Checkpoint.load(folder, backend, true)) {
                assertSameNumbers(after, loaded.model());
            }
        }
        assertEquals(List.of("model", "other"), names(temp));
    }

    @Test
    void aFirstSaveThatIsKilledLeavesNothingUnderItsName() {
        Path folder = temp.resolve("model");
        try (Lram model = model(1, false)) {
            assertThrows(
                    CheckpointWriteException.class,
                    () -> Checkpoint.save(folder, model, JsonCodecTest.card(), Optional.empty(), done -> {
                        throw new IOException("killed");
                    }));
        }
        assertFalse(Checkpoint.exists(folder));
        assertFalse(Files.exists(folder));
        assertThrows(CheckpointReadException.class, () -> Checkpoint.load(folder, backend, false));
    }

    @Test
    void foreignFoldersAreNotReplaced() throws IOException {
        Files.writeString(Files.createDirectory(temp.resolve("photos")).resolve("cat.jpg"), "cat");
        Files.writeString(temp.resolve("file"), "text");
        try (Lram model = model(1, false)) {
            for (String name : List.of("photos", "file")) {
                CheckpointWriteException e = assertThrows(
                        CheckpointWriteException.class,
                        () -> Checkpoint.save(temp.resolve(name), model, JsonCodecTest.card(), Optional.empty()));
                assertTrue(e.getMessage().contains(name), e.getMessage());
            }
        }
        assertEquals("cat", Files.readString(temp.resolve("photos/cat.jpg")));
    }

    @Test
    void everyMissingFileIsNamed() throws IOException {
        for (String name : List.of(Checkpoint.MODEL, Checkpoint.CONFIG, Checkpoint.CARD, Checkpoint.TRAINING_TENSORS)) {
            Path folder = temp.resolve("without-" + name);
            saved(folder);
            Files.delete(folder.resolve(name));
            CheckpointReadException e =
                    assertThrows(CheckpointReadException.class, () -> Checkpoint.load(folder, backend, true));
            assertTrue(e.getMessage().contains(name), e.getMessage());
        }
    }

    @Test
    void weightsOfAnotherShapeAreRefusedBeforeMemoryIsTaken() throws IOException {
        Path folder = temp.resolve("model");
        saved(folder);
        replace(folder, Checkpoint.CONFIG, "\"width\" : 32", "\"width\" : 64");
        incompatible(folder, "wrong shape");
        replace(folder, Checkpoint.CONFIG, "\"width\" : 64", "\"width\" : 2147483644");
        incompatible(folder, "");
        replace(folder, Checkpoint.CONFIG, "\"width\" : 2147483644", "\"width\" : 32");
        replace(folder, Checkpoint.CONFIG, "\"blocks\" : 3", "\"blocks\" : 4");
        incompatible(folder, "lacks the tensor encoder.layers.blocks.3.");
        replace(folder, Checkpoint.CONFIG, "\"blocks\" : 4", "\"blocks\" : 2147483647");
        incompatible(folder, "2147483647 blocks");
        replace(folder, Checkpoint.CONFIG, "\"blocks\" : 2147483647", "\"blocks\" : 2");
        try (Checkpoint.Loaded loaded = Checkpoint.load(folder, backend, false)) {
            assertTrue(
                    loaded.extraTensors().contains("encoder.layers.blocks.2.xlstm_norm.weight"),
                    loaded.extraTensors().toString());
        }
    }

    @Test
    void aCardThatAsksForMoreThanTheModelHasIsRefused() throws IOException {
        Path folder = temp.resolve("model");
        saved(folder);
        replace(folder, Checkpoint.CARD, "\"discreteActions\" : 18", "\"discreteActions\" : 19");
        incompatible(folder, "19 discrete actions");
    }

    @Test
    void weightsThatAreNotFiniteAreRefusedByName() {
        Path folder = temp.resolve("model");
        try (Lram model = model(1, false)) {
            float[] bad = new float[model.headBias.size()];
            bad[3] = Float.NaN;
            model.parameters().write(model.headBias.value(), bad);
            Checkpoint.save(folder, model, JsonCodecTest.card(), Optional.empty());
        }
        CorruptCheckpointException e =
                assertThrows(CorruptCheckpointException.class, () -> Checkpoint.load(folder, backend, false));
        assertTrue(
                e.getMessage().contains("action_net.0.bias") && e.getMessage().contains("element 3"), e.getMessage());
    }

    @Test
    void brokenTrainingStateIsRefused() throws IOException {
        Path folder = temp.resolve("model");
        saved(folder);
        replace(folder, Checkpoint.TRAINING_STATE, "\"update\" : 9", "\"update\" : -9");
        assertThrows(CorruptCheckpointException.class, () -> Checkpoint.load(folder, backend, true));
        Checkpoint.load(folder, backend, false).close();
    }

    @Test
    @Tag("golden")
    void publishedStateDictsAreImportedFromBothLayouts() {
        Path golden = Path.of(System.getProperty("lram.golden", "src/test/resources/golden"))
                .resolve("lram");
        Path plain = golden.resolve("lram_ms_model.safetensors");
        assumeTrue(
                Files.isRegularFile(plain),
                "no golden files at " + golden + "; give their folder as -Dlram.golden=DIR");
        LramConfig config = new LramConfig(204, 8, 18, 256, true, true, new XlstmConfig(64, 2, 4, List.of(1)));
        String cell = "encoder.layers.blocks.1.xlstm.slstm_cell.";
        Path gpu = temp.resolve("gpu.safetensors");
        try (Safetensors file = Safetensors.open(plain);
                PublishedCheckpoint.Imported imported = PublishedCheckpoint.load(plain, config, backend, false)) {
            Lram model = imported.model();
            assertArrayEquals(
                    file.tensor("extra/" + cell + "recurrent_kernel").floats(),
                    read(model, cell + "_recurrent_kernel_"));
            float[] bias = read(model, cell + "_bias_");
            float[] headFirst = file.tensor("extra/" + cell + "bias").floats();
            for (int h = 0; h < 4; h++) {
                for (int g = 0; g < 4; g++) {
                    for (int j = 0; j < 16; j++) {
                        assertEquals(headFirst[(h * 4 + g) * 16 + j], bias[(g * 4 + h) * 16 + j]);
                    }
                }
            }
            assertArrayEquals(file.tensor("embed_state.weight").floats(), read(model, "embed_state.weight"));
            assertTrue(
                    imported.ignored().contains("embed_timestep.weight"),
                    "32 rows do not fit 1000: " + imported.ignored());
            assertEquals(5, imported.ignored().size(), imported.ignored().toString());

            SafetensorsWriter writer = new SafetensorsWriter();
            for (String name : file.names()) {
                if (!name.startsWith("extra/")) {
                    boolean swapped = name.startsWith(cell);
                    String source = swapped ? "extra/" + cell + "cuda_layout." + name.substring(cell.length()) : name;
                    writer.add(name, file.tensor(source));
                }
            }
            writer.write(gpu);
            try (PublishedCheckpoint.Imported fromGpu = PublishedCheckpoint.load(gpu, config, backend, false)) {
                for (Parameter p : model.parameters().all()) {
                    if (!p.name().equals("embed_timestep.weight")) {
                        assertArrayEquals(read(model, p.name()), read(fromGpu.model(), p.name()), p.name());
                    }
                }
            }
            IncompatibleCheckpointException e = assertThrows(
                    IncompatibleCheckpointException.class,
                    () -> PublishedCheckpoint.load(plain, LramConfig.published("16M", true), backend, false));
            assertTrue(e.getMessage().contains("wrong shape"), e.getMessage());
        }
    }

    private static float[] read(Lram model, String name) {
        return model.parameters().read(model.parameters().get(name).value());
    }

    private void saved(Path folder) {
        try (Lram model = model(1, true)) {
            Checkpoint.save(folder, model, JsonCodecTest.card(), Optional.of(SNAPSHOT));
        }
    }

    private static void incompatible(Path folder, String why) {
        IncompatibleCheckpointException e =
                assertThrows(IncompatibleCheckpointException.class, () -> Checkpoint.load(folder, backend, false));
        assertTrue(e.getMessage().contains(why), e.getMessage());
    }

    private static void replace(Path folder, String file, String from, String to) throws IOException {
        String text = Files.readString(folder.resolve(file));
        assertTrue(text.contains(from), text);
        Files.writeString(folder.resolve(file), text.replace(from, to));
    }

    private static Lram model(long seed, boolean training) {
        Lram model = new Lram(CONFIG).allocate(backend, training);
        model.parameters().initialize(seed);
        Parameter kernel = model.parameters().get("encoder.layers.blocks.1.xlstm.slstm_cell._recurrent_kernel_");
        float[] a = new float[kernel.size()];
        for (int i = 0; i < a.length; i++) {
            a[i] = i + seed;
        }
        model.parameters().write(kernel.value(), a);
        return model;
    }

    private static void assertSameNumbers(Lram want, Lram got) {
        for (Parameter p : want.parameters().all()) {
            Parameter q = got.parameters().get(p.name());
            assertArrayEquals(
                    want.parameters().read(p.value()), got.parameters().read(q.value()), p.name());
        }
    }

    private static List<String> names(Path folder) {
        try (var list = Files.list(folder)) {
            return list.map(p -> p.getFileName().toString()).sorted().toList();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
