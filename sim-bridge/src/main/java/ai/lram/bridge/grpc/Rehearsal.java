package ai.lram.bridge.grpc;

import ai.lram.runtime.LramRuntime;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Drives a runtime before its server listens, over a server and a client of its own at another address of the same kind: classes are loaded
 * and code is compiled while no robot waits. What the policy needs for its own first step it has done before ({@code Policy.warmUp}).
 */
public final class Rehearsal {
    private static final int EPISODE_STEPS = 50;
    private static final int LAST = 100;
    private static final long END_SECONDS = 10;
    private static final String ROBOT = "rehearsal";

    /**
     * @param steps taken
     * @param firstMs round trip of the first one
     * @param lastMs median round trip of the last ones
     */
    public record Outcome(int steps, double firstMs, double lastMs) {}

    private final long endNs;
    private final Deque<Long> last = new ArrayDeque<>();
    private int steps;
    private long firstNs;

    private Rehearsal(long endNs) {
        this.endNs = endNs;
    }

    /**
     * Drives episodes of {@value #EPISODE_STEPS} steps of one task after the other, as long as {@link ServerSettings#rehearsal()} says, but one at least if that is
     * not zero. Blocks. Afterwards the runtime has no session, and counts from nothing.
     *
     * @return empty if the settings want none
     * @throws BridgeException if a robot would not be served
     * @throws IllegalStateException if a session is open
     */
    public static Optional<Outcome> of(LramRuntime runtime, ServerSettings settings) {
        if (settings.rehearsal().isZero()) {
            return Optional.empty();
        }
        runtime.forgetStats();
        Rehearsal rehearsal =
                new Rehearsal(System.nanoTime() + settings.rehearsal().toNanos());
        switch (settings.endpoint()) {
            case Endpoint.Tcp tcp -> rehearsal.over(runtime, settings.at(new Endpoint.Tcp(tcp.host(), 0)));
            case Endpoint.Unix unix -> rehearsal.overSocketFile(runtime, settings);
        }
        runtime.forgetStats();
        return Optional.of(rehearsal.outcome());
    }

    private void overSocketFile(LramRuntime runtime, ServerSettings settings) {
        try {
            Path folder = Files.createTempDirectory("lram");
            try {
                over(runtime, settings.at(new Endpoint.Unix(folder.resolve(ROBOT))));
            } finally {
                Files.deleteIfExists(folder.resolve(ROBOT));
                Files.delete(folder);
            }
        } catch (IOException failure) {
            throw new ServerStartException(
                    "no socket for the rehearsal",
                    failure.toString(),
                    "make the folder for temporary files writable, or set lram.bridge.rehearsal = 0s",
                    failure);
        }
    }

    private void over(LramRuntime runtime, ServerSettings settings) {
        try (ControlServer server = ControlServer.start(runtime, settings);
                ControlClient client = ControlClient.connect(server.endpoint())) {
            List<TaskDescription> tasks = client.describe().tasks();
            for (int i = 0; i == 0 || System.nanoTime() < endNs; i++) {
                episode(client, tasks.get(i % tasks.size()));
            }
        }
    }

    private void episode(ControlClient client, TaskDescription task) {
        float[] observation = new float[task.observationSize()];
        for (int i = 0; i < observation.length; i++) {
            observation[i] = Math.clamp(
                    0f,
                    task.observationMin().get(i).floatValue(),
                    task.observationMax().get(i).floatValue());
        }
        byte[] image = new byte[imageBytes(task.robot().imageShape())];
        try (RobotConnection robot = client.open(SessionOptions.of(ROBOT, task))) {
            for (int t = 0; t < EPISODE_STEPS; t++) {
                count(robot.act(observation, image, 0, t == 0, System.nanoTime(), 0)
                        .roundTripNs());
            }
            robot.endEpisode(0, false).get(END_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new ConnectionLostException(
                    "the rehearsal was broken off", "the thread was interrupted", "start again", interrupted);
        } catch (ExecutionException | TimeoutException failure) {
            throw new ConnectionLostException(
                    "an episode of the rehearsal was not ended",
                    failure.toString(),
                    "look at the server's log",
                    failure);
        }
    }

    private static int imageBytes(List<Integer> shape) {
        return shape.isEmpty() ? 0 : shape.stream().reduce(1, (a, b) -> a * b);
    }

    private void count(long roundTripNs) {
        if (steps++ == 0) {
            firstNs = roundTripNs;
        }
        last.addLast(roundTripNs);
        if (last.size() > LAST) {
            last.removeFirst();
        }
    }

    private Outcome outcome() {
        long[] sorted = last.stream().mapToLong(Long::longValue).sorted().toArray();
        return new Outcome(steps, 1e-6 * firstNs, 1e-6 * sorted[sorted.length / 2]);
    }
}
