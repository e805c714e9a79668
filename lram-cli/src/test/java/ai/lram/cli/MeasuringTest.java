package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.BenchException;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Result;
import ai.lram.bench.ResultLines;
import ai.lram.bench.Run;
import ai.lram.bench.WrongAnswerException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;
import picocli.CommandLine.Model.CommandSpec;

class MeasuringTest {
    @TempDir
    Path temp;

    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();
    private final List<String> ran = new ArrayList<>();

    private CommandSpec spec() {
        CommandLine line = new CommandLine(CommandSpec.create());
        line.setOut(new PrintWriter(out, true)).setErr(new PrintWriter(err, true));
        line.parseArgs();
        return line.getCommandSpec();
    }

    /** Reports one case, then throws what it is given, if anything. */
    private Benchmark made(String name, RuntimeException failure) {
        return new Benchmark() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public String measures() {
                return "made-up numbers";
            }

            @Override
            public void run(Run run) {
                ran.add(name);
                run.result(Result.of(name, "case-of-" + name, 1, "ms", Better.LOWER, 1));
                if (failure != null) {
                    throw failure;
                }
            }
        };
    }

    @Test
    void whatOthersFoundIsKeptWhenABenchmarkFails() {
        Path json = temp.resolve("r.jsonl");
        Path page = temp.resolve("r.html");
        WrongAnswerException first = new WrongAnswerException("wrong numbers", "why", "fix");
        BenchException second = new BenchException("no socket", "why", "fix");
        WrongAnswerException thrown = assertThrows(
                WrongAnswerException.class,
                () -> Measuring.run(
                        spec(),
                        List.of(made("one", null), made("two", first), made("three", second), made("four", null)),
                        json,
                        page));
        assertSame(first, thrown);
        assertSame(second, thrown.getSuppressed()[0]);
        assertEquals(List.of("one", "two", "three", "four"), ran);
        assertEquals(
                List.of("case-of-one", "case-of-four"),
                ResultLines.read(json).stream().map(Result::caseName).toList());
        assertTrue(Files.exists(page));
        assertTrue(out.toString().contains("case-of-one") && out.toString().contains("case-of-four"), out.toString());
        assertFalse(out.toString().contains("case-of-two"), "nothing of what failed");
        assertTrue(err.toString().contains("lram: benchmark two failed"), err.toString());
        assertTrue(err.toString().contains("lram: benchmark three failed: no socket; why"), err.toString());
    }

    @Test
    void whereNothingWasFoundNothingIsWritten() {
        Path json = temp.resolve("r.jsonl");
        BenchException only = new BenchException("no", "why", "fix");
        assertSame(
                only,
                assertThrows(
                        BenchException.class, () -> Measuring.run(spec(), List.of(made("one", only)), json, null)));
        assertFalse(Files.exists(json));
    }

    @Test
    void everyBenchmarkIsAskedBeforeAnyRuns() {
        Benchmark tooLarge = new Benchmark() {
            @Override
            public String name() {
                return "large";
            }

            @Override
            public String measures() {
                return "nothing";
            }

            @Override
            public void require() {
                throw new BenchException("it does not fit", "why", "fix");
            }

            @Override
            public void run(Run run) {
                throw new AssertionError("it was refused");
            }
        };
        assertThrows(
                BenchException.class, () -> Measuring.run(spec(), List.of(made("one", null), tooLarge), null, null));
        assertEquals(List.of(), ran);
    }
}
