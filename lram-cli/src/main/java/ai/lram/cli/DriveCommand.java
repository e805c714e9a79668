package ai.lram.cli;

import ai.lram.agent.policy.Policy;
import ai.lram.bench.report.JsonReport;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.grpc.ControlClient;
import ai.lram.bridge.grpc.Endpoint;
import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import ai.lram.cli.scenario.ControlLog;
import ai.lram.cli.scenario.DriveException;
import ai.lram.cli.scenario.Miss;
import ai.lram.cli.scenario.Models;
import ai.lram.cli.scenario.Replay;
import ai.lram.cli.scenario.SimulatedRobot;
import ai.lram.dataset.store.TrajectoryStore;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.OptionalDouble;
import java.util.stream.LongStream;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Is the robot of a server. */
@Command(
        name = "drive",
        description = "Connects a simulated robot, or a recorded one, to a server started with lram serve.",
        mixinStandardHelpOptions = true)
final class DriveCommand implements Runnable {
    private static final double DEFAULT_RATE_HZ = 100;

    @Spec
    private CommandSpec spec;

    @Option(
            names = "--connect",
            required = true,
            paramLabel = "HOST:PORT",
            description = "The server's address; unix:PATH for a socket.")
    private String connect;

    @ArgGroup(exclusive = true, multiplicity = "1")
    private Source source;

    /** Where observations come from. */
    static final class Source {
        @ArgGroup(exclusive = false)
        private Simulation simulation;

        @ArgGroup(exclusive = false)
        private Recording recording;
    }

    /** A simulator. */
    static final class Simulation {
        @Option(names = "--env", required = true, paramLabel = "NAME", description = "Environment to simulate.")
        private String environment;

        @Option(
                names = "--episodes",
                paramLabel = "N",
                description = "Episodes, one seed each (default: ${DEFAULT-VALUE}).")
        private int episodes = 1;

        @Option(
                names = "--seed",
                paramLabel = "S",
                description = "First seed (default: the first of those never trained on).")
        private long seed = EnvironmentRegistry.FIRST_EVALUATION_SEED;

        @Option(
                names = "--target-return",
                paramLabel = "X",
                description = "Return to ask for (default: the model card's).")
        private Double targetReturn;
    }

    /** A recorded episode. */
    static final class Recording {
        @Option(
                names = "--replay",
                required = true,
                paramLabel = "STORE",
                description = "Send a recorded episode of this store.")
        private Path store;

        @Option(names = "--episode", required = true, paramLabel = "N", description = "Its number in the store.")
        private int episode;

        @Option(
                names = "--model",
                paramLabel = "M",
                description = "Compare with this model's offline actions; they must be equal bit for bit.")
        private Path model;

        @Option(
                names = "--device",
                paramLabel = "NAME",
                description =
                        "Engine of the offline actions: the server's, since engines round differently (default: ${DEFAULT-VALUE}).")
        private String device = "auto";
    }

    @Option(
            names = "--rate",
            paramLabel = "HZ",
            description = "Control steps per second (default: 100, for --replay the recording's).")
    private Double rate;

    @Option(names = "--record", description = "Ask the server to record the episodes.")
    private boolean record;

    @Option(names = "--json", paramLabel = "FILE", description = "Write what happened as JSON too.")
    private Path json;

    @Override
    public void run() {
        new Work().run();
    }

    /** Apart from the command: picocli looks at every method of a command, and the types of these take time to load. */
    private final class Work {
        void run() {
            if (rate != null && !(rate > 0 && Double.isFinite(rate))) {
                throw new InputException("--rate " + rate, "a rate is > 0", "give steps per second, e.g. 100");
            }
            Endpoint endpoint = Endpoint.parse(connect);
            if (source.simulation != null) {
                simulate(endpoint, source.simulation);
            } else {
                replay(endpoint, source.recording);
            }
        }

        private void simulate(Endpoint endpoint, Simulation s) {
            Common.requireAtLeast("--episodes", s.episodes, 1);
            SimulatedRobot robot = new SimulatedRobot(
                    s.environment,
                    s.targetReturn == null ? OptionalDouble.empty() : OptionalDouble.of(s.targetReturn),
                    record,
                    rate == null ? DEFAULT_RATE_HZ : rate);
            List<Long> seeds =
                    LongStream.range(s.seed, s.seed + s.episodes).boxed().toList();
            ControlLog log;
            PrintWriter out = spec.commandLine().getOut();
            try (ControlClient client = ControlClient.connect(endpoint, SimulatedRobot.PATIENT)) {
                log = robot.drive(client, seeds, System.nanoTime(), e -> {
                    out.printf(
                            Locale.ROOT, "seed %d: return %.1f in %d steps%n", e.seed(), e.episodeReturn(), e.length());
                    out.flush();
                });
            }
            out.printf(Locale.ROOT, "mean return %.1f%n", EpisodeResult.meanReturn(log.episodes()));
            latencies(out, log);
            if (json != null) {
                JsonReport.write(json, json(log));
            }
        }

        private void replay(Endpoint endpoint, Recording r) {
            PrintWriter out = spec.commandLine().getOut();
            Replay.Result result;
            int differences = 0;
            try (TrajectoryStore store = TrajectoryStore.open(r.store)) {
                try (ControlClient client = ControlClient.connect(endpoint, SimulatedRobot.PATIENT);
                        Progress progress = Progress.of("replay")) {
                    result = Replay.run(client, store, r.episode, rate == null ? 0 : rate, record, progress);
                }
                if (r.model != null) {
                    try (Policy policy = Models.open(r.model, r.device, 1, 1, 1)) {
                        float[][] offline = Replay.offline(
                                policy, policy.card().task(result.log().task()), store, r.episode);
                        differences = Replay.differences(result.actions(), offline, result.clampedRows());
                    }
                }
            }
            out.printf(
                    Locale.ROOT,
                    "episode %d of task %s: %d steps, mean absolute error %.6f, %d actions clamped by the safety stage%n",
                    result.episode(),
                    result.log().task(),
                    result.actions().length,
                    result.meanAbsoluteError(),
                    result.log().clamped());
            latencies(out, result.log());
            if (json != null) {
                JsonReport.write(json, result.json());
            }
            if (differences > 0) {
                throw new DriveException(
                        differences + " of " + result.actions().length
                                + " actions differ from the offline evaluation's",
                        "the server runs another model, other --weights or --state or another --device, missed deadlines ("
                                + result.log().missedTotal() + "), or computes otherwise",
                        "serve the same model; name the server's engine with --device; replay on an idle machine");
            }
            if (r.model != null) {
                out.println("every action equals the offline evaluation's");
                out.flush();
            }
        }

        private static void latencies(PrintWriter out, ControlLog log) {
            out.printf(
                    Locale.ROOT,
                    "latency p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms; missed %d of %d%s%n",
                    log.latencyMs(50),
                    log.latencyMs(99),
                    log.latencyMs(99.9),
                    log.maxMs(),
                    log.missedTotal(),
                    log.steps(),
                    log.missed().isEmpty() ? "" : " " + log.missed());
            out.flush();
        }

        private static ObjectNode json(ControlLog log) {
            ObjectNode n = JsonReport.object();
            n.put("task", log.task());
            JsonReport.put(n, "meanReturn", EpisodeResult.meanReturn(log.episodes()));
            ArrayNode episodes = n.putArray("episodes");
            for (EpisodeResult e : log.episodes()) {
                ObjectNode one = episodes.addObject();
                one.put("seed", e.seed());
                JsonReport.put(one, "return", e.episodeReturn());
                one.put("length", e.length());
            }
            JsonReport.put(n, "p50Ms", log.latencyMs(50));
            JsonReport.put(n, "p99Ms", log.latencyMs(99));
            JsonReport.put(n, "p999Ms", log.latencyMs(99.9));
            JsonReport.put(n, "maxMs", log.maxMs());
            n.put("missed", log.missedTotal());
            ObjectNode causes = n.putObject("missedByCause");
            for (Miss m : Miss.values()) {
                causes.put(m.key(), log.missed().getOrDefault(m, 0L));
            }
            n.put("steps", log.steps());
            return n;
        }
    }
}
