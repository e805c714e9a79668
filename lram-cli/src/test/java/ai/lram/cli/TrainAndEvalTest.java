package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.Result;
import ai.lram.bench.ResultLines;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Training and evaluation from the command line, with a model small enough for seconds. */
class TrainAndEvalTest {
    private static final String SETTINGS =
            """
            lram.train {
              backbone { width = 32, blocks = 2, heads = 2 }
              batch = 4, steps = 16, updates = %d, warmup-updates = 2, validate-every = 4, checkpoint-every = 0, held-out-fraction = 0.25
            }
            """;

    @TempDir
    static Path shared;

    @TempDir
    Path temp;

    private final CommandRunner lram = new CommandRunner();

    @BeforeAll
    static void makeData() throws IOException {
        CommandRunner lram = new CommandRunner();
        lram.good("data", "generate", "--task", "all", "--episodes", "8", "--out", shared.resolve("gen"));
        lram.good(
                "data",
                "import",
                shared.resolve("gen/pendulum"),
                shared.resolve("gen/mountain-car-continuous"),
                "--out",
                shared.resolve("store"));
        Files.writeString(shared.resolve("twelve.conf"), SETTINGS.formatted(12));
        lram.good(
                "train",
                shared.resolve("store"),
                "--config",
                shared.resolve("twelve.conf"),
                "--out",
                shared.resolve("run"),
                "--device",
                "cpu");
    }

    @Test
    void aRunLeavesModelMetricsPlotAndSettings() throws IOException {
        Path run = shared.resolve("run");
        for (String name : List.of(
                "model/model.safetensors",
                "model/config.json",
                "model/card.json",
                "model/training.json",
                "loss.png",
                "train.conf")) {
            assertTrue(Files.size(run.resolve(name)) > 0, name);
        }
        List<JsonNode> metrics = metrics(run);
        assertEquals(12, metrics.size());
        for (int i = 0; i < 12; i++) {
            assertEquals(i + 1, metrics.get(i).get("update").intValue());
            assertEquals((i + 1) % 4 == 0, metrics.get(i).get("validationLoss").isNumber(), "validation every 4");
        }
        assertTrue(
                metrics.get(11).get("loss").doubleValue()
                        < metrics.get(0).get("loss").doubleValue(),
                "the loss falls");
    }

    @Test
    void aRunEndsCleanlyWhenItsMinutesAreOver() throws IOException {
        Path run = temp.resolve("run");
        lram.good(
                "train",
                shared.resolve("store"),
                "--config",
                shared.resolve("twelve.conf"),
                "--out",
                run,
                "--device",
                "cpu",
                "--max-minutes",
                "0.000001");
        assertTrue(lram.out.contains("model: "), lram.out);
        assertEquals(1, metrics(run).size(), "the clock is looked at between updates");
        lram.good("eval", "env", "--model", run, "--task", "pendulum", "--episodes", "1");
    }

    @Test
    void aRunIsNotOverwrittenAndNotResumedUnderOtherSettings() throws IOException {
        Path store = shared.resolve("store");
        Path run = shared.resolve("run");
        lram.bad("--resume", "train", store, "--config", shared.resolve("twelve.conf"), "--out", run);
        lram.bad("no checkpoint", "train", store, "--out", temp.resolve("none"), "--resume");
        Path other = Files.writeString(
                temp.resolve("other.conf"), SETTINGS.formatted(12).replace("batch = 4", "batch = 5"));
        lram.bad("batch=4 and 5", "train", store, "--config", other, "--out", run, "--resume");
        assertTrue(Files.notExists(temp.resolve("none")));
    }

    @Test
    void badArgumentsEndWithTwoAndLeaveNothingBehind() throws IOException {
        Path store = shared.resolve("store");
        Path out = temp.resolve("out");
        Path bad = Files.writeString(temp.resolve("bad.conf"), "lram.train.bacth = 2");
        lram.bad("bacth", "train", store, "--config", bad, "--out", out);
        lram.bad("no such file", "train", store, "--config", temp.resolve("no.conf"), "--out", out);
        lram.bad("nowhere", "train", temp.resolve("nowhere"), "--out", out);
        lram.bad("--max-minutes", "train", store, "--out", out, "--max-minutes", "-1");
        lram.bad("--threads", "train", store, "--out", out, "--threads", "-1");
        lram.bad("abacus", "train", store, "--out", out, "--device", "abacus");
        Files.writeString(temp.resolve("file"), "text");
        lram.bad("file", "train", store, "--out", temp.resolve("file/run"));
        assertTrue(Files.notExists(out));
    }

    @Test
    void narrowWeightsAreComparedOnHeldOutEpisodes() {
        Path json = temp.resolve("accuracy.jsonl");
        Path store = shared.resolve("store");
        Path run = shared.resolve("run");
        lram.good(
                "bench",
                "accuracy",
                "--model",
                run,
                "--data",
                store,
                "--task",
                "pendulum",
                "--steps",
                "50",
                "--json",
                json);
        List<Result> results = ResultLines.read(json);
        assertTrue(results.stream().allMatch(r -> r.samples() == 50), results.toString());
        assertTrue(
                results.stream()
                        .map(Result::caseName)
                        .toList()
                        .containsAll(List.of("bf16-logits-max", "int8-same-bin")),
                results.toString());
        lram.bad("no task was named", "bench", "accuracy", "--model", run, "--data", store);
        lram.bad("--steps", "bench", "accuracy", "--model", run, "--data", store, "--task", "pendulum", "--steps", "0");
        lram.bad(
                "nowhere",
                "bench",
                "accuracy",
                "--model",
                run,
                "--data",
                temp.resolve("nowhere"),
                "--task",
                "pendulum");
        lram.bad("there is no model at", "bench", "accuracy", "--model", temp.resolve("none"), "--data", store);
    }

    @Test
    void openLoopComparesWithThePredictors() throws IOException {
        Path json = temp.resolve("mae.json");
        lram.good(
                "eval",
                "open-loop",
                shared.resolve("store"),
                "--model",
                shared.resolve("run"),
                "--task",
                "pendulum",
                "--json",
                json);
        JsonNode mae = new ObjectMapper().readTree(json.toFile()).get("mae");
        List<String> keys = new ArrayList<>();
        mae.fieldNames().forEachRemaining(keys::add);
        assertEquals(List.of("ours", "meanAction", "currentPosition", "nearest", "ridge", "lastAction"), keys);
        keys.forEach(
                k -> assertTrue(mae.get(k).doubleValue() > 0 && mae.get(k).doubleValue() < 4, k + " " + mae.get(k)));
        assertTrue(lram.out.contains("held-out"), lram.out);
        lram.good(
                "eval",
                "open-loop",
                shared.resolve("store"),
                "--model",
                shared.resolve("run"),
                "--task",
                "pendulum",
                "--split",
                "all");
        assertEquals(11, lram.out.lines().count(), "heading, names, 8 episodes, all:\n" + lram.out);
    }

    @Test
    void closedLoopAsksForAReturnOrAQuantile() throws IOException {
        Path json = temp.resolve("env.json");
        Path model = shared.resolve("run/model");
        lram.good(
                "eval",
                "env",
                "--model",
                model,
                "--task",
                "pendulum",
                "--episodes",
                "2",
                "--target-return",
                "-200",
                "--json",
                json);
        JsonNode n = new ObjectMapper().readTree(json.toFile());
        assertEquals(-200, n.get("targetReturn").doubleValue());
        assertEquals(2, n.get("episodes").size());
        assertTrue(n.get("random").doubleValue() < n.get("expert").doubleValue(), n.toString());
        assertTrue(n.get("score").doubleValue() >= 0 && n.get("score").doubleValue() <= 1, n.toString());
        assertEquals(1_000_000, n.get("episodes").get(0).get("seed").longValue());
        lram.good(
                "eval",
                "env",
                "--model",
                model,
                "--task",
                "pendulum",
                "--episodes",
                "1",
                "--target-quantile",
                "0.5",
                "--json",
                json);
        double median =
                new ObjectMapper().readTree(json.toFile()).get("targetReturn").doubleValue();
        lram.good(
                "eval",
                "env",
                "--model",
                model,
                "--task",
                "pendulum",
                "--episodes",
                "1",
                "--target-quantile",
                "1",
                "--json",
                json);
        assertTrue(median
                < new ObjectMapper().readTree(json.toFile()).get("targetReturn").doubleValue());
    }

    @Test
    void behaviourCloningRunsBesideTheModel() throws IOException {
        Path json = temp.resolve("env.json");
        lram.good(
                "eval",
                "env",
                "--model",
                shared.resolve("run"),
                "--task",
                "pendulum",
                "--episodes",
                "3",
                "--baseline",
                shared.resolve("store"),
                "--json",
                json);
        JsonNode n = new ObjectMapper().readTree(json.toFile());
        assertTrue(n.get("behaviourCloning").doubleValue() > n.get("random").doubleValue(), n.toString());
        assertTrue(lram.out.contains("cloning"), lram.out);
    }

    @Test
    void badModelsAndTasksEndWithTwo() {
        Path store = shared.resolve("store");
        Path run = shared.resolve("run");
        lram.bad("nowhere", "eval", "env", "--model", temp.resolve("nowhere"));
        lram.bad("no task was named", "eval", "env", "--model", run);
        lram.bad("unknown task", "eval", "env", "--model", run, "--task", "chess");
        lram.bad("--episodes", "eval", "env", "--model", run, "--task", "pendulum", "--episodes", "0");
        lram.bad("quantile", "eval", "env", "--model", run, "--task", "pendulum", "--target-quantile", "7");
        lram.bad("--split", "eval", "open-loop", store, "--model", run, "--split", "some");
        lram.bad("nowhere", "eval", "open-loop", temp.resolve("nowhere"), "--model", run);
        assertEquals(2, lram.run("eval", "env", "--model", run, "--target-quantile", "1", "--target-return", "1"));
        assertEquals(2, lram.run("eval"));
        lram.good("data", "import", shared.resolve("gen/acrobot"), "--out", temp.resolve("other"));
        lram.bad(
                "has no task pendulum",
                "eval",
                "open-loop",
                temp.resolve("other"),
                "--model",
                run,
                "--task",
                "pendulum");
        lram.good(
                "data",
                "import",
                shared.resolve("gen/reacher"),
                shared.resolve("gen/pendulum"),
                "--out",
                temp.resolve("third"));
        lram.bad(
                "is not the store of this model",
                "eval",
                "open-loop",
                temp.resolve("third"),
                "--model",
                run,
                "--task",
                "pendulum");
    }

    private static List<JsonNode> metrics(Path run) throws IOException {
        List<JsonNode> all = new ArrayList<>();
        for (String line : Files.readAllLines(run.resolve("metrics.jsonl"))) {
            all.add(new ObjectMapper().readTree(line));
        }
        return all;
    }
}
