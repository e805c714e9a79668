package ai.lram.cli;

import ai.lram.agent.train.TrainConfig;
import ai.lram.cli.config.DemoSettings;
import ai.lram.cli.config.Settings;
import ai.lram.cli.config.TrainSettings;
import ai.lram.cli.progress.Progress;
import ai.lram.cli.scenario.Demo;
import ai.lram.cli.scenario.DemoReport;
import com.typesafe.config.Config;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Shows the whole. */
@Command(
        name = "demo",
        description =
                "Generates data, trains one model for six tasks, serves it and drives all six at once; about ten minutes on two cores.",
        mixinStandardHelpOptions = true)
final class DemoCommand implements Runnable {
    private static final String DEFAULTS = "demo.conf";

    @Spec
    private CommandSpec spec;

    @Option(
            names = "--out",
            paramLabel = "DIR",
            description = "Folder for data, model and reports (default: ${DEFAULT-VALUE}).")
    private Path out = Path.of("demo-out");

    @Option(
            names = "--config",
            paramLabel = "FILE",
            description = "Settings under lram.demo and lram.train (default: those of demo.conf).")
    private Path config;

    @Option(
            names = "--device",
            paramLabel = "NAME",
            description = "Engine: auto, cpu, cuda (default: ${DEFAULT-VALUE}).")
    private String device = "auto";

    @Override
    public void run() {
        new Work().run();
    }

    /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
    private final class Work {
        void run() {
            List<String> sections = List.of(DemoSettings.SECTION, TrainSettings.SECTION);
            Config settings =
                    Settings.load(Optional.ofNullable(config), sections, Settings.resource(DEFAULTS, sections));
            String where = config == null ? DEFAULTS : config.toString();
            DemoSettings demo = DemoSettings.read(settings, where);
            TrainConfig training = TrainSettings.read(settings, where);
            PrintWriter text = spec.commandLine().getOut();
            PrintWriter err = spec.commandLine().getErr();
            try (Interrupt interrupt = new Interrupt(() -> {
                err.println();
                err.println("lram: stopping; a training in progress is being saved");
                err.flush();
            })) {
                Optional<Demo.Result> result = Demo.run(
                        new Demo.Request(demo, training, out, device, Lram.class), text, Progress::of, interrupt);
                result.ifPresent(r -> print(text, r));
            }
        }

        private void print(PrintWriter text, Demo.Result r) {
            text.println();
            Outputs.table(text, DemoReport.HEADER, DemoReport.rows(r));
            text.printf(
                    Locale.ROOT,
                    "%nmean score %.3f, lowest %.3f; training %.0f s, everything %.0f s%n",
                    r.meanScore(),
                    r.minScore(),
                    r.trainSeconds(),
                    r.wallSeconds());
            text.println("report: " + out.resolve(DemoReport.HTML) + ", " + out.resolve(DemoReport.JSON));
            text.println();
            text.println("use the model again, in two terminals:");
            DemoReport.commands(Path.of(Common.quote(out.resolve("run")))).forEach(c -> text.println("  " + c));
            text.flush();
        }
    }
}
