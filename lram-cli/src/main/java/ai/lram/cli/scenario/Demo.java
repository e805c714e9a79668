package ai.lram.cli.scenario;

import ai.lram.agent.train.TrainConfig;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.expert.Quality;
import ai.lram.bridge.rollout.ReferenceReturns;
import ai.lram.cli.config.DemoSettings;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.convert.ImportSource;
import ai.lram.dataset.format.ReaderOptions;
import ai.lram.dataset.io.DurableFiles;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import java.util.function.Function;

/**
 * The main job from end to end: generates trajectories of mixed quality for every task, imports them, trains one model for all tasks, serves
 * it in a process of its own, drives all tasks at once over gRPC on starts it has not seen, and reports. Every number is measured in the run.
 */
public final class Demo {
    private static final String MARKER = ".lram-demo";

    private Demo() {}

    /**
     * @param settings how much of everything
     * @param training of the one model
     * @param out folder of everything; an earlier demo's is replaced
     * @param device engine of training and server
     * @param program main class, to start the server with
     */
    public record Request(DemoSettings settings, TrainConfig training, Path out, String device, Class<?> program) {}

    /**
     * One task's outcome.
     *
     * @param references returns of random actions and expert on unseen starts
     * @param log of the agent's robots
     */
    public record TaskResult(ReferenceReturns references, ControlLog log) {
        public double agent() {
            return log.episodes().stream()
                    .mapToDouble(e -> e.episodeReturn())
                    .average()
                    .orElseThrow();
        }

        /** 0 for random actions, 1 for the expert, clipped. */
        public double score() {
            return references.score(agent());
        }
    }

    /**
     * @param tasks in alphabetical order
     * @param episodes of the data, all tasks together
     * @param training the run
     * @param generateSeconds generating and importing data
     * @param trainSeconds wall time of training, start and checkpoints included
     * @param driveSeconds driving, the server's start and warm-up included
     * @param wallSeconds everything
     */
    public record Result(
            List<TaskResult> tasks,
            int episodes,
            TrainingRun.Result training,
            double generateSeconds,
            double trainSeconds,
            double driveSeconds,
            double wallSeconds) {
        public double meanScore() {
            return tasks.stream().mapToDouble(TaskResult::score).average().orElseThrow();
        }

        public double minScore() {
            return tasks.stream().mapToDouble(TaskResult::score).min().orElseThrow();
        }
    }

    /**
     * Runs the demo.
     *
     * @param text for what a person should know
     * @param progress opens a display for a named phase
     * @param stop asks it to end; training is saved then
     * @return empty if it was stopped
     * @throws InputException if {@code out} holds something else or cannot be written
     */
    public static Optional<Result> run(
            Request request, PrintWriter text, Function<String, Progress> progress, BooleanSupplier stop) {
        DemoSettings s = request.settings();
        List<String> tasks = EnvironmentRegistry.ids();
        Path out = request.out().toAbsolutePath().normalize();
        prepare(out);
        Clock clock = new Clock();
        List<ImportSource> sources = new ArrayList<>();
        int episodes = 0;
        try (Progress p = progress.apply("generate")) {
            for (Generation.Result r : Generation.generate(
                    tasks, Quality.MIXED, s.dataEpisodes(), s.dataSteps(), s.dataSeed(), out.resolve("data"), p)) {
                episodes += r.episodes().size();
                sources.add(new ImportSource(r.folder(), ReaderOptions.defaults()));
            }
        }
        Path store = out.resolve("store");
        ImportOptions options = new ImportOptions(Map.of("made by", "lram demo"), false, false);
        long rows;
        try (Progress p = progress.apply("import")) {
            rows = ImportJob.importDatasets(
                            sources, store, options, (done, total) -> p.update((double) done / total, done + " rows"))
                    .rows();
        }
        double generateSeconds = clock.lap();
        text.println(
                tasks.size() + " tasks, " + episodes + " episodes, " + rows + " rows in " + seconds(generateSeconds));
        text.flush();
        TrainingRun.Result training;
        try (Progress p = progress.apply("train")) {
            training = TrainingRun.run(
                    new TrainingRun.Request(
                            store,
                            Optional.of(request.training()),
                            Optional.empty(),
                            out.resolve("run"),
                            false,
                            request.device(),
                            0,
                            "demo",
                            Optional.empty()),
                    p,
                    stop);
        }
        double trainSeconds = clock.lap();
        if (stop.getAsBoolean()) {
            text.println("stopped during training; the model so far is at " + training.model());
            text.flush();
            return Optional.empty();
        }
        text.println(training.parameters() + " parameters, " + training.last().update() + " updates in "
                + seconds(trainSeconds)
                + String.format(
                        java.util.Locale.ROOT, ", loss %.3f", training.last().loss()));
        text.flush();
        // Training's garbage goes before time counts.
        System.gc();
        List<ControlLog> logs;
        try (ServerProcess server = ServerProcess.start(
                request.program(),
                training.model(),
                List.of(
                        "--max-sessions",
                        String.valueOf(tasks.size() * s.sessionsPerTask()),
                        "--threads",
                        String.valueOf(s.serverThreads()),
                        "--device",
                        request.device()))) {
            logs = Fleet.drive(server.endpoint(), tasks, s, progress, stop);
        }
        if (stop.getAsBoolean()) {
            text.println("stopped during driving; the model is at " + training.model());
            text.flush();
            return Optional.empty();
        }
        List<TaskResult> results = new ArrayList<>();
        for (ControlLog log : logs) {
            results.add(new TaskResult(
                    ReferenceReturns.measure(
                            log.task(), EnvironmentRegistry.FIRST_EVALUATION_SEED, s.referenceEpisodes()),
                    log));
        }
        double driveSeconds = clock.lap();
        Result result =
                new Result(results, episodes, training, generateSeconds, trainSeconds, driveSeconds, clock.total());
        DemoReport.write(out, request, result);
        return Optional.of(result);
    }

    /** An empty folder, in place of an earlier demo's. */
    private static void prepare(Path out) {
        try {
            if (Files.exists(out)) {
                if (!Files.isDirectory(out)) {
                    throw new InputException(
                            "cannot run the demo in " + out, "it is no folder", "choose another --out");
                }
                boolean empty;
                try (var list = Files.list(out)) {
                    empty = list.findAny().isEmpty();
                }
                if (!empty && !Files.exists(out.resolve(MARKER))) {
                    throw new InputException(
                            "cannot run the demo in " + out,
                            "it holds files of something else",
                            "choose another --out");
                }
                DurableFiles.deleteTree(out);
            }
            DurableFiles.createFolders(out);
            Files.createFile(out.resolve(MARKER));
        } catch (IOException e) {
            throw new InputException("cannot run the demo in " + out, e.toString(), "choose a writable --out", e);
        }
    }

    private static String seconds(double s) {
        return String.format(java.util.Locale.ROOT, "%.0f s", s);
    }

    /** Wall time since the last lap and since the start. */
    private static final class Clock {
        private final long begin = System.nanoTime();
        private long lap = begin;

        double lap() {
            long now = System.nanoTime();
            double s = (now - lap) / 1e9;
            lap = now;
            return s;
        }

        double total() {
            return (System.nanoTime() - begin) / 1e9;
        }
    }
}
