package ai.lram.cli;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.eval.OpenLoopEvaluation;
import ai.lram.agent.policy.Policy;
import ai.lram.bench.report.JsonReport;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import ai.lram.cli.scenario.ClosedLoop;
import ai.lram.cli.scenario.Models;
import ai.lram.cli.scenario.OpenLoop;
import ai.lram.dataset.store.TrajectoryStore;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalDouble;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** How good a model is. */
@Command(
        name = "eval",
        description = "Measures a model: against recorded actions, or in an environment.",
        mixinStandardHelpOptions = true,
        subcommands = {EvalCommand.Recorded.class, EvalCommand.Env.class})
final class EvalCommand implements Runnable {
    private static final int MAX_BATCH = 64;

    @Spec
    private CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "say how to evaluate: open-loop or env");
    }

    /** Which model, where it runs, where results go. */
    static final class ModelOptions {
        @Option(
                names = "--model",
                required = true,
                paramLabel = "M",
                description = "Folder of a training run, or a checkpoint.")
        private Path model;

        @Option(names = "--task", paramLabel = "ID", description = "Task of the model (default: its only one).")
        private String task;

        @Option(names = "--json", paramLabel = "FILE", description = "Write the results as JSON too.")
        private Path json;

        @Option(
                names = "--device",
                paramLabel = "NAME",
                description = "Engine: auto, cpu, cuda (default: ${DEFAULT-VALUE}).")
        private String device = "auto";

        @Option(
                names = "--threads",
                paramLabel = "N",
                description = "Worker threads, 0 for all processors (default: ${DEFAULT-VALUE}).")
        private int threads;
    }

    /** Open loop. */
    @Command(
            name = "open-loop",
            description = "Mean absolute error against recorded actions, beside simple predictors.",
            mixinStandardHelpOptions = true)
    static final class Recorded implements Runnable {
        @Spec
        private CommandSpec spec;

        @Parameters(paramLabel = "STORE", description = "The store the model was trained on.")
        private Path path;

        @Option(
                names = "--split",
                paramLabel = "S",
                description = "Episodes: held-out (never trained on), training or all (default: ${DEFAULT-VALUE}).")
        private String split = "held-out";

        @Mixin
        private ModelOptions options;

        @Override
        public void run() {
            new Work().run();
        }

        /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
        private final class Work {
            void run() {
                OpenLoop.Split chosen = split();
                OpenLoop.Result result;
                try (TrajectoryStore store = TrajectoryStore.open(path);
                        Policy policy = Loading.open(options, 1);
                        Progress progress = Progress.of("evaluate")) {
                    TaskCard task = Models.task(policy.card(), options.task);
                    result = OpenLoop.evaluate(store, policy, task, chosen, progress);
                }
                print(spec.commandLine().getOut(), result);
                if (options.json != null) {
                    JsonReport.write(options.json, result.json());
                }
            }

            private OpenLoop.Split split() {
                for (OpenLoop.Split s : OpenLoop.Split.values()) {
                    if (s.toString().equals(split)) {
                        return s;
                    }
                }
                throw new InputException("--split " + split, "there is no such split", "use held-out, training or all");
            }

            private static void print(PrintWriter out, OpenLoop.Result r) {
                List<String> names = new ArrayList<>(r.errors().keySet());
                List<String> header = new ArrayList<>(List.of("episode"));
                header.addAll(names);
                List<List<String>> rows = new ArrayList<>();
                for (int episode : r.episodes()) {
                    rows.add(row(String.valueOf(episode), names, r.errors(), e -> e.byEpisode()
                            .get(episode)));
                }
                for (String group : r.errors().get(names.getFirst()).byGroup().keySet()) {
                    rows.add(row(group, names, r.errors(), e -> e.byGroup().get(group)));
                }
                rows.add(row("all", names, r.errors(), OpenLoopEvaluation.Errors::overall));
                out.println("mean absolute error of task " + r.task().id() + ", " + r.split() + " episodes");
                Outputs.table(out, header, rows);
            }

            private static List<String> row(
                    String label,
                    List<String> names,
                    Map<String, OpenLoopEvaluation.Errors> errors,
                    java.util.function.ToDoubleFunction<OpenLoopEvaluation.Errors> value) {
                List<String> row = new ArrayList<>(List.of(label));
                names.forEach(n -> row.add(String.format(Locale.ROOT, "%.4f", value.applyAsDouble(errors.get(n)))));
                return row;
            }
        }
    }

    /** Closed loop. */
    @Command(
            name = "env",
            description =
                    "Returns in an environment of this build, on starts the model has not seen, beside random actions and the expert.",
            mixinStandardHelpOptions = true)
    static final class Env implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private ModelOptions options;

        @Option(names = "--episodes", paramLabel = "N", description = "Number of starts (default: ${DEFAULT-VALUE}).")
        private int episodes = 10;

        @ArgGroup(exclusive = true)
        private Target target = new Target();

        @Option(
                names = "--baseline",
                paramLabel = "STORE",
                description =
                        "Clone the behaviour in this store, the model's own, with a feed-forward net and run that too.")
        private Path baseline;

        /** What return to ask for. */
        static final class Target {
            @Option(
                    names = "--target-return",
                    paramLabel = "X",
                    description = "Return to ask for, raw units (default: the card's).")
            private Double value;

            @Option(
                    names = "--target-quantile",
                    paramLabel = "Q",
                    description = "Ask for this quantile of the training returns, 0 to 1.")
            private Double quantile;
        }

        @Override
        public void run() {
            new Work().run();
        }

        /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
        private final class Work {
            void run() {
                Common.requireAtLeast("--episodes", episodes, 1);
                ClosedLoop.Result result;
                try (Policy policy = Loading.open(options, Math.min(episodes, MAX_BATCH))) {
                    TaskCard task = Models.task(policy.card(), options.task);
                    EnvironmentRegistry.spec(task.id());
                    double asked = ClosedLoop.target(policy.card(), task, of(target.value), of(target.quantile));
                    result = ClosedLoop.evaluate(policy, task, episodes, asked);
                    if (baseline != null) {
                        result = result.withCloning(clone(policy.card(), task));
                    }
                }
                print(spec.commandLine().getOut(), result);
                if (options.json != null) {
                    JsonReport.write(options.json, result.json());
                }
            }

            private List<EpisodeResult> clone(ModelCard card, TaskCard task) {
                try (TrajectoryStore store = TrajectoryStore.open(baseline);
                        Progress progress = Progress.of("clone")) {
                    return ClosedLoop.cloning(store, card, task, episodes, options.device, options.threads, progress);
                }
            }

            private static void print(PrintWriter out, ClosedLoop.Result result) {
                List<String> header =
                        new ArrayList<>(List.of("task", "asked", "agent", "std", "random", "expert", "score"));
                List<String> row = new ArrayList<>(List.of(
                        result.references().task(),
                        number(result.targetReturn()),
                        number(result.meanReturn()),
                        number(EpisodeResult.stdReturn(result.episodes())),
                        number(result.references().random()),
                        number(result.references().expert()),
                        String.format(Locale.ROOT, "%.3f", result.score())));
                if (!result.cloning().isEmpty()) {
                    header.add("cloning");
                    row.add(number(EpisodeResult.meanReturn(result.cloning())));
                }
                Outputs.table(out, header, List.of(row));
            }

            private static OptionalDouble of(Double d) {
                return d == null ? OptionalDouble.empty() : OptionalDouble.of(d);
            }

            private static String number(double v) {
                return String.format(Locale.ROOT, "%.1f", v);
            }
        }
    }

    /** What both commands need, apart from them for the same reason. */
    private static final class Loading {
        private Loading() {}

        static Policy open(ModelOptions o, int slots) {
            Common.requireThreads(o.threads);
            return Models.open(o.model, o.device, o.threads, slots, slots);
        }
    }
}
