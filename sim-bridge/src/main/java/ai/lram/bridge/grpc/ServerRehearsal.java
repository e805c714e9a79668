package ai.lram.bridge.grpc;

import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.bridge.grpc.RobotReply.Outcome;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.protocol.RobotDescription;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;

/**
 * Drives a runtime before its server listens, over a server and a client of its own at another loopback port: classes are loaded and code is
 * compiled while no robot waits. The policy by itself has been warmed up before ({@link ai.lram.agent.engine.Rehearsal}).
 */
public final class ServerRehearsal {
    private static final int EPISODE_STEPS = 50;
    private static final int LAST = 100;
    private static final long END_SECONDS = 10;
    private static final Duration PATIENCE = Duration.ofSeconds(1);
    private static final String ROBOT = "rehearsal";

    /**
     * Actions of the policy that came in time.
     *
     * @param firstMs round trip of the first one
     * @param lastMs median round trip of the last ones
     */
    public record Result(int actions, double firstMs, double lastMs) {}

    private final long deadlineNs;
    private final BooleanSupplier enough;
    private final Deque<Long> last = new ArrayDeque<>();
    private int actions;
    private long firstNs;
    private RobotReply failure; // the last one

    private ServerRehearsal(long deadlineNs, BooleanSupplier enough) {
        this.deadlineNs = deadlineNs;
        this.enough = enough;
    }

    /**
     * Drives episodes of {@value #EPISODE_STEPS} steps, of one task after the other, for as long as {@link ServerSettings#rehearsal()} says: one step at
     * least if that is not zero, and as many tasks as there is time for. Blocks. Afterwards the runtime has no session, and counts from nothing.
     *
     * @param longestDeadline that the runtime accepts
     * @param stop asked between steps
     * @return empty if the settings want none
     * @throws BindRefusedException if other hosts could reach the settings' address
     * @throws ServerStartException if that address is in use or cannot be bound
     * @throws RehearsalException if no action came
     * @throws IllegalStateException if a session is open
     */
    public static Optional<Result> of(
            LramRuntime runtime, ServerSettings settings, Duration longestDeadline, BooleanSupplier stop) {
        if (settings.rehearsal().isZero()) {
            return Optional.empty();
        }
        long endNs = System.nanoTime() + settings.rehearsal().toNanos();
        Duration deadline = longestDeadline.compareTo(PATIENCE) < 0 ? longestDeadline : PATIENCE;
        return Optional.of(until(runtime, settings, deadline, () -> stop.getAsBoolean() || System.nanoTime() >= endNs));
    }

    /**
     * @param deadline of each action
     * @param enough asked after every step
     */
    static Result until(LramRuntime runtime, ServerSettings settings, Duration deadline, BooleanSupplier enough) {
        ControlServer.requireFree(settings.endpoint());
        runtime.forgetStats();
        ServerRehearsal rehearsal = new ServerRehearsal(deadline.toNanos(), enough);
        try (ControlServer server = ControlServer.start(runtime, settings.at(new Endpoint.Tcp("127.0.0.1", 0)));
                ControlClient client = ControlClient.connect(server.endpoint())) {
            rehearsal.drive(client, runtime.card().tasks());
        }
        try {
            runtime.forgetStats();
        } catch (IllegalStateException open) {
            throw new RehearsalException("the rehearsal did not end", open.getMessage(), open);
        }
        return rehearsal.result();
    }

    private void drive(ControlClient client, List<TaskCard> tasks) {
        int i = 0;
        do {
            episode(client, tasks.get(i++ % tasks.size()));
        } while (!enough.getAsBoolean());
    }

    private void episode(ControlClient client, TaskCard task) {
        float[] observation = new float[task.observationSize()];
        for (int i = 0; i < observation.length; i++) {
            ObservationFeature f = task.observation().get(i);
            observation[i] = Math.clamp(0f, (float) f.min(), (float) f.max());
        }
        byte[] image = new byte[task.imageBytes()];
        try (RobotConnection robot = client.open(SessionOptions.of(ROBOT, task.id(), RobotDescription.of(task)))) {
            int t = 0;
            do {
                RobotReply reply = robot.act(observation, image, 0, t == 0, System.nanoTime(), deadlineNs);
                if (reply.outcome() != Outcome.OK) {
                    failure = reply;
                    return;
                }
                count(reply.roundTripNs());
                t++;
            } while (t < EPISODE_STEPS && !enough.getAsBoolean());
            robot.endEpisode(0, false).get(END_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new RehearsalException("the rehearsal was broken off", "the thread was interrupted", interrupted);
        } catch (ExecutionException | TimeoutException broken) {
            throw new RehearsalException("an episode of the rehearsal was not ended", broken.toString(), broken);
        }
    }

    private void count(long roundTripNs) {
        if (actions++ == 0) {
            firstNs = roundTripNs;
        }
        last.addLast(roundTripNs);
        if (last.size() > LAST) {
            last.removeFirst();
        }
    }

    private Result result() {
        if (actions == 0) {
            throw new RehearsalException(
                    "a robot would get no action of this model",
                    failure.outcome() + " " + failure.cause() + " " + failure.detail(),
                    null);
        }
        long[] sorted = last.stream().mapToLong(Long::longValue).sorted().toArray();
        return new Result(actions, 1e-6 * firstNs, 1e-6 * sorted[sorted.length / 2]);
    }
}
