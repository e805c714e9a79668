package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.export.schema.ModelProto;
import ai.lram.agent.export.schema.ValueInfoProto;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Models for other runtimes, from the command line. */
class ExportCommandTest {
    @TempDir
    static Path shared;

    @TempDir
    Path temp;

    private final CommandRunner lram = new CommandRunner();

    @BeforeAll
    static void makeModel() {
        LramConfig config = new LramConfig(4, 2, 3, 16, true, false, new XlstmConfig(32, 2, 2, List.of(1)));
        ModelCard card = new ModelCard(
                ModelCard.FORMAT_VERSION,
                "arm",
                List.of(task("reach", 4, List.of()), task("lift", 3, List.of()), task("watch", 0, List.of(3, 64, 64))),
                Map.of());
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                Lram model = new Lram(config).allocate(backend, false)) {
            model.parameters().initialize(1);
            Checkpoint.save(shared.resolve("run/model"), model, card, Optional.empty());
        }
    }

    private static TaskCard task(String id, int observations, List<Integer> image) {
        List<ObservationFeature> features = List.of("x", "y", "z", "w").subList(0, observations).stream()
                .map(n -> new ObservationFeature(n, "m", -1, 1, 0, 1))
                .toList();
        return new TaskCard(
                id,
                "arm",
                50,
                features,
                image,
                List.of(ActionFeature.bounded("v", "m/s", -1, 1)),
                0,
                1,
                false,
                1,
                0,
                Fallback.HOLD,
                List.of(0.0));
    }

    private static List<String> inputs(Path file) throws IOException {
        ModelProto m = ModelProto.parseFrom(Files.readAllBytes(file));
        assertTrue(m.getOpsetImport(0).getVersion() >= 17);
        return m.getGraph().getInputList().stream().map(ValueInfoProto::getName).toList();
    }

    @Test
    void aRunOrACheckpointBecomesAFile() throws IOException {
        Path file = temp.resolve("arm.onnx");
        lram.good(
                "export", "onnx", "--model", shared.resolve("run"), "--out", file, "--task", "reach", "--task", "lift");
        assertEquals(
                List.of(
                        "task",
                        "observation",
                        "return_to_go",
                        "reward",
                        "first",
                        "state.0.conv",
                        "state.0.C",
                        "state.0.n",
                        "state.0.m",
                        "state.1.conv",
                        "state.1.cell"),
                inputs(file));
        for (String text : List.of(
                "opset 17",
                "one step a call",
                "tasks [reach, lift]",
                "in   state.0.C       float[batch, 2, 32, 32]",
                "out  action          float[batch, 1]")) {
            assertTrue(lram.out.contains(text), text + " in:\n" + lram.out);
        }
        long exact = Files.size(file);
        lram.good(
                "export",
                "onnx",
                "--model",
                shared.resolve("run/model"),
                "--out",
                file,
                "--form",
                "token",
                "--weights",
                "int8",
                "--batch",
                "1",
                "--task",
                "lift");
        assertEquals(
                List.of("observation", "return_to_go", "reward", "token"),
                inputs(file).subList(0, 4));
        assertTrue(Files.size(file) < exact, "replaced by a smaller one");
        assertTrue(lram.out.contains("float[1, 3]"), lram.out);
        assertEquals(List.of("arm.onnx"), names());
    }

    @Test
    void badArgumentsEndWithTwoAndLeaveNothingBehind() {
        Path run = shared.resolve("run");
        Path file = temp.resolve("m.onnx");
        lram.bad("nowhere", "export", "onnx", "--model", temp.resolve("nowhere"), "--out", file);
        lram.bad("watch is observed by images", "export", "onnx", "--model", run, "--out", file);
        lram.bad("unknown task", "export", "onnx", "--model", run, "--out", file, "--task", "chess");
        lram.bad("named twice", "export", "onnx", "--model", run, "--out", file, "--task", "lift", "--task", "lift");
        lram.bad("--form chunk", "export", "onnx", "--model", run, "--out", file, "--form", "chunk");
        lram.bad("--weights int4", "export", "onnx", "--model", run, "--out", file, "--weights", "int4");
        lram.bad("batches of -1", "export", "onnx", "--model", run, "--out", file, "--batch", "-1");
        lram.bad(
                "cannot write",
                "export",
                "onnx",
                "--model",
                run,
                "--out",
                temp.resolve("none/m.onnx"),
                "--task",
                "lift");
        lram.bad("a folder of that name", "export", "onnx", "--model", run, "--out", temp, "--task", "lift");
        assertEquals(2, lram.run("export"));
        assertEquals(2, lram.run("export", "onnx", "--model", run));
        assertEquals(2, lram.run("export", "safetensors"));
        assertEquals(List.of(), names());
    }

    private List<String> names() {
        try (var list = Files.list(temp)) {
            return list.map(p -> p.getFileName().toString()).sorted().toList();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
