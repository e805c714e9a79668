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
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.Snapshot;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;
import com.typesafe.config.ConfigFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ServerRehearsalTest {
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
    private static final Duration FAR = Duration.ofSeconds(10);

    private final AtomicInteger steps = new AtomicInteger();
    private final Set<String> tasks = ConcurrentHashMap.newKeySet();

    private LramRuntime runtime() {
        return runtime(batch -> {});
    }

    private LramRuntime runtime(Consumer<PolicyBatch> before) {
        return LramRuntime.start(() -> {
            GatedPolicy policy = new GatedPolicy(new LinearFeedbackPolicy(MODEL, 1, 1, 5));
            policy.before = batch -> {
                steps.addAndGet(batch.count);
                before.accept(batch);
            };
            policy.onReset = task -> tasks.add(task.id());
            return policy;
        });
    }

    private static ServerSettings settings(Endpoint at, String rehearsal) {
        return ServerSettings.from(ConfigFactory.parseString("lram.bridge.rehearsal = " + rehearsal)
                        .withFallback(ConfigFactory.load()))
                .at(at);
    }

    /** Asked after a step, and once more after a task's. */
    private BooleanSupplier after(int actions) {
        return () -> steps.get() >= actions;
    }

    @Test
    void allTasksAreDrivenAndNothingOfItIsCounted() {
        try (LramRuntime runtime = runtime()) {
            ServerRehearsal.Result done = ServerRehearsal.until(runtime, settings(ANY, "1s"), FAR, after(175));
            assertEquals(175, done.actions());
            assertEquals(175, steps.get(), "all by the policy");
            assertEquals(Set.of("hot", "camera"), tasks);
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
            }
        }
    }

    @Test
    void itIsOneStepAtLeast() {
        try (LramRuntime runtime = runtime()) {
            assertEquals(
                    1,
                    ServerRehearsal.of(runtime, settings(ANY, "1m"), FAR, () -> true)
                            .orElseThrow()
                            .actions());
            assertEquals(1, steps.get());
        }
    }

    @Test
    void zeroIsNone() {
        try (LramRuntime runtime = runtime()) {
            assertEquals(Optional.empty(), ServerRehearsal.of(runtime, settings(ANY, "0s"), FAR, () -> false));
            assertEquals(0, steps.get());
        }
    }

    @Test
    void aPolicyThatNeverActsIsNotServed() {
        try (LramRuntime runtime = runtime(batch -> {
            throw new PolicyException("this step", "the test says so", "none");
        })) {
            RehearsalException failure = assertThrows(
                    RehearsalException.class, () -> ServerRehearsal.until(runtime, settings(ANY, "1s"), FAR, after(2)));
            assertTrue(failure.getMessage().contains("POLICY_FAILURE"), failure.getMessage());
            assertTrue(failure.getMessage().contains("lram.bridge.rehearsal"), failure.getMessage());
        }
    }

    @Test
    void aStepThatFailsIsNoAction() {
        try (LramRuntime runtime = runtime(batch -> {
            if (steps.get() == 10) {
                throw new PolicyException("this step", "the test says so", "none");
            }
        })) {
            assertEquals(
                    29,
                    ServerRehearsal.until(runtime, settings(ANY, "1s"), FAR, after(30))
                            .actions());
            assertEquals(0, runtime.stats().inference().failures());
        }
    }

    @Test
    void theSocketThatRobotsWaitForIsNotThereYet(@TempDir Path folder) {
        Path socket = folder.resolve("robots");
        AtomicBoolean seen = new AtomicBoolean();
        try (LramRuntime runtime = runtime(batch -> seen.compareAndSet(false, Files.exists(socket)))) {
            ServerRehearsal.until(runtime, settings(new Endpoint.Unix(socket), "1s"), FAR, after(10));
            assertEquals(10, steps.get());
            assertFalse(seen.get());
            assertFalse(Files.exists(socket));
        }
    }

    @Test
    void anAddressThatCannotBeHadIsFoundFirst() {
        try (LramRuntime runtime = runtime();
                ControlServer other = ControlServer.start(runtime, settings(ANY, "0s"))) {
            assertThrows(
                    ServerStartException.class,
                    () -> ServerRehearsal.until(runtime, settings(other.endpoint(), "1s"), FAR, after(1)));
            Endpoint all = new Endpoint.Tcp("0.0.0.0", 7447);
            assertThrows(
                    BindRefusedException.class,
                    () -> ServerRehearsal.until(runtime, settings(all, "1s"), FAR, after(1)));
            assertEquals(0, steps.get());
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
            assertThrows(
                    IllegalStateException.class,
                    () -> ServerRehearsal.until(runtime, settings(ANY, "1s"), FAR, after(2)));
            assertEquals(1, runtime.stats().sessionsOpened());
            assertEquals(1, steps.get());
        }
    }

    @Test
    void longerThanAMinuteIsRefused() {
        assertThrows(BridgeConfigException.class, () -> settings(ANY, "61s"));
    }
}
