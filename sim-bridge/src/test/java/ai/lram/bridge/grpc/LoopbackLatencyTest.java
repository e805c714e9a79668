package ai.lram.bridge.grpc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.RuntimeSettings;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;
import com.typesafe.config.ConfigFactory;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.HdrHistogram.Histogram;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Round trip of a 26-value observation and a 26-value action through client, server, session and inference thread with a policy
 * that costs nothing. {@code -Dlram.latency.seconds=10} for numbers worth quoting; the default keeps the build short.
 */
class LoopbackLatencyTest {
    private static final int SIZE = 26;
    private static final double SECONDS = Double.parseDouble(System.getProperty("lram.latency.seconds", "0.5"));
    private static final ClientSettings PATIENT =
            new ClientSettings(Duration.ofSeconds(20), Duration.ofSeconds(20), Duration.ofNanos(20_000));
    private static final long FAR_NS = 5_000_000_000L;
    private static final TaskCard TASK = new TaskCard(
            "joints",
            "test",
            100,
            IntStream.range(0, SIZE)
                    .mapToObj(i -> new ObservationFeature("q" + i, "rad", -4, 4, 0, 1))
                    .toList(),
            List.of(),
            IntStream.range(0, SIZE)
                    .mapToObj(i -> ActionFeature.bounded("u" + i, "rad", -3, 3))
                    .toList(),
            0,
            1,
            false,
            0,
            0,
            Fallback.HOLD,
            IntStream.range(0, SIZE).mapToObj(i -> 0.0).toList());

    @Test
    void everyRoundTripIsAnsweredByThePolicy(@TempDir Path folder) {
        ModelCard card = new ModelCard(ModelCard.FORMAT_VERSION, "scripted", List.of(TASK), Map.of());
        try (LramRuntime runtime = LramRuntime.start(
                        () -> new LinearFeedbackPolicy(card, 4, 4, 1),
                        RuntimeSettings.from(ConfigFactory.load()),
                        Optional.empty(),
                        LramRuntime.Environment.system());
                ControlServer tcp =
                        ControlServer.start(runtime, ServerSettings.load().at(new Endpoint.Tcp("127.0.0.1", 0)));
                ControlServer unix = ControlServer.start(
                        runtime, ServerSettings.load().at(new Endpoint.Unix(folder.resolve("s"))))) {
            for (ControlServer server : List.of(tcp, unix)) {
                String name = server == tcp ? "TCP" : "Unix socket";
                measure(server, 0, SECONDS);
                print(name + ", back to back", measure(server, 0, SECONDS));
                print(name + ", 100 Hz", measure(server, 10_000_000, SECONDS));
            }
        }
    }

    private static void print(String what, Histogram h) {
        System.out.printf(
                "%-28s round trip us: p50 %.0f  p99 %.0f  p99.9 %.0f  max %.0f  (%d steps)%n",
                what,
                h.getValueAtPercentile(50) / 1e3,
                h.getValueAtPercentile(99) / 1e3,
                h.getValueAtPercentile(99.9) / 1e3,
                h.getMaxValue() / 1e3,
                h.getTotalCount());
    }

    /** Steps for some seconds; from the moment a step was due, so that a late one counts against those behind it too. */
    private static Histogram measure(ControlServer server, long periodNs, double seconds) {
        Histogram histogram = new Histogram(3);
        try (ControlClient client = ControlClient.connect(server.endpoint(), PATIENT);
                RobotConnection robot = client.open(
                        SessionOptions.of("latency", client.describe().task("joints")))) {
            float[] vector = new float[SIZE];
            long startNs = System.nanoTime();
            long dueNs = startNs;
            long steps = 0;
            while (dueNs - startNs < seconds * 1e9) {
                for (long nowNs = System.nanoTime(); nowNs < dueNs; nowNs = System.nanoTime()) {
                    LockSupport.parkNanos(dueNs - nowNs);
                }
                vector[(int) (steps % SIZE)] = (float) Math.sin(steps);
                long beganNs = periodNs > 0 ? dueNs : System.nanoTime();
                RobotReply reply = robot.act(vector, new byte[0], 0, steps == 0, System.nanoTime(), FAR_NS);
                long endNs = System.nanoTime();
                assertEquals(RobotReply.Outcome.OK, reply.outcome(), reply.toString());
                assertEquals(steps, reply.sequence());
                assertTrue(reply.action()[0] >= -3 && reply.action()[0] <= 3);
                histogram.recordValue(endNs - beganNs);
                steps++;
                dueNs = periodNs > 0 ? dueNs + periodNs : endNs;
            }
            assertEquals(steps, histogram.getTotalCount());
        }
        return histogram;
    }
}
