package ai.lram.cli;

import ai.lram.bench.Benchmark;
import ai.lram.bench.Comparison;
import ai.lram.bench.Distribution;
import ai.lram.bench.Host;
import ai.lram.bench.Result;
import ai.lram.bench.ResultLines;
import ai.lram.bench.Run;
import ai.lram.bench.suite.BenchPage;
import ai.lram.bench.suite.ResultTable;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import picocli.CommandLine.Model.CommandSpec;

/** Runs benchmarks for a command: progress to standard error, tables to standard output, files at the end. */
final class Measuring {
    private Measuring() {}

    /**
     * Asks all benchmarks whether this machine can do them, then runs them. What one that fails would have found is missing; the others'
     * results are printed and written as ever, then the failure is thrown, of several the first.
     *
     * @param json null for none; likewise {@code report}
     */
    static void run(CommandSpec spec, List<Benchmark> benchmarks, Path json, Path report) {
        requireWritable("--json", json);
        requireWritable("--report", report);
        benchmarks.forEach(Benchmark::require);
        Host host = Host.here();
        Run run;
        List<Benchmark> finished = new ArrayList<>();
        Map<String, Throwable> failures = new LinkedHashMap<>();
        try (Progress progress = Progress.of("bench")) {
            double[] done = {0};
            run = new Run(what -> progress.update(done[0] / benchmarks.size(), what));
            for (Benchmark b : benchmarks) {
                attempt(run, b, finished, failures);
                done[0]++;
                progress.update(done[0] / benchmarks.size(), b.name() + (finished.contains(b) ? " done" : " failed"));
                if (failures.get(b.name()) instanceof Error) {
                    break;
                }
            }
        }
        if (!finished.isEmpty()) {
            publish(spec, run, host, finished, json, report);
        }
        throwFirst(spec.commandLine().getErr(), failures);
    }

    private static void attempt(Run run, Benchmark b, List<Benchmark> finished, Map<String, Throwable> failures) {
        try {
            run.attempt(b);
            finished.add(b);
        } catch (RuntimeException | Error e) {
            failures.put(b.name(), e);
        }
    }

    /** Names all; the first one's message is for whoever catches it. */
    private static void throwFirst(PrintWriter err, Map<String, Throwable> failures) {
        Throwable first = null;
        for (Map.Entry<String, Throwable> failure : failures.entrySet()) {
            err.println("lram: benchmark " + failure.getKey() + " failed"
                    + (first == null ? "" : ": " + failure.getValue().getMessage()));
            if (first == null) {
                first = failure.getValue();
            } else if (first != failure.getValue()) {
                first.addSuppressed(failure.getValue());
            }
        }
        err.flush();
        switch (first) {
            case null -> {
                // All is well.
            }
            case Error e -> throw e;
            case RuntimeException e -> throw e;
            default -> throw new IllegalStateException(first);
        }
    }

    private static void publish(
            CommandSpec spec, Run run, Host host, List<Benchmark> benchmarks, Path json, Path report) {
        PrintWriter out = spec.commandLine().getOut();
        for (Benchmark b : benchmarks) {
            print(out, run, b);
        }
        run.notes().forEach(out::println);
        out.println("commit " + host.commit() + ", JDK " + host.jdk() + ", " + host.cpu()
                + (host.gpu() == null ? "" : ", " + host.gpu()));
        out.flush();
        if (json != null) {
            ResultLines.write(json, run.results(), host);
        }
        if (report != null) {
            BenchPage.of(run, host, command(spec), benchmarks).write(report);
        }
    }

    private static void print(PrintWriter out, Run run, Benchmark b) {
        List<Distribution> distributions = run.distributions().stream()
                .filter(d -> d.bench().equals(b.name()))
                .toList();
        List<Result> results =
                run.headlines().stream().filter(r -> r.bench().equals(b.name())).toList();
        out.println(b.name() + ": " + b.measures());
        Outputs.table(
                out, ResultTable.HEADER, results.stream().map(ResultTable::row).toList());
        if (!distributions.isEmpty()) {
            out.println();
            Outputs.table(
                    out,
                    ResultTable.PERCENTILES,
                    distributions.stream().map(ResultTable::percentiles).toList());
        }
        for (Run.Table t : run.tables()) {
            if (t.bench().equals(b.name())) {
                out.println();
                out.println(t.title());
                Outputs.table(out, t.header(), t.rows());
            }
        }
        out.println();
    }

    /** As a shell takes it. */
    static String command(CommandSpec spec) {
        List<String> words = spec.root().commandLine().getParseResult().originalArgs();
        return words.stream().map(w -> Common.quote(Path.of(w))).collect(Collectors.joining(" ", "lram ", ""));
    }

    /** Refused before an hour of measuring, not after it. */
    static void requireWritable(String option, Path file) {
        if (file == null) {
            return;
        }
        Path at = file.toAbsolutePath().normalize();
        Path folder = at.getParent();
        while (folder != null && !Files.exists(folder)) {
            folder = folder.getParent();
        }
        if (Files.isDirectory(at) || folder == null || !Files.isDirectory(folder) || !Files.isWritable(folder)) {
            throw new InputException(
                    option + " " + file + " cannot be written",
                    Files.isDirectory(at) ? "it is a folder" : folder + " is no folder that this user may write to",
                    "name a file in one");
        }
    }

    /** @param changed leave out what did not change, or is in one file only */
    static void compare(PrintWriter out, List<Comparison.Row> rows, boolean changed) {
        List<List<String>> cells = new ArrayList<>();
        for (Comparison.Row r : rows) {
            if (changed && r.verdict() != Comparison.Verdict.BETTER && r.verdict() != Comparison.Verdict.WORSE) {
                continue;
            }
            cells.add(List.of(
                    r.name(),
                    ResultTable.number(r.before()),
                    ResultTable.number(r.after()),
                    r.unit(),
                    percent("%+.1f %%", r.change()),
                    percent("+-%.1f %%", r.noise()),
                    r.verdict().toString()));
        }
        Outputs.table(out, List.of("case", "A", "B", "unit", "change", "noise", "verdict"), cells);
        out.printf(
                Locale.ROOT,
                "%d better, %d worse, %d within noise, %d in one file only or not comparable%n",
                Comparison.count(rows, Comparison.Verdict.BETTER),
                Comparison.count(rows, Comparison.Verdict.WORSE),
                Comparison.count(rows, Comparison.Verdict.WITHIN_NOISE),
                Comparison.count(
                        rows,
                        Comparison.Verdict.ONLY_BEFORE,
                        Comparison.Verdict.ONLY_AFTER,
                        Comparison.Verdict.NOT_COMPARABLE));
        out.flush();
    }

    private static String percent(String format, double share) {
        return Double.isFinite(share) ? String.format(Locale.ROOT, format, 100 * share) : "";
    }
}
