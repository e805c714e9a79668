package ai.lram.cli.scenario;

import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.grpc.ClientSettings;
import ai.lram.bridge.grpc.ControlClient;
import ai.lram.bridge.grpc.RobotConnection;
import ai.lram.bridge.grpc.RobotReply;
import ai.lram.bridge.grpc.SessionOptions;
import ai.lram.bridge.grpc.TaskDescription;
import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.cli.config.InputException;
import ai.lram.runtime.protocol.RobotDescription;
import java.time.Duration;
import java.util.List;
import java.util.OptionalDouble;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;

/** An environment of this process that is driven by a control server over the network, in real time. */
public final class SimulatedRobot {
    /** Waits long for a busy server to accept a connection; everything else as usual. */
    public static final ClientSettings PATIENT = new ClientSettings(
            Duration.ofSeconds(30),
            ClientSettings.defaults().replyGrace(),
            ClientSettings.defaults().spin());

    private static final long END_SECONDS = 30;
    /** Between warming up and what counts. */
    private static final long BREATH_NS = 200_000_000;

    private final String environment;
    private final OptionalDouble targetReturn;
    private final boolean record;
    private final long periodNs;

    /**
     * @param environment id
     * @param targetReturn to ask for; the task's own if empty
     * @param record on the server
     * @param rateHz control steps per second of real time; > 0
     */
    public SimulatedRobot(String environment, OptionalDouble targetReturn, boolean record, double rateHz) {
        this.environment = EnvironmentRegistry.spec(environment).id();
        this.targetReturn = targetReturn;
        this.record = record;
        this.periodNs = periodNs(rateHz);
    }

    static long periodNs(double rateHz) {
        if (!(rateHz > 0) || rateHz > 1e5) {
            throw new InputException(
                    "a rate of " + rateHz + " Hz",
                    "it must lie above 0 and up to 100000",
                    "give what the robot runs at, e.g. 100");
        }
        return Math.round(1e9 / rateHz);
    }

    /**
     * Drives one episode per seed, one after the other, in the calling thread.
     *
     * @param firstNs when the first observation falls due, on {@link System#nanoTime()}'s clock. Until shortly before, other episodes are
     *     driven over the same session, of which nothing is kept: code is compiled meanwhile
     * @param onEpisode hears every finished episode
     * @throws ai.lram.bridge.grpc.BridgeException if the server refuses the session or goes away
     * @throws DriveException if it refuses an observation or cannot go on
     */
    public ControlLog drive(ControlClient client, List<Long> seeds, long firstNs, Consumer<EpisodeResult> onEpisode) {
        Environment env = EnvironmentRegistry.create(environment);
        ControlLog log = new ControlLog(environment);
        try (RobotConnection robot = client.open(session(env.spec(), client))) {
            warmUp(robot, env, firstNs - BREATH_NS);
            ControlLoop loop = new ControlLoop(robot, log, Math.max(firstNs, System.nanoTime()), periodNs, periodNs);
            for (long seed : seeds) {
                EpisodeResult result = episode(robot, loop, env, seed, Long.MAX_VALUE);
                log.episode(result);
                onEpisode.accept(result);
            }
        }
        return log;
    }

    private void warmUp(RobotConnection robot, Environment env, long endNs) {
        ControlLoop loop = new ControlLoop(robot, new ControlLog(environment), System.nanoTime(), periodNs, periodNs);
        for (long seed = 0; System.nanoTime() < endNs; seed++) {
            episode(robot, loop, env, seed, endNs);
        }
    }

    private SessionOptions session(EnvironmentSpec spec, ControlClient client) {
        TaskDescription task = client.describe().task(environment);
        return new SessionOptions("sim/" + environment, environment, describe(spec, task), targetReturn, record);
    }

    private EpisodeResult episode(RobotConnection robot, ControlLoop loop, Environment env, long seed, long endNs) {
        float[] observation = new float[env.spec().observationSize()];
        env.reset(seed, observation);
        double total = 0;
        int length = 0;
        float reward = 0;
        do {
            RobotReply reply = loop.step(observation, reward, length == 0);
            env.step(reply.action(), observation);
            reward = env.reward();
            total += reward;
            length++;
        } while (!env.done() && System.nanoTime() < endNs);
        loop.awaitLateReplies();
        end(robot, reward, env.terminated());
        return new EpisodeResult(environment, seed, total, length, env.terminated());
    }

    private static void end(RobotConnection robot, float reward, boolean terminated) {
        try {
            robot.endEpisode(reward, terminated).get(END_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new DriveException("the episode was not ended", "the thread was interrupted", "drive again");
        } catch (ExecutionException | TimeoutException e) {
            throw new DriveException("the episode was not ended", e.toString(), "look at the server's log");
        }
    }

    /** The environment's own names, units and limits; its time may run faster or slower than real time, so the rate is the task's. */
    private static RobotDescription describe(EnvironmentSpec spec, TaskDescription task) {
        return new RobotDescription(
                task.rateHz(),
                spec.observation().stream()
                        .map(f -> new RobotDescription.Quantity(f.name(), f.unit()))
                        .toList(),
                List.of(),
                spec.action().stream()
                        .map(f -> new RobotDescription.LimitedQuantity(f.name(), f.unit(), f.low(), f.high()))
                        .toList(),
                spec.discreteActions());
    }
}
