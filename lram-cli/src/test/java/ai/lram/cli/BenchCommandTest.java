package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.backend.Backends;
import ai.lram.bench.Better;
import ai.lram.bench.Host;
import ai.lram.bench.Result;
import ai.lram.bench.ResultLines;
import ai.lram.bench.suite.Suite;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BenchCommandTest {
    @TempDir
    Path temp;

    private final CommandRunner lram = new CommandRunner();

    @Test
    void theListNamesEveryBenchmark() {
        lram.good("bench", "list");
        for (String name : Suite.names()) {
            assertTrue(lram.out.contains("\n" + name + " "), name + " in:\n" + lram.out);
            assertEquals(0, lram.run("bench", name, "--help"), name + " is a command");
            lram.good("bench", "list");
        }
        assertTrue(lram.out.contains("\ngpu "), lram.out);
        assertTrue(lram.out.contains("\ngpu-step "), lram.out);
        assertTrue(lram.out.contains("\naccuracy "), lram.out);
        lram.good("bench", "--help");
        assertTrue(lram.out.contains("compare") && lram.out.contains("all"), lram.out);
    }

    @Test
    void aBenchmarkThatDoesNotExistIsNamed() {
        lram.bad("there is no benchmark flying", "bench", "flying", "--quick");
        assertTrue(lram.err.contains("machine"), lram.err);
        assertEquals(2, lram.run("bench"));
        assertTrue(lram.err.startsWith("say what to measure"), lram.err);
        assertEquals(2, lram.run("bench", "machine", "--quickly"));
        assertTrue(lram.err.contains("--quickly"), lram.err);
    }

    @Test
    void withoutAGpuItsBenchmarkIsRefusedInOneSentence() throws IOException {
        assumeTrue(
                Backends.providers().stream()
                        .noneMatch(p ->
                                p.name().equals("cuda") && p.whyUnavailable().isEmpty()),
                "skipped: this machine has a GPU");
        Path json = temp.resolve("gpu.jsonl");
        for (String name : List.of("gpu", "gpu-step")) {
            lram.bad("the GPU benchmark needs an NVIDIA GPU", "bench", name, "--json", json);
            assertEquals(1, lram.err.lines().filter(l -> l.startsWith("lram: ")).count(), lram.err);
            assertFalse(Files.exists(json));
        }
        Path table = temp.resolve("forms.tsv");
        lram.bad("the GPU benchmark needs an NVIDIA GPU", "bench", "gpu-step", "--forms", "--table", table);
        assertFalse(Files.exists(table));
    }

    @Test
    void aGpuControlStepThatIsNotMeasuredIsNamed() {
        lram.bad("not measured for size 7B", "bench", "gpu-step", "--size", "7B");
        lram.bad("weights cannot be stored as fp8", "bench", "gpu-step", "--weights", "fp8");
        lram.bad("state cannot be kept as int8", "bench", "gpu-step", "--state", "int8");
        lram.bad("0 steps", "bench", "gpu-step", "--steps", "0");
        lram.bad("context -1", "bench", "gpu-step", "--context", "50,-1");
        lram.bad("bytes steps -1", "bench", "gpu-step", "--bytes-steps", "-1");
    }

    @Test
    void whatDoesNotGoWithFormsIsNamed() {
        lram.bad("--table without --forms", "bench", "gpu-step", "--table", temp.resolve("t.tsv"));
        lram.bad("--sessions without --forms", "bench", "gpu-step", "--sessions", "1,2");
        lram.bad("--context with --forms", "bench", "gpu-step", "--forms", "--context", "50");
        lram.bad("--bytes-steps with --forms", "bench", "gpu-step", "--forms", "--bytes-steps", "5");
        lram.bad("there is no model size 7B", "bench", "gpu-step", "--forms", "--size", "7B");
        lram.bad("steps of 0 sessions", "bench", "gpu-step", "--forms", "--sessions", "0");
        lram.bad("0 steps", "bench", "gpu-step", "--forms", "--steps", "0");
        lram.bad("--table " + temp + " cannot be written", "bench", "gpu-step", "--forms", "--table", temp);
    }

    @Test
    void resultsGoToTheTerminalToLinesAndToAPage() throws IOException {
        Path json = temp.resolve("new/results.jsonl");
        Path page = temp.resolve("page.html");
        lram.good(
                "bench",
                "step",
                "--quick",
                "--size",
                "1M",
                "--context",
                "5,20",
                "--threads",
                "1",
                "--samples",
                "10",
                "--sessions",
                "2",
                "--json",
                json,
                "--report",
                page);
        assertTrue(lram.out.contains("step-1m-fp32-1t") && lram.out.contains("commit "), lram.out);
        List<Result> results = ResultLines.read(json);
        assertTrue(
                results.stream()
                        .map(Result::caseName)
                        .toList()
                        .containsAll(List.of(
                                "step-1m-fp32-1t",
                                "step-1m-fp32-1t-ctx5",
                                "step-1m-fp32-2sessions-1t",
                                "ort-1m-int8-1t",
                                "step-1m-fp32-1t-alloc")),
                results.toString());
        String html = Files.readString(page);
        assertTrue(html.contains("lram bench step --quick --size 1M"), html);
        assertTrue(html.contains("step-1m-fp32-1t-ctx20"), html);
    }

    @Test
    void alternativesCanBeLeftOut() {
        String[] small = {
            "bench",
            "step",
            "--quick",
            "--size",
            "1M",
            "--weights",
            "fp32",
            "--context",
            "5",
            "--threads",
            "1",
            "--samples",
            "5",
            "--sessions",
            "1",
            "--garbage-steps",
            "77"
        };
        Object[] bare = Stream.concat(Stream.of(small), Stream.of("--no-transformer", "--no-onnx-runtime"))
                .toArray();
        lram.good(bare);
        assertTrue(lram.out.contains("step-1m-fp32-1t"), lram.out);
        assertFalse(lram.out.contains("dt-1m") || lram.out.contains("ort-1m"), lram.out);
        assertTrue(lram.out.lines().anyMatch(l -> l.matches("step-1m-fp32-1t-alloc .* 77")), lram.out);
        Object[] withPeer =
                Stream.concat(Stream.of(small), Stream.of("--no-transformer")).toArray();
        lram.good(withPeer);
        assertTrue(lram.out.contains("ort-1m-fp32-1t") && !lram.out.contains("dt-1m"), lram.out);
    }

    @Test
    void badInputIsRefusedBeforeAnythingIsMeasured() throws IOException {
        lram.bad("there is no model size 17M", "bench", "step", "--size", "17M");
        lram.bad("weights cannot be stored as fp7", "bench", "step", "--weights", "fp7");
        lram.bad("context 0", "bench", "step", "--context", "0");
        lram.bad("threads 0", "bench", "step", "--threads", "0");
        lram.bad("sessions 0", "bench", "step", "--sessions", "0");
        lram.bad("samples 0", "bench", "step", "--samples", "0");
        lram.bad("garbage steps -1", "bench", "step", "--garbage-steps", "-1");
        lram.bad("GiB", "bench", "step", "--size", "408M", "--sessions", "1000");
        assertTrue(lram.err.contains("size 408M with 1000 sessions does not fit into memory"), lram.err);
        lram.bad(
                "steps of context does not fit",
                "bench",
                "step",
                "--size",
                "408M",
                "--context",
                "1000000",
                "--weights",
                "fp32",
                "--sessions",
                "1");
        lram.bad("batch 0", "bench", "train", "--batch", "0");
        lram.bad("does not fit into memory", "bench", "train", "--size", "408M", "--batch", "4096");
        lram.bad("a rate of 0", "bench", "latency", "--rate", "0");
        lram.bad("there is no domain mars", "bench", "latency", "--domain", "mars");
        lram.bad("device=tpu", "bench", "latency", "--device", "tpu");
        lram.bad("there is no transport pigeon", "bench", "latency", "--transport", "pigeon");
        lram.bad("there is no model at", "bench", "latency", "--model", temp.resolve("no-model"));
        lram.bad("--model with --domain", "bench", "latency", "--model", temp, "--domain", "atari");
        lram.bad("is a folder", "bench", "machine", "--quick", "--json", temp);
        Path file = Files.createFile(temp.resolve("file"));
        lram.bad("cannot be written", "bench", "machine", "--quick", "--report", file.resolve("page.html"));
        assertFalse(lram.out.contains("machine"), lram.out);
    }

    @Test
    void theControlLoopGetsAVerdictForItsRate() {
        lram.good(
                "bench",
                "latency",
                "--quick",
                "--domain",
                "pendulum",
                "--rate",
                "50Hz",
                "--sessions",
                "1",
                "--transport",
                "local",
                "--seconds",
                "0.2");
        assertTrue(lram.out.contains("keep 50 Hz") || lram.out.contains("keeps 50 Hz"), lram.out);
        assertTrue(lram.out.contains("pendulum-1m-ctx50-1s-local"), lram.out);
    }

    @Test
    void comparingShowsWhatIsMoreThanNoise() {
        Host host = new Host("a", "25", "cpu", null);
        Path a = temp.resolve("a.jsonl");
        Path b = temp.resolve("b.jsonl");
        ResultLines.write(
                a,
                List.of(
                        Result.of("step", "x", 2, "ms", Better.LOWER, 5).withSpread(1.9, 2.1),
                        Result.of("step", "y", 2, "ms", Better.LOWER, 5).withSpread(1.5, 2.5)),
                host);
        ResultLines.write(
                b,
                List.of(
                        Result.of("step", "x", 1, "ms", Better.LOWER, 5).withSpread(0.9, 1.1),
                        Result.of("step", "y", 2.4, "ms", Better.LOWER, 5).withSpread(2, 2.8)),
                host);
        lram.good("bench", "compare", a, b);
        assertTrue(
                lram.out.lines().anyMatch(l -> l.matches("step x +2\\.00 +1\\.00 +ms +-50\\.0 % .* better")), lram.out);
        assertTrue(lram.out.lines().anyMatch(l -> l.startsWith("step y") && l.endsWith("within noise")), lram.out);
        assertTrue(lram.out.contains("1 better, 0 worse, 1 within noise"), lram.out);
        lram.good("bench", "compare", a, b, "--changed");
        assertTrue(lram.out.contains("step x") && !lram.out.contains("step y"), lram.out);
        lram.bad("cannot be used as results", "bench", "compare", a, temp.resolve("none"));
        assertEquals(2, lram.run("bench", "compare", a));
    }
}
