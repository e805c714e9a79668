package ai.lram.cli;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Comparison;
import ai.lram.bench.ResultLines;
import ai.lram.bench.accuracy.AccuracyBench;
import ai.lram.bench.data.DataBench;
import ai.lram.bench.gpu.GpuBench;
import ai.lram.bench.gpu.GpuFormsBench;
import ai.lram.bench.gpu.GpuFormsSettings;
import ai.lram.bench.gpu.GpuStepBench;
import ai.lram.bench.gpu.GpuStepSettings;
import ai.lram.bench.latency.BridgeBench;
import ai.lram.bench.latency.Domain;
import ai.lram.bench.latency.Engines;
import ai.lram.bench.latency.LatencyBench;
import ai.lram.bench.latency.LatencySettings;
import ai.lram.bench.latency.Rate;
import ai.lram.bench.latency.Target;
import ai.lram.bench.machine.MachineBench;
import ai.lram.bench.step.StepBench;
import ai.lram.bench.step.StepSettings;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.suite.Suite;
import ai.lram.bench.train.TrainBench;
import ai.lram.cli.config.InputException;
import ai.lram.cli.scenario.Models;
import ai.lram.cli.scenario.OpenLoop;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Unmatched;

/** How fast it is, and how one knows. */
@Command(
        name = "bench",
        description = "Measures speed: of this machine, of the control step, of the whole control loop.",
        mixinStandardHelpOptions = true,
        subcommands = {
            BenchCommand.Names.class,
            BenchCommand.Machine.class,
            BenchCommand.Step.class,
            BenchCommand.Latency.class,
            BenchCommand.Bridge.class,
            BenchCommand.Data.class,
            BenchCommand.Train.class,
            BenchCommand.Gpu.class,
            BenchCommand.GpuStep.class,
            BenchCommand.Accuracy.class,
            BenchCommand.All.class,
            BenchCommand.Compare.class
        })
final class BenchCommand implements Runnable {
    @Spec
    private CommandSpec spec;

    @Unmatched
    private List<String> others = new ArrayList<>();

    @Override
    public void run() {
        new Work().run();
    }

    /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
    private final class Work {
        void run() {
            if (others.isEmpty()) {
                throw new ParameterException(spec.commandLine(), "say what to measure; lram bench list names it");
            }
            throw new InputException(
                    "there is no benchmark " + others.getFirst(),
                    "there are " + Suite.names() + ", " + GpuBench.NAME + ", " + GpuStepBench.NAME
                            + ", accuracy, all, list and compare",
                    "name one of them");
        }
    }

    /** Where results go, and how long measuring may take. */
    static final class Output {
        @Option(names = "--json", paramLabel = "FILE", description = "Write every result as a JSON line.")
        private Path json;

        @Option(
                names = "--report",
                paramLabel = "FILE",
                description = "Write a page with tables and plots that stands alone (HTML).")
        private Path report;

        @Option(names = "--quick", description = "Seconds in place of minutes: for trying out, not for quoting.")
        private boolean quick;

        Path json() {
            return json;
        }

        Path report() {
            return report;
        }
    }

    /** The benchmarks. */
    @Command(name = "list", description = "Names the benchmarks.", mixinStandardHelpOptions = true)
    static final class Names implements Runnable {
        @Spec
        private CommandSpec spec;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                List<List<String>> rows = new ArrayList<>();
                for (Benchmark b : Suite.all(true)) {
                    rows.add(List.of(b.name(), b.measures()));
                }
                rows.add(List.of(GpuBench.NAME, GpuBench.purpose() + "; not in all: not every machine has one"));
                rows.add(List.of(GpuStepBench.NAME, GpuStepBench.purpose() + "; not in all, likewise"));
                rows.add(List.of(
                        AccuracyBench.NAME, AccuracyBench.purpose() + "; not in all: it needs a model and its store"));
                Outputs.table(spec.commandLine().getOut(), List.of("benchmark", "measures"), rows);
            }
        }
    }

    /** The machine. */
    @Command(
            name = "machine",
            description = "Measures what this machine can do at best: bandwidths, arithmetic, clock, wake-ups, noise.",
            mixinStandardHelpOptions = true)
    static final class Machine implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                Measuring.run(
                        spec,
                        List.of(new MachineBench(StepSettings.usualThreads(), output.quick)),
                        output.json,
                        output.report);
            }
        }
    }

    /** The control step. */
    @Command(
            name = "step",
            description =
                    "Measures the CPU control step, beside ONNX Runtime and a decision transformer of equal size.",
            mixinStandardHelpOptions = true)
    static final class Step implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Option(
                names = "--size",
                split = ",",
                paramLabel = "S",
                description = "Model sizes: 1M, 2M, 16M, 48M, 110M, 206M, 408M (default: 16M).")
        private List<String> sizes;

        @Option(
                names = "--weights",
                split = ",",
                paramLabel = "W",
                description = "How weights are stored (default: all).")
        private List<String> weights;

        @Option(
                names = "--context",
                split = ",",
                paramLabel = "N",
                description =
                        "Environment steps that lie behind (default: 50,500,1600,8192,25600; the transformer up to 8192).")
        private List<Integer> contexts;

        @Option(names = "--threads", split = ",", paramLabel = "N", description = "Worker threads (default: 1,2).")
        private List<Integer> threads;

        @Option(names = "--sessions", paramLabel = "N", description = "Sessions of the batched case (default: 8).")
        private Integer sessions;

        @Option(names = "--samples", paramLabel = "N", description = "Timed steps at each context (default: 2000).")
        private Integer samples;

        @Option(
                names = "--garbage-steps",
                paramLabel = "N",
                description = "Steps in which heap bytes are counted, at least (default: 20000).")
        private Integer garbageSteps;

        @Option(
                names = "--onnx-runtime",
                negatable = true,
                defaultValue = "true",
                fallbackValue = "true",
                description = "Measure the same model in ONNX Runtime, or leave it out (default: measure).")
        private boolean onnxRuntime;

        @Option(
                names = "--transformer",
                negatable = true,
                defaultValue = "true",
                fallbackValue = "true",
                description = "Measure a decision transformer of equal size, or leave it out (default: measure).")
        private boolean transformer;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                StepSettings d = StepSettings.defaults(output.quick);
                StepSettings settings = new StepSettings(
                        sizes == null
                                ? d.sizes()
                                : sizes.stream().map(ModelSize::of).toList(),
                        weights == null ? LramSubject.WEIGHTS : StepSettings.weightsNamed(weights),
                        contexts == null ? d.contexts() : contexts,
                        threads == null ? d.threads() : threads,
                        sessions == null ? d.sessions() : sessions,
                        samples == null ? d.samples() : samples,
                        garbageSteps == null ? d.garbageSteps() : garbageSteps,
                        new StepSettings.Peers(transformerContexts(d), onnxRuntime),
                        sizes == null && weights == null && threads == null ? d.singles() : List.of(),
                        d.warmUpSeconds());
                Measuring.run(spec, List.of(new StepBench(settings, output.quick)), output.json, output.report);
            }

            private List<Integer> transformerContexts(StepSettings d) {
                if (!transformer) {
                    return List.of();
                }
                return contexts == null ? d.peers().transformerContexts() : contexts;
            }
        }
    }

    /** The control loop. */
    @Command(
            name = "latency",
            description = "Measures the whole control loop at a fixed rate: observation in, action out.",
            mixinStandardHelpOptions = true)
    static final class Latency implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Option(
                names = "--domain",
                split = ",",
                paramLabel = "D",
                description = "Domains by name, or environments of this build (default: all).")
        private List<String> domains;

        @Option(
                names = "--size",
                split = ",",
                paramLabel = "S",
                description = "Model sizes: 1M, 2M, 16M, 48M, 110M, 206M, 408M (default: 16M).")
        private List<String> sizes;

        @Option(
                names = "--model",
                paramLabel = "M",
                description =
                        "Folder of a training run, or a checkpoint, in place of drawn weights; its tasks in place of domains.")
        private Path model;

        @Option(
                names = "--transport",
                split = ",",
                paramLabel = "T",
                description = "local, tcp (gRPC), unix (gRPC over a socket file) (default: local,tcp).")
        private List<String> transports;

        @Option(
                names = "--context",
                split = ",",
                paramLabel = "N",
                description = "Environment steps that lie behind (default: 50).")
        private List<Integer> contexts;

        @Option(names = "--sessions", split = ",", paramLabel = "N", description = "Robots at once (default: 1,4).")
        private List<Integer> sessions;

        @Option(
                names = "--rate",
                paramLabel = "HZ",
                description = "Control rate of every robot, e.g. 500Hz (default: ${DEFAULT-VALUE}).")
        private String rate = "100Hz";

        @Option(names = "--seconds", paramLabel = "S", description = "Length of each case (default: 5).")
        private Double seconds;

        @Option(
                names = "--device",
                paramLabel = "NAME",
                description =
                        "Engine: cpu, cuda, both that there are side by side, or auto for the one a server would choose (default: ${DEFAULT-VALUE}).")
        private String device = "both";

        @Option(
                names = "--threads",
                paramLabel = "N",
                description = "Worker threads of the policy (default: ${DEFAULT-VALUE}).")
        private int threads = 1;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                Common.requireThreads(threads);
                LatencySettings d = LatencySettings.defaults(output.quick);
                Engines engines = Engines.of(device);
                LatencySettings settings = new LatencySettings(
                        targets(engines),
                        transports == null
                                ? d.transports()
                                : transports.stream()
                                        .map(LatencySettings.Transport::of)
                                        .toList(),
                        contexts == null ? d.contexts() : contexts,
                        sessions == null ? d.sessions() : sessions,
                        Rate.parse(rate),
                        seconds == null ? d.seconds() : seconds,
                        d.warmUpSeconds(),
                        engines.remark());
                Measuring.run(spec, List.of(new LatencyBench(settings)), output.json, output.report);
            }

            private List<Target> targets(Engines engines) {
                if (model != null) {
                    if (domains != null || sizes != null) {
                        throw new InputException(
                                "--model with --domain or --size",
                                "a trained model brings its tasks and its size along",
                                "leave the others out");
                    }
                    return Models.targets(model, threads, engines);
                }
                List<Target> targets = new ArrayList<>();
                for (String size : sizes == null ? List.of(output.quick ? "1M" : "16M") : sizes) {
                    for (Domain domain : domains == null ? Domain.all() : Domain.named(domains)) {
                        targets.addAll(
                                domain.targets(ModelSize.of(size), LramSubject.WEIGHTS.getFirst(), threads, engines));
                    }
                }
                return targets;
            }
        }
    }

    /** The bridge. */
    @Command(
            name = "bridge",
            description = "Measures what actors and gRPC add to the model's step, with a policy that costs nothing.",
            mixinStandardHelpOptions = true)
    static final class Bridge implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                Measuring.run(spec, List.of(new BridgeBench(output.quick)), output.json, output.report);
            }
        }
    }

    /** Trajectory data. */
    @Command(
            name = "data",
            description = "Measures trajectory data: windows a second, opening stores, import from Parquet.",
            mixinStandardHelpOptions = true)
    static final class Data implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                Measuring.run(spec, List.of(new DataBench(output.quick)), output.json, output.report);
            }
        }
    }

    /** Training. */
    @Command(
            name = "train",
            description = "Measures training: tokens a second, share of every kernel, distance to OpenBLAS's best.",
            mixinStandardHelpOptions = true)
    static final class Train implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Option(
                names = "--size",
                split = ",",
                paramLabel = "S",
                description = "Model sizes: 1M, 2M, 16M, 48M, 110M, 206M, 408M, G1 (default: 16M,G1).")
        private List<String> sizes;

        @Option(names = "--batch", paramLabel = "N", description = "Sequences of an update (default: 8).")
        private Integer batch;

        @Option(names = "--steps", paramLabel = "N", description = "Environment steps of a sequence (default: 50).")
        private Integer steps;

        @Option(names = "--threads", split = ",", paramLabel = "N", description = "Worker threads (default: 1,2).")
        private List<Integer> threads;

        @Option(names = "--updates", paramLabel = "N", description = "Timed updates (default: 15).")
        private Integer updates;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                TrainBench.Settings d = TrainBench.Settings.defaults(output.quick, StepSettings.usualThreads());
                TrainBench.Settings settings = new TrainBench.Settings(
                        sizes == null
                                ? d.sizes()
                                : sizes.stream().map(TrainBench::size).toList(),
                        batch == null ? d.batch() : batch,
                        steps == null ? d.steps() : steps,
                        threads == null ? d.threads() : threads,
                        d.warmUpUpdates(),
                        updates == null ? d.updates() : updates,
                        output.quick);
                Measuring.run(spec, List.of(new TrainBench(settings)), output.json, output.report);
            }
        }
    }

    /** A GPU. */
    @Command(
            name = "gpu",
            description = "Measures kernels on an NVIDIA GPU, beside its copy, its product and published times.",
            mixinStandardHelpOptions = true)
    static final class Gpu implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                Measuring.run(spec, List.of(new GpuBench(GpuBench.usual(), output.quick)), output.json, output.report);
            }
        }
    }

    /** The control step on a GPU. */
    @Command(
            name = "gpu-step",
            description =
                    "Measures the control step on an NVIDIA GPU, beside a decision transformer of equal size on the same engine.",
            mixinStandardHelpOptions = true)
    static final class GpuStep implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Option(
                names = "--size",
                split = ",",
                paramLabel = "S",
                description = "Model sizes: 16M, 206M (default: both); with --forms also others.")
        private List<String> sizes;

        @Option(
                names = "--weights",
                paramLabel = "W",
                description = "How weights of the step are stored: fp32, bf16, int8 (default: ${DEFAULT-VALUE}).")
        private String weights = "bf16";

        @Option(
                names = "--state",
                paramLabel = "S",
                description = "How the recurrent state is kept: fp32, bf16 (default: ${DEFAULT-VALUE}).")
        private String state = "fp32";

        @Option(
                names = "--steps",
                paramLabel = "N",
                description =
                        "Timed steps of one 16M session; other cases take a share of them (default: 100000, or 10 seconds a case).")
        private Integer steps;

        @Option(
                names = "--context",
                split = ",",
                paramLabel = "N",
                description =
                        "Environment steps behind one session, a case of every size for each, beside those of the long course of 16M (500, 25600).")
        private List<Integer> contexts = List.of();

        @Option(
                names = "--bytes-steps",
                paramLabel = "N",
                description =
                        "Steps of one session of the smallest size over which device memory must stay what the formula says (default: ${DEFAULT-VALUE}, none).")
        private int bytesSteps;

        @Option(
                names = "--forms",
                description = "In place of all that: the step of every size in each form of its mLSTM blocks.")
        private boolean forms;

        @Option(
                names = "--table",
                paramLabel = "FILE",
                description = "With --forms: write the fastest forms as -Dlram.cuda.step.table=FILE takes them.")
        private Path table;

        @Option(
                names = "--sessions",
                split = ",",
                paramLabel = "N",
                description = "With --forms: sessions in a step (default: 1,2,4,8,16,64,256 as far as they fit).")
        private List<Integer> sessions = List.of();

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                if (forms) {
                    compareForms();
                    return;
                }
                refuse(table != null, "--table without --forms", "it is a table of forms", "add --forms");
                refuse(!sessions.isEmpty(), "--sessions without --forms", "batches are of given sizes", "add --forms");
                GpuStepSettings settings = GpuStepSettings.of(
                                sizes == null ? GpuStepSettings.sizes() : sizes,
                                LramSubject.weights(weights),
                                LramSubject.state(state),
                                steps,
                                output.quick)
                        .withContexts(contexts)
                        .withBytesSteps(bytesSteps);
                measure(new GpuStepBench(settings, output.quick));
            }

            private void compareForms() {
                String apart = "forms are measured apart, in their steady state";
                refuse(!contexts.isEmpty(), "--context with --forms", apart, "leave out one of the two");
                refuse(bytesSteps != 0, "--bytes-steps with --forms", apart, "leave out one of the two");
                GpuFormsSettings settings = GpuFormsSettings.of(
                        sizes == null ? GpuStepSettings.sizes() : sizes,
                        LramSubject.weights(weights),
                        LramSubject.state(state),
                        sessions,
                        Optional.ofNullable(steps),
                        output.quick);
                Measuring.requireWritable("--table", table);
                Optional<GpuFormsSettings.Table> written =
                        Optional.ofNullable(table).map(t -> new GpuFormsSettings.Table(t, Measuring.command(spec)));
                measure(new GpuFormsBench(settings, written, output.quick));
            }

            private void refuse(boolean given, String what, String why, String fix) {
                if (given) {
                    throw new InputException(what, why, fix);
                }
            }

            private void measure(Benchmark benchmark) {
                Measuring.run(spec, List.of(benchmark), output.json, output.report);
            }
        }
    }

    /** Narrow weights and states. */
    @Command(
            name = "accuracy",
            description =
                    "Compares a trained model's answers with weights in fp32, bf16 and int8, and a state in bf16, on recorded observations.",
            mixinStandardHelpOptions = true)
    static final class Accuracy implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Option(
                names = "--model",
                required = true,
                paramLabel = "M",
                description = "Folder of a training run, or a checkpoint.")
        private Path model;

        @Option(
                names = "--data",
                required = true,
                paramLabel = "STORE",
                description = "The store it was trained on; the episodes held out from training are used.")
        private Path data;

        @Option(names = "--task", paramLabel = "ID", description = "Task of the model (default: its only one).")
        private String task;

        @Option(
                names = "--device",
                paramLabel = "NAME",
                description = "Engine: auto, cpu, cuda (default: ${DEFAULT-VALUE}).")
        private String device = "cpu";

        @Option(
                names = "--state",
                paramLabel = "S",
                description =
                        "bf16: compares a recurrent state in bf16 as well, which needs a GPU (default: ${DEFAULT-VALUE}).")
        private String state = "fp32";

        @Option(names = "--steps", paramLabel = "N", description = "Steps to compare at most (default: 10000).")
        private Integer steps;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                int most = steps != null ? steps : output.quick ? AccuracyBench.STEPS / 20 : AccuracyBench.STEPS;
                Common.requireAtLeast("--steps", most, 1);
                Path checkpoint = Models.resolve(model);
                ModelCard card = Checkpoint.readCard(checkpoint);
                TaskCard chosen = Models.task(card, task);
                try (TrajectoryStore store = TrajectoryStore.open(data)) {
                    int[] episodes = OpenLoop.episodes(store, card, chosen, OpenLoop.Split.HELD_OUT);
                    Benchmark bench = new AccuracyBench(
                            device, LramSubject.state(state), checkpoint, store, chosen, episodes, most);
                    Measuring.run(spec, List.of(bench), output.json, output.report);
                }
            }
        }
    }

    /** Everything. */
    @Command(
            name = "all",
            description = "Runs every benchmark with its usual settings.",
            mixinStandardHelpOptions = true)
    static final class All implements Runnable {
        @Spec
        private CommandSpec spec;

        @Mixin
        private Output output;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                Measuring.run(spec, Suite.all(output.quick), output.json, output.report);
            }
        }
    }

    /** Two runs. */
    @Command(
            name = "compare",
            description = "Shows what changed between two files of results, and whether it is more than noise.",
            mixinStandardHelpOptions = true)
    static final class Compare implements Runnable {
        @Spec
        private CommandSpec spec;

        @Parameters(index = "0", paramLabel = "A", description = "Results before.")
        private Path before;

        @Parameters(index = "1", paramLabel = "B", description = "Results after.")
        private Path after;

        @Option(names = "--changed", description = "Only what changed by more than noise.")
        private boolean changed;

        @Override
        public void run() {
            new Work().run();
        }

        private final class Work {
            void run() {
                List<Comparison.Row> rows = Comparison.of(ResultLines.read(before), ResultLines.read(after));
                Measuring.compare(spec.commandLine().getOut(), rows, changed);
            }
        }
    }
}
