package ai.lram.runtime;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import ai.lram.runtime.protocol.ActionReply;
import ai.lram.runtime.protocol.ActionReply.Status;
import ai.lram.runtime.protocol.CloseReason;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Observation;
import ai.lram.runtime.protocol.OpenRefusal;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.protocol.RobotDescription;
import ai.lram.runtime.protocol.RobotSession;
import ai.lram.runtime.protocol.SessionListener;
import ai.lram.runtime.protocol.SessionSpec;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;
import ai.lram.runtime.session.SessionStats;
import ai.lram.runtime.testing.Cards;
import ai.lram.runtime.testing.DirectSession;
import ai.lram.runtime.testing.FaultyPolicy;
import ai.lram.runtime.testing.ManualTime;
import ai.lram.runtime.testing.RecordingListener;
import com.typesafe.config.ConfigFactory;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class LramRuntimeTest {
    private static final long SEED = 7;
    private static final TaskCard REACHER = Cards.reacher();
    private static final TaskCard DISCRETE = Cards.discrete(5);
    private static final ModelCard MODEL =
            Cards.model(REACHER, DISCRETE, Cards.camera(), Cards.limited(Fallback.SAFE, null));

    private final ManualTime time = new ManualTime();
    private final LinkedBlockingQueue<FaultyPolicy> policies = new LinkedBlockingQueue<>();
    private LramRuntime runtime;
    private FaultyPolicy policy;

    @AfterEach
    void closeRuntime() {
        if (runtime != null) {
            runtime.close();
            assertTrue(policy.closed, "the runtime closes its policy");
        }
    }

    private void start(int slots, String... settings) throws InterruptedException {
        PolicyFactory factory = () -> {
            FaultyPolicy made = new FaultyPolicy(new LinearFeedbackPolicy(MODEL, slots, slots, SEED));
            policies.add(made);
            return made;
        };
        runtime = LramRuntime.start(factory, settings(settings), Optional.empty(), time.environment());
        policy = policies.poll(20, TimeUnit.SECONDS);
    }

    private static RuntimeSettings settings(String... overrides) {
        StringBuilder text = new StringBuilder();
        for (String override : overrides) {
            text.append("lram.runtime.").append(override).append('\n');
        }
        return RuntimeSettings.from(ConfigFactory.parseString(text.toString()).withFallback(ConfigFactory.load()));
    }

    private static SessionSpec spec(TaskCard task) {
        return new SessionSpec("robot", task.id(), RobotDescription.of(task), OptionalDouble.empty(), false);
    }

    /** One robot of a test: sends observations drawn from a seed and knows what the policy would answer directly. */
    private final class Robot {
        final RecordingListener listener = new RecordingListener();
        final TaskCard task;
        final DirectSession direct;
        final Random random = new Random(3);
        RobotSession session;
        long sequence;
        float[] expected;

        Robot(TaskCard task) {
            this.task = task;
            this.direct = new DirectSession(MODEL, task, SEED);
            runtime.openSession(spec(task), listener);
            session = listener.next(RobotSession.class);
        }

        Observation observation(boolean reset, long budgetNs) {
            float[] vector = new float[task.observationSize()];
            for (int i = 0; i < vector.length; i++) {
                vector[i] = (float) (2 * random.nextDouble() - 1);
            }
            float reward = (float) random.nextDouble();
            expected = direct.step(vector, reward, reset, task.targetReturn());
            return new Observation(
                    sequence++, sequence * 10_000_000, time.nowNs(), budgetNs, vector, new byte[0], reward, reset);
        }

        void send() {
            assertTrue(session.observe(observation(false, Observation.ONE_PERIOD)));
        }

        void send(boolean reset) {
            assertTrue(session.observe(observation(reset, Observation.ONE_PERIOD)));
        }

        ActionReply expectOk() {
            ActionReply reply = listener.reply();
            assertEquals(Status.OK, reply.status(), reply.toString());
            assertEquals(sequence - 1, reply.sequence());
            assertArrayEquals(expected, reply.action());
            return reply;
        }

        ActionReply expectFallback(FallbackCause cause) {
            ActionReply reply = listener.reply();
            assertEquals(Status.FALLBACK, reply.status(), reply.toString());
            assertEquals(cause, reply.cause());
            return reply;
        }

        ActionReply expectRefused(Refusal refusal) {
            ActionReply reply = listener.reply();
            assertEquals(Status.REFUSED, reply.status(), reply.toString());
            assertEquals(refusal, reply.refusal());
            assertEquals(0, reply.action().length);
            assertTrue(reply.detail().contains("; why: ") && reply.detail().contains("; fix: "), reply.detail());
            return reply;
        }

        /** Sends an observation that must be refused and does not touch the direct policy. */
        void sendBad(long number, float[] vector, float reward, long budgetNs) {
            assertTrue(session.observe(
                    new Observation(number, 0, time.nowNs(), budgetNs, vector, new byte[0], reward, false)));
        }

        SessionStats stats() {
            return runtime.stats().sessions().stream()
                    .filter(s -> s.id() == session.id())
                    .findFirst()
                    .orElseThrow();
        }
    }

    /** Stops the policy inside its step until released. */
    private final class Gate {
        final Semaphore entered = new Semaphore(0);
        final Semaphore open = new Semaphore(0);

        Gate() {
            policy.before = batch -> {
                entered.release();
                open.acquireUninterruptibly();
            };
        }

        void awaitEntry() throws InterruptedException {
            assertTrue(entered.tryAcquire(20, TimeUnit.SECONDS), "the policy was stepped");
        }

        void release() {
            policy.before = batch -> {};
            open.release(1000);
        }
    }

    // ---- the normal course

    @Test
    void actionsAreThePolicysOwnAcrossEpisodes() throws InterruptedException {
        start(2);
        for (TaskCard task : List.of(REACHER, DISCRETE)) {
            Robot robot = new Robot(task);
            for (int step = 0; step < 100; step++) {
                robot.send(step == 40 || step == 41);
                if (step == 40 || step == 41) {
                    EpisodeReport report = robot.listener.next(EpisodeReport.class);
                    assertEquals(step == 40 ? 40 : 1, report.steps());
                    assertEquals(EpisodeReport.Recording.OFF, report.recording());
                }
                robot.expectOk();
            }
            assertEquals(100, robot.stats().steps());
            assertEquals(3, robot.stats().episodes());
            assertEquals(100, robot.stats().total().count());
        }
    }

    @Test
    void targetReturnOfTheRequestReplacesTheTasks() throws InterruptedException {
        start(1);
        RecordingListener listener = new RecordingListener();
        runtime.openSession(
                new SessionSpec("r", "reacher", RobotDescription.of(REACHER), OptionalDouble.of(-3), false), listener);
        RobotSession session = listener.next(RobotSession.class);
        float[] vector = {0.5f, 0.25f};
        session.observe(new Observation(0, 0, time.nowNs(), Observation.ONE_PERIOD, vector, new byte[0], 0, false));
        assertArrayEquals(
                new DirectSession(MODEL, REACHER, SEED).step(vector, 0, true, -3),
                listener.reply().action());
    }

    @Test
    void imagesReachThePolicy() throws InterruptedException {
        start(1);
        TaskCard camera = Cards.camera();
        RecordingListener listener = new RecordingListener();
        runtime.openSession(spec(camera), listener);
        RobotSession session = listener.next(RobotSession.class);
        LinkedBlockingQueue<Byte> seen = new LinkedBlockingQueue<>();
        policy.before = batch -> seen.add(batch.image[0][5]);
        session.observe(new Observation(
                0, 0, time.nowNs(), Observation.ONE_PERIOD, new float[0], new byte[] {1, 2, 3, 4, 5, 6}, 0, true));
        assertEquals(Status.OK, listener.reply().status());
        assertEquals((byte) 6, seen.poll());
        session.observe(
                new Observation(1, 0, time.nowNs(), Observation.ONE_PERIOD, new float[0], new byte[5], 0, false));
        assertEquals(Refusal.WRONG_IMAGE, listener.reply().refusal());
    }

    @Test
    void thePolicyIsUsedByOneThreadOnly() throws InterruptedException {
        start(4);
        Robot first = new Robot(REACHER);
        first.send();
        first.expectOk();
        Thread thread = policy.thread;
        Robot second = new Robot(DISCRETE);
        second.send();
        second.expectOk();
        assertSame(thread, policy.thread);
        assertNotSame(Thread.currentThread(), thread);
        assertTrue(thread.getName().contains("inference"), thread.getName());
    }

    // ---- order and checks on entry

    @Test
    void refusesDuplicatesAndGapsAndStaysInStep() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        robot.send();
        robot.expectOk();
        robot.sendBad(0, new float[2], 0, Observation.ONE_PERIOD);
        robot.expectRefused(Refusal.DUPLICATE);
        robot.sendBad(2, new float[2], 0, Observation.ONE_PERIOD);
        robot.expectRefused(Refusal.OUT_OF_ORDER);
        robot.send();
        robot.expectOk();
        assertEquals(
                Map.of(Refusal.DUPLICATE, 1L, Refusal.OUT_OF_ORDER, 1L),
                robot.stats().refusals());
    }

    @Test
    void refusesWhatItCannotUseAndStaysInStep() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        robot.send();
        robot.expectOk();
        robot.sendBad(1, new float[] {Float.NaN, 0}, 0, Observation.ONE_PERIOD);
        assertTrue(robot.expectRefused(Refusal.NOT_FINITE).detail().contains("shoulder.pos is NaN"));
        robot.sendBad(1, new float[] {0, Float.POSITIVE_INFINITY}, 0, Observation.ONE_PERIOD);
        robot.expectRefused(Refusal.NOT_FINITE);
        robot.sendBad(1, new float[2], Float.NaN, Observation.ONE_PERIOD);
        assertTrue(robot.expectRefused(Refusal.NOT_FINITE).detail().contains("reward"));
        robot.sendBad(1, new float[] {0, 3.5f}, 0, Observation.ONE_PERIOD);
        assertTrue(robot.expectRefused(Refusal.OUT_OF_RANGE).detail().contains("elbow.pos is 3.5 rad"));
        robot.sendBad(1, new float[3], 0, Observation.ONE_PERIOD);
        assertTrue(robot.expectRefused(Refusal.WRONG_LENGTH).detail().contains("holds 3 values"));
        robot.sendBad(1, new float[2], 0, 11_000_000_000L);
        robot.expectRefused(Refusal.BAD_DEADLINE);
        for (int i = 0; i < 5; i++) {
            robot.send();
            robot.expectOk();
        }
    }

    @Test
    void refusesToGoOnWithAnEpisodeThatWasEnded() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        robot.send();
        robot.expectOk();
        robot.session.endEpisode(2.5f, true);
        EpisodeReport report = robot.listener.next(EpisodeReport.class);
        assertEquals(new EpisodeReport(0, 1, 2.5, EpisodeReport.Recording.OFF, ""), report);
        robot.sendBad(1, new float[2], 0, Observation.ONE_PERIOD);
        robot.expectRefused(Refusal.EPISODE_OVER);
        robot.session.endEpisode(0, true);
        assertTrue(robot.listener.next(EpisodeReport.class).detail().contains("no episode was running"));
        robot.send(true);
        robot.expectOk();
        assertThrows(IllegalArgumentException.class, () -> robot.session.endEpisode(Float.NaN, true));
    }

    @Test
    void takesNoMoreObservationsThanItsWindow() throws InterruptedException {
        start(1, "window = 2");
        Robot robot = new Robot(REACHER);
        Gate gate = new Gate();
        robot.send();
        gate.awaitEntry();
        robot.send();
        float[] second = robot.expected;
        assertFalse(robot.session.observe(
                new Observation(2, 0, time.nowNs(), Observation.ONE_PERIOD, new float[2], new byte[0], 0, false)));
        gate.release();
        assertEquals(0, robot.listener.reply().sequence());
        ActionReply reply = robot.listener.reply();
        assertEquals(1, reply.sequence());
        assertArrayEquals(second, reply.action());
    }

    @Test
    void refusesObservationsWhileTooManyLateResultsAreOutstanding() throws InterruptedException {
        start(1, "window = 2");
        Robot robot = new Robot(REACHER);
        Gate gate = new Gate();
        robot.send();
        gate.awaitEntry();
        time.advanceMs(10);
        robot.expectFallback(FallbackCause.INFERENCE);
        robot.send();
        time.advanceMs(10);
        robot.expectFallback(FallbackCause.QUEUE);
        robot.sendBad(2, new float[2], 0, Observation.ONE_PERIOD);
        robot.expectRefused(Refusal.BACKLOG);
        robot.session.endEpisode(0, false);
        gate.release();
        assertEquals(2, robot.listener.next(EpisodeReport.class).steps());
        robot.send(true);
        robot.expectOk();
    }

    // ---- deadlines

    @Test
    void sendsTheFallbackAtTheDeadlineAndFoldsTheLateResultIn() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        robot.send();
        float[] held = robot.expectOk().action();
        Gate gate = new Gate();
        robot.send();
        gate.awaitEntry();
        time.advanceMs(9.9);
        assertTrue(robot.listener.silent());
        time.advanceMs(0.2);
        ActionReply late = robot.expectFallback(FallbackCause.INFERENCE);
        assertArrayEquals(held, late.action());
        assertFalse(late.resetRequired());
        robot.send();
        gate.release();
        robot.expectOk();
        SessionStats stats = robot.stats();
        assertEquals(Map.of(FallbackCause.INFERENCE, 1L), stats.fallbacks());
        assertEquals(1, stats.missedDeadlines());
        assertEquals(1, stats.foldedLate());
        assertEquals(3, stats.steps());
    }

    @Test
    void aStepThatWaitsForAnotherRobotsStepMissesItsDeadlineInTheQueue() throws InterruptedException {
        start(2);
        Robot slow = new Robot(REACHER);
        Robot waiting = new Robot(REACHER);
        Gate gate = new Gate();
        slow.send();
        gate.awaitEntry();
        waiting.send();
        time.advanceMs(10);
        waiting.expectFallback(FallbackCause.QUEUE);
        slow.expectFallback(FallbackCause.INFERENCE);
        gate.release();
        waiting.send();
        waiting.expectOk();
    }

    @Test
    void aMissDuringAPauseIsBlamedOnGarbageCollection() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        Gate gate = new Gate();
        robot.send();
        gate.awaitEntry();
        time.pauseMs(6);
        time.advanceMs(4);
        robot.expectFallback(FallbackCause.GARBAGE_COLLECTION);
        gate.release();
        robot.send();
        robot.expectOk();
    }

    @Test
    void anObservationThatComesTooLateIsAnsweredAtOnceAndStepped() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        robot.session.observe(robot.observation(false, -1));
        assertArrayEquals(
                new float[] {0, 0.5f},
                robot.expectFallback(FallbackCause.LATE_CLIENT).action());
        robot.send();
        robot.expectOk();
        assertEquals(1, robot.stats().foldedLate());
    }

    @Test
    void aResultThatArrivesBehindItsDeadlineIsNotSent() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        policy.before = batch -> time.passMs(12);
        robot.send();
        robot.expectFallback(FallbackCause.INFERENCE);
        policy.before = batch -> {};
        robot.send();
        robot.expectOk();
    }

    @Test
    void theDeadlineOfTheObservationReplacesThePeriod() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        Gate gate = new Gate();
        robot.session.observe(robot.observation(false, 25_000_000));
        gate.awaitEntry();
        time.advanceMs(24);
        assertTrue(robot.listener.silent());
        gate.release();
        robot.expectOk();
    }

    @Test
    void theSafeFallbackIsApproachedAtTheRateLimit() throws InterruptedException {
        start(1);
        TaskCard limited = Cards.limited(Fallback.SAFE, null);
        Robot robot = new Robot(limited);
        robot.send();
        float[] sent = robot.expectOk().action();
        robot.session.observe(robot.observation(false, 0));
        ActionReply reply = robot.expectFallback(FallbackCause.LATE_CLIENT);
        assertEquals(Math.clamp(0f, sent[0] - 0.1f, sent[0] + 0.1f), reply.action()[0], 1e-6f);
        assertEquals(Math.clamp(0.5f, sent[1] - 0.1f, sent[1] + 0.1f), reply.action()[1], 1e-6f);
    }

    // ---- failures

    @Test
    void aResultThatIsNotFiniteGetsTheFallbackUntilTheRobotResets() throws InterruptedException {
        start(2);
        Robot robot = new Robot(REACHER);
        Robot other = new Robot(REACHER);
        robot.send();
        float[] held = robot.expectOk().action();
        policy.after = batch -> batch.status[0] = PolicyBatch.NOT_FINITE;
        robot.send();
        ActionReply reply = robot.expectFallback(FallbackCause.NOT_FINITE);
        assertTrue(reply.resetRequired());
        assertArrayEquals(held, reply.action());
        policy.after = batch -> {};
        robot.send();
        assertTrue(robot.expectFallback(FallbackCause.RESET_REQUIRED).resetRequired());
        other.send();
        other.expectOk();
        robot.send(true);
        robot.listener.next(EpisodeReport.class);
        assertFalse(robot.expectOk().resetRequired());
    }

    @Test
    void anActionTheSafetyStageRefusesRaisesAnAlarm() throws InterruptedException {
        start(1);
        Robot robot = new Robot(DISCRETE);
        policy.after = batch -> batch.action[0][0] = 17;
        robot.send();
        ActionReply reply = robot.expectFallback(FallbackCause.UNSAFE_ACTION);
        assertArrayEquals(new float[] {1}, reply.action());
        assertFalse(reply.resetRequired());
        policy.after = batch -> batch.action[0][0] = Float.NaN;
        robot.send();
        assertTrue(robot.expectFallback(FallbackCause.NOT_FINITE).resetRequired());
        assertEquals(2, robot.stats().alarms());
    }

    @Test
    void anActionOutOfBoundsIsClampedAndCounted() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        policy.after = batch -> batch.action[0][1] = -5;
        robot.send();
        ActionReply reply = robot.listener.reply();
        assertEquals(Status.OK, reply.status());
        assertTrue(reply.clamped());
        assertEquals(-2f, reply.action()[1]);
        assertEquals(1, robot.stats().clampedToBounds());
    }

    @Test
    void aRefusedBatchFailsOnlyTheSessionThatSpoilsIt() throws InterruptedException {
        start(3);
        Robot first = new Robot(REACHER);
        Robot good = new Robot(REACHER);
        Robot bad = new Robot(DISCRETE);
        int badSlot = 2;
        Gate gate = new Gate();
        first.send();
        gate.awaitEntry();
        good.send();
        bad.send();
        awaitInference(first);
        policy.before = batch -> {
            for (int row = 0; row < batch.count; row++) {
                if (batch.slot[row] == badSlot) {
                    throw new PolicyException("slot 2", "the test says so", "none");
                }
            }
        };
        gate.open.release();
        first.expectOk();
        good.expectOk();
        assertTrue(bad.expectFallback(FallbackCause.POLICY_FAILURE).resetRequired());
        assertTrue(runtime.healthy());
    }

    /** Returns once everything told to the session's thread before has been handled. */
    private void awaitInference(Robot robot) {
        robot.sendBad(99, new float[2], 0, Observation.ONE_PERIOD);
        robot.expectRefused(Refusal.OUT_OF_ORDER);
    }

    @Test
    void aPolicyThatKeepsFailingIsReplacedAndSessionsGoOnAfterAReset() throws InterruptedException {
        start(2, "inference.failure-limit = 2", "inference.restart-delay = 100ms");
        Robot robot = new Robot(REACHER);
        Thread firstThread = null;
        policy.before = batch -> {
            throw new IllegalStateException("device lost");
        };
        robot.send();
        assertTrue(robot.expectFallback(FallbackCause.POLICY_FAILURE).resetRequired());
        robot.send(true);
        robot.listener.next(EpisodeReport.class);
        robot.expectFallback(FallbackCause.POLICY_FAILURE);
        firstThread = policy.thread;
        FaultyPolicy failed = policy;
        awaitHealth(false);
        robot.send(true);
        robot.listener.next(EpisodeReport.class);
        robot.expectFallback(FallbackCause.POLICY_DOWN);
        RecordingListener refused = new RecordingListener();
        runtime.openSession(spec(REACHER), refused);
        assertEquals(
                OpenRefusal.POLICY_DOWN,
                refused.next(RecordingListener.Refused.class).reason());
        assertTrue(failed.closed);
        time.advanceMs(100);
        policy = policies.poll(20, TimeUnit.SECONDS);
        awaitHealth(true);
        Robot later = new Robot(DISCRETE);
        robot.send();
        robot.expectFallback(FallbackCause.RESET_REQUIRED);
        robot.send(true);
        robot.listener.next(EpisodeReport.class);
        robot.expectOk();
        later.send();
        later.expectOk();
        assertEquals(1, runtime.stats().policyRestarts());
        assertTrue(firstThread.getName().contains("inference"));
    }

    private void awaitHealth(boolean healthy) throws InterruptedException {
        long giveUpNs = System.nanoTime() + 20_000_000_000L;
        while (runtime.healthy() != healthy) {
            assertTrue(System.nanoTime() < giveUpNs, "health becomes " + healthy);
            Thread.onSpinWait();
        }
    }

    @Test
    void aPolicyIsNotReplacedMoreOftenThanTheLimit() throws InterruptedException {
        start(1, "inference.failure-limit = 1", "inference.restart-limit = 0");
        Robot robot = new Robot(REACHER);
        policy.before = batch -> {
            throw new IllegalStateException("device lost");
        };
        robot.send();
        robot.expectFallback(FallbackCause.POLICY_FAILURE);
        awaitHealth(false);
        time.advanceMs(1000);
        robot.send(true);
        robot.listener.next(EpisodeReport.class);
        robot.expectFallback(FallbackCause.POLICY_DOWN);
        assertEquals(0, runtime.stats().policyRestarts());
        assertTrue(policies.isEmpty());
    }

    // ---- admission

    @Test
    void refusesUnknownTasksAndOtherRobots() throws InterruptedException {
        start(1);
        RecordingListener listener = new RecordingListener();
        runtime.openSession(
                new SessionSpec("r", "juggling", RobotDescription.of(REACHER), OptionalDouble.empty(), false),
                listener);
        RecordingListener.Refused refused = listener.next(RecordingListener.Refused.class);
        assertEquals(OpenRefusal.UNKNOWN_TASK, refused.reason());
        assertTrue(refused.message().contains("reacher"), refused.message());
        runtime.openSession(
                new SessionSpec("r", "reacher", RobotDescription.of(DISCRETE), OptionalDouble.empty(), false),
                listener);
        refused = listener.next(RecordingListener.Refused.class);
        assertEquals(OpenRefusal.DESCRIPTION_MISMATCH, refused.reason());
        runtime.openSession(
                new SessionSpec("r", "reacher", RobotDescription.of(REACHER), OptionalDouble.of(Double.NaN), false),
                listener);
        assertEquals(
                OpenRefusal.BAD_REQUEST,
                listener.next(RecordingListener.Refused.class).reason());
        runtime.openSession(
                new SessionSpec("r", "reacher", RobotDescription.of(REACHER), OptionalDouble.empty(), true), listener);
        assertEquals(
                OpenRefusal.RECORDING_UNAVAILABLE,
                listener.next(RecordingListener.Refused.class).reason());
        assertEquals(4, runtime.stats().sessionsRefused());
    }

    @Test
    void refusesMoreSessionsThanThereAreSlotsUntilOneIsClosed() throws InterruptedException {
        start(2);
        Robot first = new Robot(REACHER);
        Robot second = new Robot(REACHER);
        RecordingListener third = new RecordingListener();
        runtime.openSession(spec(REACHER), third);
        assertEquals(
                OpenRefusal.SESSION_LIMIT,
                third.next(RecordingListener.Refused.class).reason());
        first.send();
        first.expectOk();
        first.session.close();
        assertEquals(
                CloseReason.CLIENT,
                first.listener.next(RecordingListener.Closed.class).reason());
        assertEquals(1, runtime.stats().openSessions(), "who has heard of the end finds the slot free");
        Robot fourth = new Robot(REACHER);
        fourth.send();
        fourth.expectOk();
        second.send();
        second.expectOk();
        assertEquals(3, runtime.stats().sessionsOpened());
    }

    @Test
    void theOnlySlotIsFreeForWhoHasHeardOfTheEnd() throws InterruptedException {
        start(1);
        for (int i = 0; i < 100; i++) {
            Robot robot = new Robot(REACHER);
            robot.send();
            robot.expectOk();
            robot.session.close();
            robot.listener.next(RecordingListener.Closed.class);
        }
        assertEquals(100, runtime.stats().sessionsOpened());
        assertEquals(0, runtime.stats().sessionsRefused());
    }

    @Test
    void aListenerThatFailsAtTheEndIsNotTheEndOfTheRuntime() throws InterruptedException {
        start(1);
        RecordingListener events = new RecordingListener();
        SessionListener failing = (SessionListener) Proxy.newProxyInstance(
                SessionListener.class.getClassLoader(),
                new Class<?>[] {SessionListener.class},
                (proxy, method, args) -> {
                    method.invoke(events, args);
                    if (method.getName().equals("closed")) {
                        throw new IllegalStateException("the connection is gone");
                    }
                    return null;
                });
        runtime.openSession(spec(REACHER), failing);
        events.next(RobotSession.class).close();
        events.next(RecordingListener.Closed.class);
        Robot next = new Robot(REACHER);
        next.send();
        next.expectOk();
    }

    @Test
    void closesASessionThatIsIdle() throws InterruptedException {
        start(1, "idle-timeout = 5s");
        int alarms = time.alarmCount();
        Robot robot = new Robot(REACHER);
        time.advanceMs(4000);
        robot.send();
        robot.expectOk();
        time.advanceMs(4000);
        assertTrue(robot.listener.silent());
        time.advanceMs(1001);
        RecordingListener.Closed closed = robot.listener.next(RecordingListener.Closed.class);
        assertEquals(CloseReason.IDLE, closed.reason());
        assertTrue(closed.message().contains("5000 ms"), closed.message());
        assertEquals(0, runtime.stats().openSessions());
        assertEquals(alarms, time.alarmCount());
    }

    @Test
    void closingTheRuntimeTellsItsSessionsAndItOpensNoMore() throws InterruptedException {
        start(1);
        Robot robot = new Robot(REACHER);
        runtime.close();
        runtime.close();
        assertEquals(
                CloseReason.SHUTDOWN,
                robot.listener.next(RecordingListener.Closed.class).reason());
        assertThrows(RuntimeClosedException.class, () -> runtime.openSession(spec(REACHER), new RecordingListener()));
    }

    // ---- many sessions

    @Test
    void sixteenSessionsAtOnceAreBatchedAndDoNotMix() throws InterruptedException {
        int sessions = 16;
        start(sessions);
        List<Robot> robots = new ArrayList<>();
        for (int i = 0; i < sessions; i++) {
            robots.add(new Robot(i % 2 == 0 ? REACHER : DISCRETE));
            robots.get(i).random.setSeed(i);
        }
        CountDownLatch ready = new CountDownLatch(sessions);
        LinkedBlockingQueue<Optional<Throwable>> outcomes = new LinkedBlockingQueue<>();
        for (Robot robot : robots) {
            Thread.ofVirtual().start(() -> {
                try {
                    ready.countDown();
                    ready.await();
                    for (int step = 0; step < 200; step++) {
                        robot.send();
                        robot.expectOk();
                    }
                    outcomes.add(Optional.empty());
                } catch (Throwable failure) {
                    outcomes.add(Optional.of(failure));
                }
            });
        }
        for (int i = 0; i < sessions; i++) {
            Optional<Throwable> outcome = outcomes.poll(60, TimeUnit.SECONDS);
            assertEquals(Optional.empty(), outcome);
        }
        Snapshot stats = runtime.stats();
        assertEquals(200L * sessions, stats.inference().rows());
        assertTrue(
                stats.inference().largestBatch() > 1,
                "largest batch " + stats.inference().largestBatch());
        assertTrue(stats.inference().batches() < stats.inference().rows());
    }

    // ---- start and settings

    @Test
    void aPolicyThatCannotBeMadeStopsTheStart() {
        RuntimeStartException failure = assertThrows(
                RuntimeStartException.class,
                () -> LramRuntime.start(
                        () -> {
                            throw new IllegalStateException("weights are missing");
                        },
                        RuntimeSettings.load(),
                        Optional.empty(),
                        time.environment()));
        assertTrue(failure.getMessage().contains("weights are missing"), failure.getMessage());
    }

    @Test
    void aPolicyThatLoadsTooSlowlyStopsTheStart() {
        Semaphore never = new Semaphore(0);
        RuntimeStartException failure = assertThrows(
                RuntimeStartException.class,
                () -> LramRuntime.start(
                        () -> {
                            never.acquireUninterruptibly();
                            throw new IllegalStateException("released");
                        },
                        settings("start-timeout = 50ms"),
                        Optional.empty(),
                        time.environment()));
        never.release();
        assertTrue(failure.getMessage().contains("50 ms"), failure.getMessage());
    }

    @Test
    void settingsOutOfRangeAreNamed() {
        for (String bad : List.of(
                "max-sessions = 0",
                "window = 65",
                "idle-timeout = 0s",
                "longest-deadline = 2d",
                "start-timeout = 0s",
                "inference.max-batch-wait = -1ms",
                "inference.failure-limit = 0",
                "inference.restart-limit = -1",
                "recording.chunks = 0",
                "recording.chunk-frames = many")) {
            RuntimeConfigException failure = assertThrows(RuntimeConfigException.class, () -> settings(bad), bad);
            assertTrue(
                    failure.getMessage().contains(bad.substring(bad.indexOf('.') + 1, bad.indexOf(' '))),
                    failure.getMessage());
        }
    }
}
