package ai.lram.bridge.grpc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.Snapshot;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;
import com.typesafe.config.ConfigFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RehearsalTest {
    /** Never near zero, so an observation of zeros would be refused. */
    private static final TaskCard HOT = new TaskCard(
            "hot",
            "test",
            1,
            List.of(new ObservationFeature("motor.temp", "K", 250, 400, 300, 10)),
            List.of(),
            List.of(ActionFeature.bounded("u", "N", -1, 1)),
            0,
            1,
            false,
            50,
            1000,
            Fallback.HOLD,
            List.of(0.0));

    private static final ModelCard MODEL =
            new ModelCard(ModelCard.FORMAT_VERSION, "scripted", List.of(HOT, ControlServerTest.CAMERA), Map.of());

    private static final Endpoint ANY = new Endpoint.Tcp("127.0.0.1", 0);

    private final AtomicInteger steps = new AtomicInteger();
    private final Set<String> tasks = ConcurrentHashMap.newKeySet();

    private LramRuntime runtime() {
        return LramRuntime.start(() -> {
            GatedPolicy policy = new GatedPolicy(new LinearFeedbackPolicy(MODEL, 1, 1, 5));
            policy.before = batch -> steps.addAndGet(batch.count);
            policy.onReset = task -> tasks.add(task.id());
            return policy;
        });
    }

    private static ServerSettings settings(Endpoint at, String rehearsal) {
        return ServerSettings.from(ConfigFactory.parseString("lram.bridge.rehearsal = " + rehearsal)
                        .withFallback(ConfigFactory.load()))
                .at(at);
    }

    @Test
    void itIsAnEpisodeAtLeastOfWhichNothingIsCounted() {
        try (LramRuntime runtime = runtime()) {
            Rehearsal.Outcome done = Rehearsal.of(runtime, settings(ANY, "1ms")).orElseThrow();
            assertEquals(50, done.steps(), "an episode, however short the time");
            assertEquals(50, steps.get(), "all by the policy");
            assertTrue(done.firstMs() > 0 && done.lastMs() > 0, done.toString());
            Snapshot stats = runtime.stats();
            assertEquals(0, stats.sessionsOpened());
            assertEquals(0, stats.openSessions());
            assertEquals(List.of(), stats.sessions());
            assertEquals(0, stats.inference().rows());
            assertEquals(0, stats.inference().batches());
            assertEquals(0, stats.inference().step().count());

            try (ControlServer server = ControlServer.start(runtime, settings(ANY, "0s"));
                    ControlClient client = ControlClient.connect(server.endpoint())) {
                TaskDescription hot = client.describe().task("hot");
                try (RobotConnection robot = client.open(SessionOptions.of("robot", hot))) {
                    robot.act(new float[] {300}, 0, true);
                }
                assertEquals(1, runtime.stats().sessionsOpened());
                assertEquals(1, runtime.stats().inference().rows());
            }
        }
    }

    @Test
    void itGoesOnForItsTimeThroughAllTasks() {
        try (LramRuntime runtime = runtime()) {
            int done =
                    Rehearsal.of(runtime, settings(ANY, "500ms")).orElseThrow().steps();
            assertTrue(done >= 100 && done % 50 == 0, done + " steps in whole episodes");
            assertEquals(done, steps.get());
            assertEquals(Set.of("hot", "camera"), tasks);
        }
    }

    @Test
    void zeroIsNone() {
        try (LramRuntime runtime = runtime()) {
            assertEquals(Optional.empty(), Rehearsal.of(runtime, settings(ANY, "0s")));
            assertEquals(0, steps.get());
        }
    }

    @Test
    void theSocketThatRobotsWaitForIsNotThereYet(@TempDir Path folder) {
        Path socket = folder.resolve("robots");
        AtomicBoolean seen = new AtomicBoolean();
        try (LramRuntime runtime = LramRuntime.start(() -> {
            GatedPolicy policy = new GatedPolicy(new LinearFeedbackPolicy(MODEL, 1, 1, 5));
            policy.before = batch -> seen.compareAndSet(false, Files.exists(socket));
            return policy;
        })) {
            assertEquals(
                    50,
                    Rehearsal.of(runtime, settings(new Endpoint.Unix(socket), "1ms"))
                            .orElseThrow()
                            .steps());
            assertFalse(seen.get());
            assertFalse(Files.exists(socket));
        }
    }

    @Test
    void countsAreNotForgottenUnderAnOpenSession() {
        try (LramRuntime runtime = runtime();
                ControlServer server = ControlServer.start(runtime, settings(ANY, "0s"));
                ControlClient client = ControlClient.connect(server.endpoint());
                RobotConnection robot =
                        client.open(SessionOptions.of("robot", client.describe().task("hot")))) {
            robot.act(new float[] {300}, 0, true);
            assertThrows(IllegalStateException.class, () -> Rehearsal.of(runtime, settings(ANY, "1ms")));
            assertEquals(1, runtime.stats().sessionsOpened());
            assertEquals(1, steps.get());
        }
    }

    @Test
    void longerThanAMinuteIsRefused() {
        assertThrows(BridgeConfigException.class, () -> settings(ANY, "61s"));
    }
}
