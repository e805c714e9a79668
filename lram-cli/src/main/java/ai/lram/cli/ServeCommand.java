package ai.lram.cli;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.engine.EngineChoice;
import ai.lram.backend.DType;
import ai.lram.bridge.grpc.ControlServer;
import ai.lram.bridge.grpc.Endpoint;
import ai.lram.bridge.grpc.ServerRehearsal;
import ai.lram.bridge.grpc.ServerSettings;
import ai.lram.cli.config.InputException;
import ai.lram.cli.config.Settings;
import ai.lram.cli.scenario.Models;
import ai.lram.cli.scenario.ServerProcess;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.RuntimeSettings;
import ai.lram.runtime.Snapshot;
import ai.lram.runtime.recording.EpisodeSinkFactory;
import ai.lram.runtime.recording.LeRobotSinks;
import ai.lram.runtime.session.SessionStats;
import com.typesafe.config.Config;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Serves a model. */
@Command(
        name = "serve",
        description =
                "Serves a model to robots over gRPC until Ctrl-C: one session per robot, actions before their deadlines.",
        mixinStandardHelpOptions = true)
final class ServeCommand implements Runnable {
    private static final String LOOPBACK = "127.0.0.1";

    @Spec
    private CommandSpec spec;

    @Option(
            names = "--model",
            required = true,
            paramLabel = "M",
            description = "Folder of a training run, or a checkpoint.")
    private Path model;

    @ArgGroup(exclusive = true)
    private Address address = new Address();

    /** Where to listen. */
    static final class Address {
        @Option(
                names = "--port",
                paramLabel = "P",
                description = "Loopback port, 0 for a free one (default: that of lram.bridge.listen).")
        private Integer port;

        @Option(names = "--unix", paramLabel = "PATH", description = "Unix domain socket in place of a port.")
        private Path unix;
    }

    @Option(
            names = "--record",
            paramLabel = "DIR",
            description = "Write episodes of robots that ask for it as LeRobot v3 data sets in DIR.")
    private Path record;

    @Option(
            names = "--max-sessions",
            paramLabel = "N",
            description = "Robots at once (default: that of lram.runtime.max-sessions).")
    private Integer maxSessions;

    @Option(names = "--config", paramLabel = "FILE", description = "Settings under lram.runtime and lram.bridge.")
    private Path config;

    @Option(
            names = "--device",
            paramLabel = "NAME",
            description =
                    "Engine: cpu, cuda, or auto for the one on which steps of this model are the fastest here (default: ${DEFAULT-VALUE}).")
    private String device = "auto";

    @Option(
            names = "--expected-robots",
            paramLabel = "N",
            description =
                    "Robots usually due at once: auto compares engines by steps of so many (default: --max-sessions).")
    private Integer expectedRobots;

    @Option(
            names = "--threads",
            paramLabel = "N",
            description = "Worker threads of the policy, 0 for all processors (default: ${DEFAULT-VALUE}).")
    private int threads = 1;

    @Option(
            names = "--weights",
            paramLabel = "W",
            description =
                    "How the large matrices are stored for the step: fp32, or bf16 or int8 (one scale a row), which are faster and not exact (default: ${DEFAULT-VALUE}).")
    private String weights = "fp32";

    @Option(
            names = "--state",
            paramLabel = "S",
            description =
                    "How the recurrent state is kept: fp32, or bf16, which is faster for many robots on a GPU and not exact (default: ${DEFAULT-VALUE}).")
    private String state = "fp32";

    @Override
    public void run() {
        new Work().run();
    }

    /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
    private final class Work {
        void run() {
            Common.requireThreads(threads);
            DType stored = stored();
            DType kept = kept();
            Path folder = Models.resolve(model);
            List<TaskCard> tasks = Checkpoint.readCard(folder).tasks();
            Config settings = Settings.load(Optional.ofNullable(config), List.of("lram.runtime", "lram.bridge"));
            RuntimeSettings given = RuntimeSettings.from(settings);
            RuntimeSettings runtimeSettings = maxSessions == null ? given : given.withMaxSessions(maxSessions);
            ServerSettings serverSettings = listen(ServerSettings.from(settings));
            Optional<EpisodeSinkFactory> recording = recording();
            int slots = runtimeSettings.maxSessions();
            EngineChoice.Sessions timed = timed(slots);
            CountDownLatch asked = new CountDownLatch(1);
            PrintWriter out = spec.commandLine().getOut();
            try (Interrupt interrupt = new Interrupt(asked::countDown);
                    LramRuntime runtime = LramRuntime.start(
                            () -> Models.openWarm(folder, device, threads, slots, slots, stored, kept, timed),
                            runtimeSettings,
                            recording,
                            LramRuntime.Environment.system())) {
                ServerRehearsal.of(runtime, serverSettings, runtimeSettings.longestDeadline(), interrupt)
                        .ifPresent(r -> rehearsed(out, r));
                if (interrupt.getAsBoolean()) {
                    return;
                }
                try (ControlServer server = ControlServer.start(runtime, serverSettings)) {
                    out.println(ServerProcess.READY + server.endpoint());
                    out.println("model " + folder + ", weights " + weights + ", state " + state + ", tasks "
                            + tasks.stream().map(TaskCard::id).toList() + ", at most " + slots + " robots");
                    out.println("try: lram drive --env ENVIRONMENT --connect " + server.endpoint());
                    out.flush();
                    asked.await();
                    if (interrupt.getAsBoolean()) {
                        statistics(out, runtime.stats());
                    }
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }

        /** Deadlines must hold when all are due at once, unless somebody knows better. */
        private EngineChoice.Sessions timed(int slots) {
            if (expectedRobots == null) {
                return new EngineChoice.Sessions(slots, "as many as it serves; --expected-robots names another number");
            }
            if (expectedRobots < 1 || expectedRobots > slots) {
                throw new InputException(
                        "--expected-robots " + expectedRobots,
                        "it lies in 1.." + slots + ", which is how many are served",
                        "name how many are due at once, or raise --max-sessions");
            }
            return new EngineChoice.Sessions(expectedRobots, "as expected");
        }

        private DType stored() {
            return switch (weights) {
                case "fp32" -> DType.F32;
                case "bf16" -> DType.BF16;
                case "int8" -> DType.I8;
                default ->
                    throw new InputException(
                            "--weights " + weights, "there is no such choice", "use one of [fp32, bf16, int8]");
            };
        }

        private DType kept() {
            return switch (state) {
                case "fp32" -> DType.F32;
                case "bf16" -> DType.BF16;
                default ->
                    throw new InputException("--state " + state, "there is no such choice", "use one of [fp32, bf16]");
            };
        }

        private ServerSettings listen(ServerSettings settings) {
            if (address.unix != null) {
                return settings.at(new Endpoint.Unix(address.unix.toAbsolutePath()));
            }
            return address.port == null ? settings : settings.at(new Endpoint.Tcp(LOOPBACK, address.port));
        }

        private Optional<EpisodeSinkFactory> recording() {
            if (record == null) {
                return Optional.empty();
            }
            if (Files.exists(record) && !Files.isDirectory(record)) {
                throw new InputException(
                        "--record " + record, "it is no folder", "name a folder, or one to be created");
            }
            return Optional.of(new LeRobotSinks(record));
        }

        private static void rehearsed(PrintWriter out, ServerRehearsal.Result r) {
            out.println(String.format(
                    Locale.ROOT,
                    "rehearsed %,d steps: %.2f ms the first, %.2f ms the last ones",
                    r.actions(),
                    r.firstMs(),
                    r.lastMs()));
        }

        private static void statistics(PrintWriter out, Snapshot s) {
            List<List<String>> rows = new ArrayList<>();
            for (SessionStats session : s.sessions()) {
                rows.add(List.of(
                        session.robot(),
                        String.valueOf(session.episodes()),
                        String.valueOf(session.steps()),
                        ms(session.total().p50Ns()),
                        ms(session.total().p99Ns()),
                        ms(session.total().maxNs()),
                        String.valueOf(session.missedDeadlines())));
            }
            if (!rows.isEmpty()) {
                Outputs.table(out, List.of("robot", "episodes", "steps", "p50 ms", "p99 ms", "max ms", "missed"), rows);
            }
            out.println("served " + s.sessionsOpened() + " sessions, "
                    + s.inference().rows() + " steps in " + s.inference().batches() + " batches, recorded "
                    + s.recording().episodes() + " episodes");
            out.flush();
        }

        private static String ms(long ns) {
            return String.format(Locale.ROOT, "%.2f", ns / 1e6);
        }
    }
}
