package ai.lram.cli;

import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.export.OnnxExport;
import ai.lram.agent.export.OnnxOptions;
import ai.lram.agent.export.OnnxPort;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.cli.config.InputException;
import ai.lram.cli.scenario.Models;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Ways out of this runtime. */
@Command(
        name = "export",
        description = "Writes a model for other runtimes.",
        mixinStandardHelpOptions = true,
        subcommands = ExportCommand.Onnx.class)
final class ExportCommand implements Runnable {
    @Spec
    private CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "say what to write: onnx");
    }

    /** ONNX. */
    @Command(
            name = "onnx",
            description = {
                "Writes the control step of a model as one ONNX file (opset 17): observation, return-to-go, reward and state in, logits, "
                        + "action and new state out, all in the tasks' own units.",
                "docs/onnx.md shows how to use it."
            },
            mixinStandardHelpOptions = true)
    static final class Onnx implements Runnable {
        @Spec
        private CommandSpec spec;

        @Option(
                names = "--model",
                required = true,
                paramLabel = "M",
                description = "Folder of a training run, or a checkpoint.")
        private Path model;

        @Option(
                names = "--out",
                required = true,
                paramLabel = "FILE",
                description = "The file to write; one that is there is replaced.")
        private Path out;

        @Option(
                names = "--form",
                paramLabel = "F",
                description =
                        "What a call advances by: step (an environment step) or token (default: ${DEFAULT-VALUE}).")
        private String form = "step";

        @Option(
                names = "--weights",
                paramLabel = "W",
                description =
                        "Format of the large matrices: fp32, or int8 with activations quantised as they come (default: ${DEFAULT-VALUE}).")
        private String weights = "fp32";

        @Option(
                names = "--batch",
                paramLabel = "N",
                description = "Sessions per call, 0 to leave it open (default: ${DEFAULT-VALUE}).")
        private int batch = OnnxOptions.ANY_BATCH;

        @Option(
                names = "--task",
                paramLabel = "ID",
                description = "Export this task only; may be given several times (default: all of the model).")
        private List<String> tasks = new ArrayList<>();

        @Override
        public void run() {
            new Work().run();
        }

        /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
        private final class Work {
            void run() {
                OnnxOptions options = new OnnxOptions(
                        one("--form", form, OnnxOptions.Form.values()),
                        one("--weights", weights, OnnxOptions.Weights.values()),
                        batch,
                        tasks);
                Path folder = Models.resolve(model);
                OnnxExport.Summary summary;
                try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                        Checkpoint.Loaded loaded = Checkpoint.load(folder, backend, false)) {
                    summary = OnnxExport.write(out, loaded.model(), loaded.card(), options);
                }
                print(spec.commandLine().getOut(), summary);
            }

            private static <E extends Enum<E>> E one(String option, String value, E[] all) {
                for (E e : all) {
                    if (name(e).equals(value)) {
                        return e;
                    }
                }
                throw new InputException(
                        option + " " + value,
                        "there is no such choice",
                        "use one of " + Arrays.stream(all).map(Work::name).toList());
            }

            private static String name(Enum<?> e) {
                return e.name().toLowerCase(Locale.ROOT);
            }

            private void print(PrintWriter text, OnnxExport.Summary s) {
                text.printf(
                        Locale.ROOT,
                        "%s: %.1f MB, opset %d, %d nodes, one %s a call, tasks %s%n",
                        s.file(),
                        s.bytes() / 1e6,
                        OnnxExport.OPSET,
                        s.nodes(),
                        form,
                        s.tasks());
                ports(text, "in", s.inputs());
                ports(text, "out", s.outputs());
                text.flush();
            }

            private static void ports(PrintWriter text, String direction, List<OnnxPort> ports) {
                ports.forEach(
                        p -> text.printf("%-3s  %-14s  %-24s  %s%n", direction, p.name(), p.signature(), p.meaning()));
            }
        }
    }
}
