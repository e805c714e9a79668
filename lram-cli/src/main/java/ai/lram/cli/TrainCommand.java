package ai.lram.cli;

import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.train.TrainingMetrics;
import ai.lram.cli.config.InputException;
import ai.lram.cli.config.Settings;
import ai.lram.cli.config.TrainSettings;
import ai.lram.cli.progress.Progress;
import ai.lram.cli.scenario.TrainingRun;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Trains a model. */
@Command(
        name = "train",
        description = "Trains a model on a trajectory store. Ctrl-C saves the run; --resume goes on with it.",
        mixinStandardHelpOptions = true)
final class TrainCommand implements Runnable {
    @Spec
    private CommandSpec spec;

    @Parameters(paramLabel = "STORE", description = "A store made by lram data import.")
    private Path store;

    @Option(
            names = "--config",
            paramLabel = "FILE",
            description = "Settings under lram.train (default: those of reference.conf). Where memory is short,"
                    + " accumulate = N runs every update in N parts, with the same result.")
    private Path config;

    @Option(
            names = "--out",
            required = true,
            paramLabel = "DIR",
            description = "Folder of the run: model, metrics, loss plot.")
    private Path out;

    @Option(names = "--max-minutes", paramLabel = "N", description = "End the run cleanly after N minutes of training.")
    private Double maxMinutes;

    @Option(
            names = "--split-seed",
            paramLabel = "S",
            description = "Seed of the choice of held-out episodes, in place of the settings' own.")
    private Long splitSeed;

    @Option(names = "--resume", description = "Go on with the run in --out.")
    private boolean resume;

    @Option(names = "--name", paramLabel = "NAME", description = "Name on the model card (default: the folder's name).")
    private String name;

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

    @Option(
            names = "--precision",
            paramLabel = "NAME",
            description = "bf16 (mixed: parameters and moments stay fp32; CUDA only) or fp32"
                    + " (default: bf16 on CUDA, fp32 on the CPU).")
    private String precision;

    @Override
    public void run() {
        new Work().run();
    }

    /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
    private final class Work {
        void run() {
            if (maxMinutes != null && !(maxMinutes > 0 && Double.isFinite(maxMinutes))) {
                throw new InputException("--max-minutes " + maxMinutes, "a run needs time", "give minutes > 0");
            }
            Common.requireThreads(threads);
            TrainingRun.Request request = new TrainingRun.Request(
                    store,
                    settings(),
                    Optional.ofNullable(maxMinutes),
                    out,
                    resume,
                    device,
                    threads,
                    name == null
                            ? String.valueOf(out.toAbsolutePath().normalize().getFileName())
                            : name,
                    precision());
            PrintWriter text = spec.commandLine().getOut();
            PrintWriter err = spec.commandLine().getErr();
            TrainingRun.Result result;
            try (Interrupt interrupt = new Interrupt(() -> {
                err.println();
                err.println("lram: stopping after this update; the run is being saved");
                err.flush();
            })) {
                try (Progress progress = Progress.of("train")) {
                    result = TrainingRun.run(request, progress, interrupt);
                }
                report(text, result);
            }
        }

        private Optional<Precision> precision() {
            if (precision == null) {
                return Optional.empty();
            }
            for (Precision p : Precision.values()) {
                if (p.name().equalsIgnoreCase(precision)) {
                    return Optional.of(p);
                }
            }
            throw new InputException("--precision " + precision, "there are bf16 and fp32", "give one of these");
        }

        private Optional<TrainConfig> settings() {
            if (resume && config == null && splitSeed == null) {
                return Optional.empty();
            }
            String where = config == null ? "reference.conf" : config.toString();
            TrainConfig c = TrainSettings.read(
                    Settings.load(Optional.ofNullable(config), List.of(TrainSettings.SECTION)), where);
            return Optional.of(splitSeed == null ? c : c.withSplitSeed(splitSeed));
        }

        private void report(PrintWriter text, TrainingRun.Result result) {
            if (!result.history().isEmpty()) {
                TrainingMetrics last = result.last();
                double validation = result.history().stream()
                        .mapToDouble(TrainingMetrics::validationLoss)
                        .filter(Double::isFinite)
                        .reduce(Double.NaN, (a, b) -> b);
                text.printf(
                        Locale.ROOT,
                        "%d updates in %.1f min, %d parameters, loss %.4f%s%n",
                        last.update(),
                        last.elapsedSeconds() / 60,
                        result.parameters(),
                        last.loss(),
                        Double.isFinite(validation)
                                ? String.format(Locale.ROOT, ", held-out loss %.4f", validation)
                                : "");
            }
            text.println("model: " + result.model());
            if (!result.finished()) {
                text.println("stopped early; go on with: lram train " + Common.quote(store) + " --out "
                        + Common.quote(out) + " --resume");
            }
            text.flush();
        }
    }
}
