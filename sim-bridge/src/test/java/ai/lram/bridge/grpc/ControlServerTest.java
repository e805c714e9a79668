package ai.lram.bridge.grpc;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.EpisodeReturn;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.bridge.grpc.RobotReply.Outcome;
import ai.lram.bridge.v1.ControlReply;
import ai.lram.bridge.v1.ControlRequest;
import ai.lram.bridge.v1.ControlServiceGrpc;
import ai.lram.bridge.v1.Observation;
import ai.lram.bridge.v1.OpenSession;
import ai.lram.bridge.v1.SessionOpened;
import ai.lram.bridge.v1.StatsReply;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.format.DatasetFormats;
import ai.lram.dataset.format.DatasetReader;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.RuntimeSettings;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.protocol.RobotDescription;
import ai.lram.runtime.recording.LeRobotSinks;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;
import com.typesafe.config.ConfigFactory;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.reflection.v1.ServerReflectionGrpc;
import io.grpc.reflection.v1.ServerReflectionRequest;
import io.grpc.reflection.v1.ServerReflectionResponse;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ControlServerTest {
    private static final long SEED = 11;
    private static final long FAR_NS = 9_000_000_000L;
    private static final byte[] NO_IMAGE = {};
    private static final ClientSettings PATIENT =
            new ClientSettings(Duration.ofSeconds(20), Duration.ofSeconds(20), Duration.ofNanos(20_000));
    private static final TaskCard ARM = arm("arm", 0);
    private static final TaskCard BUTTONS = arm("buttons", 4);
    static final TaskCard CAMERA = new TaskCard(
            "camera",
            "test",
            1,
            List.of(),
            List.of(1, 2, 3),
            List.of(ActionFeature.bounded("u", "N", -1, 1)),
            0,
            1,
            true,
            0,
            0,
            Fallback.SAFE,
            List.of(0.25));
    private static final ModelCard MODEL =
            new ModelCard(ModelCard.FORMAT_VERSION, "scripted", List.of(ARM, BUTTONS, CAMERA), Map.of());

    private final Deque<AutoCloseable> open = new ArrayDeque<>();
    private final LinkedBlockingQueue<GatedPolicy> policies = new LinkedBlockingQueue<>();
    private LramRuntime runtime;
    private ControlServer server;
    private GatedPolicy policy;

    /** Rates are low so that a deadline of one period is never missed by accident. */
    private static TaskCard arm(String id, int discrete) {
        return new TaskCard(
                id,
                "test",
                1,
                List.of(
                        new ObservationFeature("shoulder.pos", "rad", -3, 3, 0, 1),
                        new ObservationFeature("elbow.pos", "rad", -3, 3, 0.1, 2)),
                List.of(),
                discrete > 0
                        ? List.of(ActionFeature.bounded("choice", "", 0, discrete - 1))
                        : List.of(
                                ActionFeature.bounded("shoulder.cmd", "rad", -1, 1),
                                ActionFeature.bounded("elbow.cmd", "rad", -2, 2)),
                discrete,
                1,
                false,
                50,
                1000,
                Fallback.HOLD,
                discrete > 0 ? List.of(1.0) : List.of(0.0, 0.5));
    }

    @AfterEach
    void closeAll() throws Exception {
        while (!open.isEmpty()) {
            open.pop().close();
        }
    }

    private <T extends AutoCloseable> T keep(T resource) {
        open.push(resource);
        return resource;
    }

    private void start(int slots, String... settings) throws InterruptedException {
        start(slots, new Endpoint.Tcp("127.0.0.1", 0), Optional.empty(), settings);
    }

    private void start(int slots, Endpoint endpoint, Optional<Path> recordings, String... settings)
            throws InterruptedException {
        var config = ConfigFactory.parseString(String.join("\n", settings)).withFallback(ConfigFactory.load());
        runtime = keep(LramRuntime.start(
                () -> {
                    GatedPolicy made = new GatedPolicy(new LinearFeedbackPolicy(MODEL, slots, slots, SEED));
                    policies.add(made);
                    return made;
                },
                RuntimeSettings.from(config),
                recordings.map(LeRobotSinks::new),
                LramRuntime.Environment.system()));
        policy = policies.poll(20, TimeUnit.SECONDS);
        server = keep(ControlServer.start(runtime, ServerSettings.from(config).at(endpoint)));
    }

    private ControlClient client() {
        return keep(ControlClient.connect(server.endpoint(), PATIENT));
    }

    /** A robot with its own random observations that knows what the policy would answer directly. */
    private static final class Robot {
        final RobotConnection connection;
        final TaskCard task;
        final Random random;
        final LinearFeedbackPolicy direct = new LinearFeedbackPolicy(MODEL, 1, 1, SEED);
        final PolicyBatch batch = new PolicyBatch(MODEL, 1);
        final EpisodeReturn returns;
        final List<float[]> observations = new ArrayList<>();
        final List<float[]> actions = new ArrayList<>();
        float[] vector;
        float reward;
        float[] expected;
        boolean begun;

        Robot(ControlClient client, SessionOptions options, TaskCard task, long seed) {
            this.connection = client.open(options);
            this.task = task;
            this.random = new Random(seed);
            this.returns = new EpisodeReturn(task);
        }

        Robot(ControlClient client, TaskCard task) {
            this(client, SessionOptions.of("robot", client.describe().task(task.id())), task, 5);
        }

        void observe(boolean reset) {
            vector = new float[] {(float) random.nextGaussian() / 2, (float) random.nextGaussian() / 2};
            reward = random.nextFloat();
            if (reset || !begun) {
                direct.reset(0, task);
                returns.begin(task.targetReturn());
                begun = true;
            } else {
                returns.rewarded(reward);
            }
            batch.count = 1;
            returns.fill(batch, 0);
            System.arraycopy(vector, 0, batch.observation[0], 0, vector.length);
            direct.step(batch);
            expected = new float[task.actionSize()];
            System.arraycopy(batch.action[0], 0, expected, 0, expected.length);
        }

        RobotReply act(boolean reset, long deadlineNs) {
            observe(reset);
            RobotReply reply = connection.act(vector, NO_IMAGE, reward, reset, System.nanoTime(), deadlineNs);
            observations.add(vector);
            actions.add(reply.action());
            return reply;
        }

        RobotReply expectOk(boolean reset) {
            RobotReply reply = act(reset, FAR_NS);
            assertEquals(Outcome.OK, reply.outcome(), reply.toString());
            assertArrayEquals(expected, reply.action());
            return reply;
        }

        RobotReply sendBad(float[] bad, float badReward) {
            RobotReply reply = connection.act(bad, NO_IMAGE, badReward, false, System.nanoTime(), FAR_NS);
            assertEquals(Outcome.REFUSED, reply.outcome());
            return reply;
        }
    }

    private static SessionOptions options(TaskCard task, RobotDescription description) {
        return SessionOptions.of("robot", task.id(), description);
    }

    // ---- the normal course

    @Test
    void describesTheModelsTasks() throws InterruptedException {
        start(1);
        ModelDescription model = client().describe();
        assertEquals("scripted", model.name());
        assertEquals(
                List.of("arm", "buttons", "camera"),
                model.tasks().stream().map(TaskDescription::id).toList());
        TaskDescription arm = model.task("arm");
        assertEquals(RobotDescription.of(ARM), arm.robot());
        assertEquals(List.of(-3.0, -3.0), arm.observationMin());
        assertEquals(Double.POSITIVE_INFINITY, arm.maxRate().get(0));
        assertEquals(50, arm.targetReturn());
        assertEquals(Fallback.HOLD, arm.fallback());
        assertEquals(List.of(0.0, 0.5), arm.safeAction());
        assertThrows(BridgeConfigException.class, () -> model.task("juggling"));
    }

    @Test
    void actionsOverTheWireAreThePolicysOwn() throws Exception {
        start(3);
        ControlClient client = client();
        for (TaskCard task : List.of(ARM, BUTTONS)) {
            Robot robot = new Robot(client, task);
            for (int step = 0; step < 60; step++) {
                RobotReply reply = robot.expectOk(step == 20);
                assertEquals(step, reply.sequence());
                assertTrue(reply.timing().totalNs()
                        >= reply.timing().stepNs() + reply.timing().queueNs());
                assertTrue(reply.roundTripNs() >= reply.timing().totalNs());
            }
            EpisodeReport report = robot.connection.endEpisode(2, true).get(20, TimeUnit.SECONDS);
            assertEquals(40, report.steps());
            assertThrows(IllegalStateException.class, () -> robot.connection.endEpisode(2, true));
            robot.expectOk(true);
            robot.connection.close();
        }
        assertEquals(122, client.stats().getBatchedSteps());
    }

    @Test
    void imagesReachThePolicyAndAWrongShapeIsRefused() throws InterruptedException {
        start(1);
        ControlClient client = client();
        LinkedBlockingQueue<Byte> seen = new LinkedBlockingQueue<>();
        policy.before = batch -> seen.add(batch.image[0][4]);
        RobotConnection robot =
                client.open(SessionOptions.of("camera", client.describe().task("camera")));
        float[] none = {};
        assertEquals(
                Outcome.OK,
                robot.act(none, new byte[] {1, 2, 3, 4, -5, 6}, 0, true, System.nanoTime(), FAR_NS)
                        .outcome());
        assertEquals((byte) -5, seen.poll());
        RobotReply reply = robot.act(none, new byte[7], 0, false, System.nanoTime(), FAR_NS);
        assertEquals(Refusal.WRONG_IMAGE, reply.refusal());
        assertArrayEquals(new float[] {0.25f}, reply.action(), "the client's own fallback is the safe action");
    }

    @Test
    void servesOverAUnixDomainSocketThatOnlyItsOwnerMayOpen(@TempDir Path folder) throws Exception {
        Path socket = folder.resolve("lram.sock");
        try (ServerSocketChannel stale = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            stale.bind(UnixDomainSocketAddress.of(socket));
        }
        assertTrue(Files.exists(socket), "a killed server leaves its socket");
        start(1, new Endpoint.Unix(socket), Optional.empty());
        assertEquals("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(socket)));
        Robot robot = new Robot(client(), ARM);
        for (int i = 0; i < 10; i++) {
            robot.expectOk(false);
        }
        ServerStartException inUse = assertThrows(
                ServerStartException.class,
                () -> ControlServer.start(runtime, ServerSettings.load().at(new Endpoint.Unix(socket))));
        assertTrue(inUse.getMessage().contains("another server listens"), inUse.getMessage());
        Path file = Files.writeString(folder.resolve("file"), "precious");
        assertThrows(
                ServerStartException.class,
                () -> ControlServer.start(runtime, ServerSettings.load().at(new Endpoint.Unix(file))));
        assertEquals("precious", Files.readString(file));
    }

    @Test
    void sixteenRobotsAtOnceAreBatchedAndDoNotMix() throws Exception {
        int robots = 16;
        start(robots);
        ControlClient client = client();
        LinkedBlockingQueue<Optional<Throwable>> outcomes = new LinkedBlockingQueue<>();
        for (int i = 0; i < robots; i++) {
            TaskCard task = i % 2 == 0 ? ARM : BUTTONS;
            Robot robot = new Robot(
                    client, SessionOptions.of("robot-" + i, client.describe().task(task.id())), task, i);
            Thread.ofPlatform().daemon().start(() -> {
                try {
                    for (int step = 0; step < 60; step++) {
                        robot.expectOk(step == 30);
                    }
                    outcomes.add(Optional.empty());
                } catch (Throwable failure) {
                    outcomes.add(Optional.of(failure));
                }
            });
        }
        for (int i = 0; i < robots; i++) {
            assertEquals(Optional.empty(), outcomes.poll(60, TimeUnit.SECONDS));
        }
        StatsReply stats = client.stats();
        assertEquals(60L * robots, stats.getBatchedSteps());
        assertTrue(stats.getLargestBatch() > 1, "largest batch " + stats.getLargestBatch());
    }

    @Test
    void asynchronousStepsAreAnsweredInOrder() throws Exception {
        start(1);
        Robot robot = new Robot(client(), ARM);
        List<CompletableFuture<RobotReply>> futures = new ArrayList<>();
        List<float[]> expected = new ArrayList<>();
        for (int i = 0; i < robot.connection.window(); i++) {
            robot.observe(false);
            expected.add(robot.expected);
            futures.add(
                    robot.connection.actAsync(robot.vector, NO_IMAGE, robot.reward, false, System.nanoTime(), FAR_NS));
        }
        for (int i = 0; i < futures.size(); i++) {
            RobotReply reply = futures.get(i).get(20, TimeUnit.SECONDS);
            assertEquals(i, reply.sequence());
            assertArrayEquals(expected.get(i), reply.action());
        }
    }

    @Test
    void recordedEpisodesAreReadBack(@TempDir Path folder) throws Exception {
        start(1, new Endpoint.Tcp("127.0.0.1", 0), Optional.of(folder));
        ControlClient client = client();
        Robot robot = new Robot(
                client,
                SessionOptions.of("robot", client.describe().task("arm")).recorded(),
                ARM,
                9);
        List<Float> rewards = new ArrayList<>();
        for (int i = 0; i < 7; i++) {
            robot.expectOk(false);
            rewards.add(robot.reward);
        }
        EpisodeReport report = robot.connection.endEpisode(0.5f, true).get(20, TimeUnit.SECONDS);
        assertEquals(EpisodeReport.Recording.STORED, report.recording(), report.detail());
        try (DatasetReader reader = DatasetFormats.open(new LeRobotSinks(folder).folder(ARM))) {
            Episode episode = reader.next();
            assertEquals(7, episode.length());
            for (int i = 0; i < 7; i++) {
                assertEquals(robot.observations.get(i)[1], episode.column(Column.OBSERVATION)[2 * i + 1]);
                assertEquals(robot.actions.get(i)[0], episode.column(Column.ACTION)[2 * i]);
                assertEquals(i < 6 ? rewards.get(i + 1) : 0.5f, episode.column(Column.REWARD)[i]);
            }
        }
        assertEquals(1, client.stats().getRecordedEpisodes());
    }

    // ---- deadlines

    @Test
    void aMissedDeadlineGetsTheFallbackAndTheStateStaysConsistent() throws InterruptedException {
        start(1);
        Robot robot = new Robot(client(), ARM);
        float[] held = robot.expectOk(false).action();
        Semaphore gate = new Semaphore(0);
        policy.before = batch -> gate.acquireUninterruptibly();
        RobotReply late = robot.act(false, 30_000_000);
        assertEquals(Outcome.FALLBACK, late.outcome());
        assertTrue(late.cause().missedDeadline(), late.toString());
        assertArrayEquals(held, late.action());
        policy.before = batch -> {};
        gate.release(100);
        robot.expectOk(false);
        StatsReply stats = runtimeStats();
        assertEquals(1, stats.getSessions(0).getMissedDeadlines());
        assertEquals(1, stats.getSessions(0).getFoldedLate());
    }

    private StatsReply runtimeStats() {
        return client().stats();
    }

    @Test
    void aDeadlineCountedFromTheCaptureIsBlamedOnTheClientThatSendsTooLate() throws InterruptedException {
        start(1);
        Robot robot = new Robot(client(), ARM);
        robot.expectOk(false);
        robot.observe(false);
        RobotReply reply = robot.connection.act(
                robot.vector, NO_IMAGE, robot.reward, false, System.nanoTime() - 2_000_000_000L, 1_000_000_000L);
        assertEquals(FallbackCause.LATE_CLIENT, reply.cause());
        robot.expectOk(false);
    }

    @Test
    void aPolicyThatFailsGivesTheFallbackAndTurnsTheHealthCheckRed() throws Exception {
        start(1, "lram.runtime.inference { failure-limit = 1, restart-limit = 0 }");
        Robot robot = new Robot(client(), ARM);
        float[] held = robot.expectOk(false).action();
        var health = HealthGrpc.newBlockingStub(channel());
        HealthCheckRequest request = HealthCheckRequest.newBuilder()
                .setService(ControlServiceGrpc.SERVICE_NAME)
                .build();
        assertEquals(ServingStatus.SERVING, health.check(request).getStatus());
        policy.before = batch -> {
            throw new IllegalStateException("device lost");
        };
        RobotReply reply = robot.act(false, FAR_NS);
        assertEquals(FallbackCause.POLICY_FAILURE, reply.cause());
        assertTrue(reply.resetRequired());
        assertArrayEquals(held, reply.action());
        long giveUpNs = System.nanoTime() + 20_000_000_000L;
        while (health.check(request).getStatus() == ServingStatus.SERVING) {
            assertTrue(System.nanoTime() < giveUpNs, "the health check turns red");
        }
        assertEquals(FallbackCause.POLICY_DOWN, robot.act(true, FAR_NS).cause());
        ControlClient late = client();
        SessionRefusedException refused =
                assertThrows(SessionRefusedException.class, () -> late.open(options(ARM, RobotDescription.of(ARM))));
        assertEquals(Status.Code.UNAVAILABLE, refused.code());
    }

    // ---- observations that are refused

    @Test
    void refusedObservationsLeaveTheSessionInStep() throws InterruptedException {
        start(1, "lram.runtime.longest-deadline = 30s");
        Robot robot = new Robot(client(), ARM);
        float[] held = robot.expectOk(false).action();
        RobotReply nan = robot.sendBad(new float[] {0, Float.NaN}, 0);
        assertEquals(Refusal.NOT_FINITE, nan.refusal());
        assertTrue(nan.detail().contains("elbow.pos is NaN"), nan.detail());
        assertArrayEquals(held, nan.action(), "the client holds");
        assertEquals(Refusal.WRONG_LENGTH, robot.sendBad(new float[3], 0).refusal());
        assertEquals(Refusal.OUT_OF_RANGE, robot.sendBad(new float[] {0, 4}, 0).refusal());
        assertEquals(Refusal.NOT_FINITE, robot.sendBad(new float[2], Float.NaN).refusal());
        RobotReply late = robot.connection.act(new float[2], NO_IMAGE, 0, false, System.nanoTime(), 60_000_000_000L);
        assertEquals(Refusal.BAD_DEADLINE, late.refusal());
        for (int i = 0; i < 5; i++) {
            assertEquals(1 + i, robot.expectOk(false).sequence());
        }
    }

    @Test
    void numbersOutOfOrderAreRefused() throws InterruptedException {
        start(1);
        Raw raw = new Raw(channel());
        raw.open(ARM, Wire.PROTOCOL_VERSION);
        assertInstanceOf(SessionOpened.class, raw.next());
        raw.observe(0);
        assertEquals(0, raw.action().getSequence());
        raw.observe(0);
        assertEquals(ai.lram.bridge.v1.Refusal.REFUSAL_DUPLICATE, raw.action().getRefusal());
        raw.observe(5);
        ai.lram.bridge.v1.ActionReply gap = raw.action();
        assertEquals(ai.lram.bridge.v1.Refusal.REFUSAL_OUT_OF_ORDER, gap.getRefusal());
        assertEquals(0, gap.getActionCount());
        assertTrue(gap.getDetail().contains("number 1 is next"), gap.getDetail());
        raw.observe(1);
        assertEquals(ai.lram.bridge.v1.Status.STATUS_OK, raw.action().getStatus());
    }

    @Test
    void aRobotThatOutrunsThePolicyComesBackIntoStep() throws Exception {
        start(1, "lram.runtime.window = 4");
        Robot robot = new Robot(client(), ARM);
        robot.expectOk(false);
        policy.before = batch -> LockSupport.parkNanos(2_000_000);
        List<CompletableFuture<RobotReply>> sent = new ArrayList<>();
        for (int i = 0; i < 300; i++) {
            // Answered at its deadline, an observation goes on waiting for its step: the window fills behind it.
            sent.add(robot.connection.actAsync(robot.vector, NO_IMAGE, 0, false, System.nanoTime(), 1_000_000));
            LockSupport.parkNanos(500_000);
        }
        long refused = 0;
        for (CompletableFuture<RobotReply> reply : sent) {
            refused += reply.get(20, TimeUnit.SECONDS).outcome() == RobotReply.Outcome.REFUSED ? 1 : 0;
        }
        assertTrue(refused > 0 && refused < 300, "refused " + refused);
        policy.before = batch -> {};
        // Those answered at their deadline may still wait for their steps.
        long giveUpNs = System.nanoTime() + 20_000_000_000L;
        while (robot.connection
                        .act(robot.vector, NO_IMAGE, 0, false, System.nanoTime(), FAR_NS)
                        .refusal()
                == Refusal.BACKLOG) {
            assertTrue(System.nanoTime() < giveUpNs, "the window empties");
        }
        for (int i = 0; i < 5; i++) {
            RobotReply reply = robot.connection.act(robot.vector, NO_IMAGE, 0, false, System.nanoTime(), FAR_NS);
            assertEquals(RobotReply.Outcome.OK, reply.outcome(), reply.detail());
        }
    }

    @Test
    void anOvertakenFirstReplyDoesNotCountItsEpisodeTwice() throws Exception {
        start(1);
        Robot robot = new Robot(client(), ARM);
        CountDownLatch gate = new CountDownLatch(1);
        policy.before = batch -> {
            try {
                gate.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        };
        CompletableFuture<RobotReply> first =
                robot.connection.actAsync(new float[2], NO_IMAGE, 0, true, System.nanoTime(), FAR_NS);
        CompletableFuture<RobotReply> late = robot.connection.actAsync(
                new float[2], NO_IMAGE, 0, false, System.nanoTime() - 1_000_000_000L, 1_000_000);
        assertEquals(FallbackCause.LATE_CLIENT, late.get(20, TimeUnit.SECONDS).cause());
        assertFalse(first.isDone());
        gate.countDown();
        assertEquals(RobotReply.Outcome.OK, first.get(20, TimeUnit.SECONDS).outcome());
        assertEquals(
                0,
                robot.connection.endEpisode(0, true).get(20, TimeUnit.SECONDS).episode());
    }

    @Test
    void observationsBeyondTheRateLimitAreRefused() throws InterruptedException {
        start(1, "lram.bridge { observations-per-second = 1, burst = 3 }");
        Robot robot = new Robot(client(), ARM);
        for (int i = 0; i < 3; i++) {
            robot.expectOk(false);
        }
        RobotReply reply = robot.sendBad(new float[2], 0);
        assertEquals(Refusal.RATE_LIMITED, reply.refusal());
        assertTrue(reply.detail().contains("more than 1 observations a second"), reply.detail());
    }

    // ---- sessions that are refused

    private SessionRefusedException refused(ControlClient client, SessionOptions options) {
        SessionRefusedException refused = assertThrows(SessionRefusedException.class, () -> client.open(options));
        assertTrue(
                refused.getMessage().contains("; why: ") && refused.getMessage().contains("; fix: "),
                refused.getMessage());
        return refused;
    }

    @Test
    void sessionsThatDoNotFitTheModelAreRefusedWithTheDifference() throws InterruptedException {
        start(1);
        ControlClient client = client();
        SessionRefusedException unknown = refused(client, SessionOptions.of("r", "juggling", RobotDescription.of(ARM)));
        assertEquals(Status.Code.NOT_FOUND, unknown.code());
        assertTrue(unknown.getMessage().contains("[arm, buttons, camera]"), unknown.getMessage());

        RobotDescription same = RobotDescription.of(ARM);
        RobotDescription degrees = new RobotDescription(
                1,
                List.of(same.observation().get(0), new RobotDescription.Quantity("elbow.pos", "deg")),
                List.of(),
                same.action(),
                0);
        SessionRefusedException unit = refused(client, options(ARM, degrees));
        assertEquals(Status.Code.FAILED_PRECONDITION, unit.code());
        assertTrue(
                unit.getMessage().contains("observation elbow.pos is in deg on the robot, in rad in the model"),
                unit.getMessage());

        assertEquals(
                Status.Code.FAILED_PRECONDITION,
                refused(client, options(ARM, same).recorded()).code());
        assertEquals(
                Status.Code.INVALID_ARGUMENT,
                refused(client, options(ARM, same).withTargetReturn(Double.NaN)).code());
    }

    @Test
    void moreSessionsThanAllowedAreRefused() throws InterruptedException {
        start(4, "lram.runtime.max-sessions = 2");
        ControlClient client = client();
        Robot first = new Robot(client, ARM);
        Robot second = new Robot(client, ARM);
        SessionRefusedException full = refused(client, options(ARM, RobotDescription.of(ARM)));
        assertEquals(Status.Code.RESOURCE_EXHAUSTED, full.code());
        first.expectOk(false);
        second.expectOk(false);
    }

    @Test
    void aClientThatIsKilledMidEpisodeFreesItsSlot() throws InterruptedException {
        start(1);
        ControlClient doomed = client();
        Robot robot = new Robot(doomed, ARM);
        robot.expectOk(false);
        doomed.close();
        assertThrows(ConnectionLostException.class, () -> robot.act(false, FAR_NS));
        Robot aborted = openWhenFree();
        aborted.expectOk(false);
        aborted.connection.abort();
        openWhenFree().expectOk(false);
    }

    private Robot openWhenFree() {
        ControlClient client = client();
        long giveUpNs = System.nanoTime() + 20_000_000_000L;
        while (client.stats().getOpenSessions() > 0) {
            assertTrue(System.nanoTime() < giveUpNs, "the slot becomes free");
        }
        return new Robot(client, ARM);
    }

    @Test
    void anIdleSessionIsClosedAndTheRobotToldWhy() throws Exception {
        start(1, "lram.runtime.idle-timeout = 100ms");
        Raw raw = new Raw(channel());
        raw.open(ARM, Wire.PROTOCOL_VERSION);
        assertInstanceOf(SessionOpened.class, raw.next());
        Status status = raw.status();
        assertEquals(Status.Code.ABORTED, status.getCode());
        assertTrue(status.getDescription().contains("no observation for 100 ms"), status.getDescription());
    }

    // ---- messages that cannot be used

    @Test
    void messagesOutOfPlaceEndTheStream() throws InterruptedException {
        start(1);
        ManagedChannel channel = channel();

        Raw early = new Raw(channel);
        early.observe(0);
        assertEquals(Status.Code.INVALID_ARGUMENT, early.status().getCode());

        Raw endless = new Raw(channel);
        endless.requests.onNext(ControlRequest.newBuilder()
                .setEndEpisode(ai.lram.bridge.v1.EndEpisode.getDefaultInstance())
                .build());
        assertEquals(Status.Code.INVALID_ARGUMENT, endless.status().getCode());

        Raw empty = new Raw(channel);
        empty.requests.onNext(ControlRequest.getDefaultInstance());
        assertEquals(Status.Code.INVALID_ARGUMENT, empty.status().getCode());

        Raw future = new Raw(channel);
        future.open(ARM, 99);
        Status version = future.status();
        assertEquals(Status.Code.FAILED_PRECONDITION, version.getCode());
        assertTrue(version.getDescription().contains("version 99"), version.getDescription());

        Raw twice = new Raw(channel);
        twice.open(ARM, Wire.PROTOCOL_VERSION);
        assertInstanceOf(SessionOpened.class, twice.next());
        twice.open(ARM, Wire.PROTOCOL_VERSION);
        assertEquals(Status.Code.INVALID_ARGUMENT, twice.status().getCode());

        Raw badEnd = openRawWhenFree(channel);
        badEnd.requests.onNext(ControlRequest.newBuilder()
                .setEndEpisode(ai.lram.bridge.v1.EndEpisode.newBuilder().setReward(Float.NaN))
                .build());
        assertEquals(Status.Code.INVALID_ARGUMENT, badEnd.status().getCode());
    }

    private Raw openRawWhenFree(ManagedChannel channel) {
        long giveUpNs = System.nanoTime() + 20_000_000_000L;
        while (runtime.stats().openSessions() > 0) {
            assertTrue(System.nanoTime() < giveUpNs, "the slot becomes free");
        }
        Raw raw = new Raw(channel);
        raw.open(ARM, Wire.PROTOCOL_VERSION);
        assertInstanceOf(SessionOpened.class, raw.next());
        return raw;
    }

    @Test
    void messagesThatAreTooLongAreRefusedByClientAndServer() throws InterruptedException {
        start(1, "lram.bridge.max-message-bytes = 2 KiB");
        Robot robot = new Robot(client(), ARM);
        MessageTooLargeException tooLong = assertThrows(
                MessageTooLargeException.class,
                () -> robot.connection.act(new float[1000], NO_IMAGE, 0, false, System.nanoTime(), FAR_NS));
        assertTrue(tooLong.getMessage().contains("2048"), tooLong.getMessage());
        robot.expectOk(false);
        robot.connection.close();
        Raw raw = openRawWhenFree(channel());
        raw.requests.onNext(huge(1_000));
        Status status = raw.status();
        assertEquals(Status.Code.RESOURCE_EXHAUSTED, status.getCode());
        assertTrue(status.getDescription().contains("accepts 2048"), status.getDescription());
        raw = openRawWhenFree(channel());
        raw.requests.onNext(huge(100_000));
        assertFalse(raw.status().isOk(), "the transport breaks off what is far too long");
        openRawWhenFree(channel());
    }

    @Test
    void aClientThatNeverReadsFillsItsOwnBuffersAndNotTheServers() throws InterruptedException {
        start(2, "lram.bridge { observations-per-second = 1000000, burst = 1000000 }");
        Deaf deaf = new Deaf();
        ControlServiceGrpc.newStub(channel()).control(deaf);
        deaf.requests.onNext(ControlRequest.newBuilder()
                .setOpen(Wire.open(options(ARM, RobotDescription.of(ARM))))
                .build());
        assertTrue(deaf.opened.tryAcquire(20, TimeUnit.SECONDS), "the session is opened");
        long sent = 0;
        long limit = 200_000;
        while (sent < limit && deaf.requests.isReady()) {
            deaf.requests.onNext(ControlRequest.newBuilder()
                    .setObservation(Observation.newBuilder()
                            .setSequence(sent++)
                            .setWithinReceiptNs(FAR_NS)
                            .addVector(0.5f)
                            .addVector(0.25f))
                    .build());
        }
        assertTrue(sent < limit, "the server stopped reading after " + sent + " observations");
        Robot other = new Robot(client(), ARM);
        other.expectOk(false);
        deaf.requests.cancel("enough", null);
    }

    /** Reads the first reply and no other. */
    private static final class Deaf implements ClientResponseObserver<ControlRequest, ControlReply> {
        final Semaphore opened = new Semaphore(0);
        ClientCallStreamObserver<ControlRequest> requests;

        @Override
        public void beforeStart(ClientCallStreamObserver<ControlRequest> stream) {
            requests = stream;
            stream.disableAutoRequestWithInitial(1);
        }

        @Override
        public void onNext(ControlReply reply) {
            opened.release();
        }

        @Override
        public void onError(Throwable failure) {
            opened.release();
        }

        @Override
        public void onCompleted() {
            opened.release();
        }
    }

    private static ControlRequest huge(int values) {
        Observation.Builder observation = Observation.newBuilder();
        for (int i = 0; i < values; i++) {
            observation.addVector(i);
        }
        return ControlRequest.newBuilder().setObservation(observation).build();
    }

    // ---- addresses and the end

    @Test
    void addressesOtherHostsCanReachAreRefused() throws InterruptedException {
        start(1);
        for (String address : List.of("0.0.0.0:0", "[::]:0")) {
            BindRefusedException refused = assertThrows(
                    BindRefusedException.class,
                    () -> ControlServer.start(runtime, ServerSettings.load().at(Endpoint.parse(address))));
            assertTrue(refused.getMessage().contains("neither encrypted nor authenticated"), refused.getMessage());
        }
        ServerStartException inUse = assertThrows(
                ServerStartException.class,
                () -> ControlServer.start(runtime, ServerSettings.load().at(server.endpoint())));
        assertTrue(inUse.getMessage().contains(server.endpoint().toString()), inUse.getMessage());
    }

    @Test
    void nobodyListeningIsAConnectFailure() throws Exception {
        start(1);
        Endpoint gone = server.endpoint();
        server.close();
        ConnectFailedException failure =
                assertThrows(ConnectFailedException.class, () -> ControlClient.connect(gone, PATIENT));
        assertTrue(failure.getMessage().contains(gone.toString()), failure.getMessage());
    }

    @Test
    void closingTheServerTellsTheRobotsWhy() throws Exception {
        start(2);
        Robot robot = new Robot(client(), ARM);
        robot.expectOk(false);
        Semaphore gate = new Semaphore(0);
        policy.before = batch -> gate.acquireUninterruptibly();
        CompletableFuture<RobotReply> waiting =
                robot.connection.actAsync(new float[2], NO_IMAGE, 0, false, System.nanoTime(), FAR_NS);
        server.close();
        server.close();
        gate.release(100);
        ExecutionException lost = assertThrows(ExecutionException.class, () -> waiting.get(20, TimeUnit.SECONDS));
        assertInstanceOf(ConnectionLostException.class, lost.getCause());
        assertTrue(
                lost.getCause().getMessage().contains("shutting down"),
                lost.getCause().getMessage());
        ConnectionLostException after = assertThrows(ConnectionLostException.class, () -> robot.act(false, FAR_NS));
        assertTrue(after.getMessage().contains("shutting down"), after.getMessage());
        robot.connection.close();
    }

    @Test
    void aClosedConnectionSendsNothing() throws InterruptedException {
        start(1);
        Robot robot = new Robot(client(), ARM);
        robot.expectOk(false);
        robot.connection.close();
        robot.connection.close();
        assertThrows(ConnectionLostException.class, () -> robot.act(false, FAR_NS));
        assertThrows(IllegalArgumentException.class, () -> robot.connection.endEpisode(Float.NaN, true));
    }

    @Test
    void listsItsServicesByReflection() throws InterruptedException {
        start(1);
        LinkedBlockingQueue<ServerReflectionResponse> answers = new LinkedBlockingQueue<>();
        StreamObserver<ServerReflectionRequest> ask = ServerReflectionGrpc.newStub(channel())
                .serverReflectionInfo(new StreamObserver<>() {
                    @Override
                    public void onNext(ServerReflectionResponse response) {
                        answers.add(response);
                    }

                    @Override
                    public void onError(Throwable failure) {
                        answers.add(ServerReflectionResponse.getDefaultInstance());
                    }

                    @Override
                    public void onCompleted() {
                        answers.add(ServerReflectionResponse.getDefaultInstance());
                    }
                });
        ask.onNext(ServerReflectionRequest.newBuilder().setListServices("").build());
        List<String> services = answers.poll(20, TimeUnit.SECONDS).getListServicesResponse().getServiceList().stream()
                .map(service -> service.getName())
                .toList();
        assertTrue(services.contains("ai.lram.bridge.v1.ControlService"), services.toString());
        assertTrue(services.contains("grpc.health.v1.Health"), services.toString());
        ask.onCompleted();
    }

    @Test
    void aRobotWithoutAReplyActsOnItsOwnAndDropsTheLateReply() throws Exception {
        LinkedBlockingQueue<StreamObserver<ControlReply>> streams = new LinkedBlockingQueue<>();
        LinkedBlockingQueue<Long> seen = new LinkedBlockingQueue<>();
        Server mute = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
                .directExecutor()
                .addService(new MuteService(streams, seen))
                .build()
                .start();
        open.push(mute::shutdownNow);
        ControlClient client = keep(ControlClient.connect(
                new Endpoint.Tcp("127.0.0.1", mute.getPort()), PATIENT.withReplyGrace(Duration.ofMillis(5))));
        RobotConnection robot = client.open(options(ARM, RobotDescription.of(ARM)));
        RobotReply silence = robot.act(new float[2], NO_IMAGE, 0, true, System.nanoTime(), 5_000_000);
        assertEquals(Outcome.NO_REPLY, silence.outcome());
        assertArrayEquals(new float[] {0, 0.5f}, silence.action());
        assertTrue(silence.roundTripNs() >= 10_000_000, silence.toString());
        StreamObserver<ControlReply> stream = streams.poll(20, TimeUnit.SECONDS);
        assertEquals(0, seen.poll(20, TimeUnit.SECONDS));
        CompletableFuture<RobotReply> next = robot.actAsync(new float[2], NO_IMAGE, 0, false, System.nanoTime(), 0);
        assertEquals(1, seen.poll(20, TimeUnit.SECONDS));
        for (long sequence = 0; sequence < 2; sequence++) {
            stream.onNext(ControlReply.newBuilder()
                    .setAction(ai.lram.bridge.v1.ActionReply.newBuilder()
                            .setSequence(sequence)
                            .setStatus(ai.lram.bridge.v1.Status.STATUS_OK)
                            .addAction(sequence)
                            .addAction(sequence))
                    .build());
        }
        assertArrayEquals(new float[] {1, 1}, next.get(20, TimeUnit.SECONDS).action());
        assertEquals(1, robot.lateReplies());
        stream.onCompleted();
        robot.close();
        assertFalse(robot.window() < 1);
    }

    /** Opens sessions and answers nothing else by itself. */
    private static final class MuteService extends ControlServiceGrpc.ControlServiceImplBase {
        private final LinkedBlockingQueue<StreamObserver<ControlReply>> streams;
        private final LinkedBlockingQueue<Long> seen;

        MuteService(LinkedBlockingQueue<StreamObserver<ControlReply>> streams, LinkedBlockingQueue<Long> seen) {
            this.streams = streams;
            this.seen = seen;
        }

        @Override
        public void describe(
                ai.lram.bridge.v1.DescribeRequest request, StreamObserver<ai.lram.bridge.v1.DescribeReply> reply) {
            reply.onNext(Wire.description(MODEL, 1 << 20));
            reply.onCompleted();
        }

        @Override
        public StreamObserver<ControlRequest> control(StreamObserver<ControlReply> replies) {
            streams.add(replies);
            return new StreamObserver<>() {
                @Override
                public void onNext(ControlRequest request) {
                    if (request.hasOpen()) {
                        replies.onNext(ControlReply.newBuilder()
                                .setOpened(SessionOpened.newBuilder()
                                        .setTask(Wire.task(ARM))
                                        .setWindow(8)
                                        .setMaxMessageBytes(1 << 20))
                                .build());
                    } else {
                        seen.add(request.getObservation().getSequence());
                    }
                }

                @Override
                public void onError(Throwable failure) {
                    seen.add(-1L);
                }

                @Override
                public void onCompleted() {
                    seen.add(-2L);
                }
            };
        }
    }

    // ---- a client that knows no rules

    private ManagedChannel channel() {
        Endpoint.Tcp tcp = (Endpoint.Tcp) server.endpoint();
        ManagedChannel channel = NettyChannelBuilder.forAddress(tcp.host(), tcp.port())
                .usePlaintext()
                .build();
        open.push(channel::shutdownNow);
        return channel;
    }

    private static final class Raw implements StreamObserver<ControlReply> {
        final LinkedBlockingQueue<Object> events = new LinkedBlockingQueue<>();
        final StreamObserver<ControlRequest> requests;

        Raw(ManagedChannel channel) {
            requests = ControlServiceGrpc.newStub(channel).control(this);
        }

        void open(TaskCard task, int version) {
            OpenSession.Builder message = Wire.open(options(task, RobotDescription.of(task))).toBuilder();
            requests.onNext(ControlRequest.newBuilder()
                    .setOpen(message.setProtocolVersion(version))
                    .build());
        }

        void observe(long sequence) {
            requests.onNext(ControlRequest.newBuilder()
                    .setObservation(Observation.newBuilder()
                            .setSequence(sequence)
                            .setWithinReceiptNs(FAR_NS)
                            .addVector(0.5f)
                            .addVector(0.25f))
                    .build());
        }

        Object next() {
            try {
                return events.poll(20, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new AssertionError("interrupted", e);
            }
        }

        ai.lram.bridge.v1.ActionReply action() {
            return assertInstanceOf(ai.lram.bridge.v1.ActionReply.class, next());
        }

        Status status() {
            return assertInstanceOf(Status.class, next());
        }

        @Override
        public void onNext(ControlReply reply) {
            events.add(
                    switch (reply.getMessageCase()) {
                        case OPENED -> reply.getOpened();
                        case ACTION -> reply.getAction();
                        case EPISODE -> reply.getEpisode();
                        case MESSAGE_NOT_SET -> "nothing";
                    });
        }

        @Override
        public void onError(Throwable failure) {
            events.add(Status.fromThrowable(failure));
        }

        @Override
        public void onCompleted() {
            events.add(Status.OK);
        }
    }
}
