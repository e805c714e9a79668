package ai.lram.cli;

import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.expert.Quality;
import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import ai.lram.cli.scenario.Generation;
import ai.lram.dataset.Column;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.convert.ImportReport;
import ai.lram.dataset.convert.ImportSource;
import ai.lram.dataset.format.ReaderOptions;
import ai.lram.dataset.store.StoreSource;
import ai.lram.dataset.store.TrajectoryStore;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Everything about data before training. */
@Command(
        name = "data",
        description = "Imports, inspects and generates trajectory data.",
        mixinStandardHelpOptions = true,
        subcommands = {DataCommand.Import.class, DataCommand.Inspect.class, DataCommand.Generate.class})
final class DataCommand implements Runnable {
    @Spec
    private CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "say what to do with the data: import, inspect or generate");
    }

    /** Builds a store. */
    @Command(
            name = "import",
            description =
                    "Builds a memory-mapped trajectory store from data sets: LeRobot v2.0, v2.1 and v3.0 folders, Minari folders, D4RL files, RLDS folders.",
            mixinStandardHelpOptions = true)
    static final class Import implements Runnable {
        @Spec
        private CommandSpec spec;

        @Parameters(paramLabel = "PATH", arity = "1..*", description = "Data sets.")
        private List<Path> paths;

        @Option(names = "--out", required = true, paramLabel = "STORE", description = "Folder of the new store.")
        private Path out;

        @Option(
                names = "--task",
                paramLabel = "ID",
                description = "Put all episodes under this task (default: as the data sets say).")
        private String task;

        @Option(
                names = "--domain",
                paramLabel = "D",
                description = "Domain of --task, e.g. unitree-g1 (default: the task's id).")
        private String domain;

        @Option(
                names = "--observation",
                paramLabel = "F",
                description =
                        "A feature of the observation; several stand side by side in this order (default: the format's usual ones).")
        private List<String> observations = List.of();

        @Option(
                names = "--image",
                paramLabel = "F",
                description = "The feature that becomes the image (default: none).")
        private String image;

        @Option(names = "--split", paramLabel = "S", description = "RLDS: a split to read; repeatable (default: all).")
        private List<String> splits = List.of();

        @Option(
                names = "--keep-last-step",
                description =
                        "RLDS: count each episode's last step, whose action and reward mean nothing unless the data's authors say otherwise.")
        private boolean keepLastStep;

        @Option(
                names = "--changes",
                description =
                        "Follow every observation with how much it changed since the step before (NAME.change, 0 at first); the robot then reports these too.")
        private boolean changes;

        @Override
        public void run() {
            new Work().run();
        }

        /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
        private final class Work {
            void run() {
                if (domain != null && task == null) {
                    throw new InputException(
                            "--domain " + domain, "it names the domain of --task, which is missing", "add --task ID");
                }
                ReaderOptions options = options();
                List<ImportSource> sources =
                        paths.stream().map(p -> new ImportSource(p, options)).toList();
                ImportReport report;
                try (Progress progress = Progress.of("import")) {
                    report = ImportJob.importDatasets(
                            sources,
                            out,
                            changes ? ImportOptions.defaults().withChanges() : ImportOptions.defaults(),
                            (done, total) -> progress.update(total > 0 ? (double) done / total : -1, done + " rows"));
                }
                PrintWriter text = spec.commandLine().getOut();
                report.warnings().forEach(w -> spec.commandLine().getErr().println("lram: " + w));
                text.println(report.episodes() + " episodes, " + report.rows() + " rows, tasks " + report.taskIds()
                        + " in " + out);
                text.println("next: lram train " + out + " --config FILE --out DIR");
                text.flush();
            }

            private ReaderOptions options() {
                ReaderOptions options =
                        ReaderOptions.defaults().withObservations(observations).withSplits(splits);
                options = task == null ? options : options.withTask(task, domain == null ? task : domain);
                options = image == null ? options : options.withImage(image);
                return keepLastStep ? options.withLastStep() : options;
            }
        }
    }

    /** Describes a store. */
    @Command(
            name = "inspect",
            description = "Prints what a store holds and checks every checksum.",
            mixinStandardHelpOptions = true)
    static final class Inspect implements Runnable {
        @Spec
        private CommandSpec spec;

        @Parameters(paramLabel = "STORE", description = "A store made by lram data import.")
        private Path path;

        @Override
        public void run() {
            new Work().run();
        }

        /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
        private final class Work {
            void run() {
                PrintWriter out = spec.commandLine().getOut();
                try (TrajectoryStore store = TrajectoryStore.open(path)) {
                    store.verify();
                    out.println(path + ": " + store.episodeCount() + " episodes, " + store.rowCount()
                            + " rows, checksums good");
                    for (StoreSource s : store.sources()) {
                        out.println("  from " + s.path() + " (" + s.format() + ")");
                    }
                    for (Map.Entry<String, String> e : store.provenance().entrySet()) {
                        out.println("  " + e.getKey() + ": " + e.getValue());
                    }
                    for (String task : store.taskIds()) {
                        task(out, store, store.taskInfo(task));
                    }
                    out.flush();
                }
            }

            private static void task(PrintWriter out, TrajectoryStore store, TaskInfo t) {
                int[] episodes = store.episodesOf(t.taskId());
                int[] lengths = Arrays.stream(episodes).map(store::length).toArray();
                out.println();
                out.println("task " + t.taskId() + " (domain " + t.domain() + ")");
                out.printf(
                        Locale.ROOT,
                        "  episodes %d, rows %d, lengths %d to %d, %s%n",
                        episodes.length,
                        store.rowCount(t.taskId()),
                        Arrays.stream(lengths).min().orElse(0),
                        Arrays.stream(lengths).max().orElse(0),
                        t.rateHz() > 0 ? t.rateHz() + " Hz" : "rate unknown");
                t.observation().ifPresent(o -> feature(out, "observation", o));
                t.image().ifPresent(i -> feature(out, "image", i));
                feature(out, t.isDiscrete() ? "discrete action" : "action", t.action());
                if (t.hasRewards()) {
                    double[] returns = Arrays.stream(episodes)
                            .mapToDouble(e -> store.episode(e).episodeReturn())
                            .sorted()
                            .toArray();
                    out.printf(
                            Locale.ROOT,
                            "  returns min %.4g, median %.4g, max %.4g%n",
                            returns[0],
                            returns[returns.length / 2],
                            returns[returns.length - 1]);
                } else {
                    out.println("  no rewards: imitation data");
                }
                out.println("  columns " + t.columns().stream().map(Column::key).toList());
            }

            private static void feature(PrintWriter out, String kind, FeatureSpec f) {
                out.println("  " + kind + " " + f.name() + " " + f.type() + f.shape()
                        + (f.names().isEmpty() ? "" : " " + f.names()));
            }
        }
    }

    /** Generates data sets. */
    @Command(
            name = "generate",
            description = "Generates LeRobot v3 data sets of scripted behaviour, one folder per task.",
            mixinStandardHelpOptions = true)
    static final class Generate implements Runnable {
        private static final String ALL = "all";

        @Spec
        private CommandSpec spec;

        @Option(names = "--task", required = true, paramLabel = "ID", description = "An environment's id, or all.")
        private String task;

        @Option(names = "--episodes", required = true, paramLabel = "N", description = "Episodes per task.")
        private int episodes;

        @Option(
                names = "--quality",
                paramLabel = "Q",
                description = "mixed, expert, medium or random (default: ${DEFAULT-VALUE}).")
        private String quality = "mixed";

        @Option(
                names = "--seed",
                paramLabel = "S",
                description = "First seed; each episode takes the next (default: ${DEFAULT-VALUE}).")
        private long seed;

        @Option(names = "--out", required = true, paramLabel = "DIR", description = "Folder to create.")
        private Path out;

        @Override
        public void run() {
            new Work().run();
        }

        /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
        private final class Work {
            void run() {
                if (episodes < 1) {
                    throw new InputException(
                            "--episodes " + episodes, "a data set needs an episode", "give a number >= 1");
                }
                List<String> tasks = task.equals(ALL)
                        ? EnvironmentRegistry.ids()
                        : List.of(EnvironmentRegistry.spec(task).id());
                List<Generation.Result> results;
                try (Progress progress = Progress.of("generate")) {
                    results = Generation.generate(tasks, quality(), episodes, 0, seed, out, progress);
                }
                List<List<String>> rows = new ArrayList<>();
                for (Generation.Result r : results) {
                    rows.add(List.of(
                            r.task(),
                            String.valueOf(r.episodes().size()),
                            String.valueOf(r.steps()),
                            String.format(Locale.ROOT, "%.1f", EpisodeResult.meanReturn(r.episodes())),
                            r.folder().toString()));
                }
                Outputs.table(
                        spec.commandLine().getOut(),
                        List.of("task", "episodes", "steps", "mean return", "folder"),
                        rows);
            }

            private Quality quality() {
                for (Quality q : Quality.values()) {
                    if (q.name().toLowerCase(Locale.ROOT).equals(quality)) {
                        return q;
                    }
                }
                throw new InputException(
                        "--quality " + quality, "there is no such quality", "use mixed, expert, medium or random");
            }
        }
    }
}
