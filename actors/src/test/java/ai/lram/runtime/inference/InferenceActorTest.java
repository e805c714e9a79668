package ai.lram.runtime.inference;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;
import ai.lram.runtime.testing.Cards;
import ai.lram.runtime.testing.FaultyPolicy;
import ai.lram.runtime.testing.ManualTime;
import akka.actor.testkit.typed.javadsl.BehaviorTestKit;
import akka.actor.testkit.typed.javadsl.TestInbox;
import akka.actor.typed.Terminated;
import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class InferenceActorTest {
    private static final TaskCard TASK = Cards.reacher();
    private static final ModelCard MODEL = Cards.model(TASK);

    private final ManualTime time = new ManualTime();
    private final InferenceMeter meter = new InferenceMeter();
    private final TestInbox<InferenceActor.Event> events = TestInbox.create();
    private final List<List<Integer>> batches = new ArrayList<>();
    private int sessions;
    private FaultyPolicy policy;
    private BehaviorTestKit<InferenceActor.Command> actor;

    private void start(int slots, int maxBatch, double waitMs) {
        policy = new FaultyPolicy(new LinearFeedbackPolicy(MODEL, slots, maxBatch, 1));
        policy.before = batch -> batches.add(
                Arrays.stream(Arrays.copyOf(batch.slot, batch.count)).boxed().toList());
        actor = BehaviorTestKit.create(
                InferenceActor.create(() -> policy, (long) (waitMs * 1e6), 2, time, time, meter, events.getRef()));
        assertEquals(slots, ((InferenceActor.Ready) events.receiveMessage()).slots());
    }

    private final class Session {
        final TestInbox<InferenceActor.SlotGranted> granted = TestInbox.create();
        final TestInbox<Object> ref = TestInbox.create("session-" + sessions++);
        int results;
        final StepRequest request = new StepRequest(MODEL, () -> results++);

        Session() {
            actor.run(new InferenceActor.Acquire(request, ref.getRef(), granted.getRef()));
            if (granted.hasMessages()) {
                request.slot = granted.receiveMessage().slot();
                request.task = TASK;
                request.reset = true;
            }
        }

        void send(double deadlineMs) {
            request.receivedNs = time.nowNs();
            request.deadlineNs = time.nowNs() + (long) (deadlineMs * 1e6);
            request.startedNs = 0;
            actor.run(request);
        }
    }

    private void drain() {
        while (actor.selfInbox().hasMessages()) {
            actor.run(actor.selfInbox().receiveMessage());
        }
    }

    @Test
    void batchesWhateverHasArrived() {
        start(4, 4, 0);
        Session a = new Session();
        Session b = new Session();
        Session c = new Session();
        a.send(10);
        c.send(5);
        drain();
        assertEquals(List.of(List.of(2, 0)), batches);
        assertEquals(1, a.results);
        assertEquals(0, b.results);
        assertEquals(StepRequest.Outcome.OK, c.request.outcome);
    }

    @Test
    void earliestDeadlinesGoFirstWhenNotAllFit() {
        start(4, 2, 0);
        Session a = new Session();
        Session b = new Session();
        Session c = new Session();
        a.send(30);
        b.send(10);
        c.send(20);
        drain();
        assertEquals(List.of(List.of(1, 2), List.of(0)), batches);
    }

    @Test
    void waitsForOthersAsLongAsItMay() {
        start(4, 4, 3);
        Session a = new Session();
        Session b = new Session();
        a.send(50);
        drain();
        assertTrue(batches.isEmpty());
        time.advanceMs(2);
        drain();
        assertTrue(batches.isEmpty());
        time.advanceMs(1);
        drain();
        assertEquals(List.of(List.of(0)), batches);
        assertEquals(0, b.results);
    }

    @Test
    void waitsForNobodyWhenAllSessionsHaveSent() {
        start(4, 4, 3);
        Session a = new Session();
        Session b = new Session();
        a.send(50);
        b.send(50);
        drain();
        assertEquals(List.of(List.of(0, 1)), batches);
        assertEquals(1, a.results + b.results - 1);
    }

    @Test
    void neverWaitsBeyondTheEarliestDeadline() {
        start(4, 4, 30);
        Session a = new Session();
        new Session();
        a.send(5);
        drain();
        time.advanceMs(4.9);
        drain();
        assertTrue(batches.isEmpty());
        time.advanceMs(0.2);
        drain();
        assertEquals(1, a.results);
    }

    @Test
    void startsEarlierByTheTimeAStepTakes() {
        start(4, 4, 30);
        Session a = new Session();
        Session b = new Session();
        policy.after = batch -> time.passMs(1);
        for (int i = 0; i < 100; i++) {
            a.send(50);
            b.send(50);
            drain();
        }
        batches.clear();
        a.send(5);
        drain();
        time.advanceMs(2.9);
        drain();
        assertTrue(batches.isEmpty());
        time.advanceMs(0.2);
        drain();
        assertEquals(List.of(List.of(0)), batches);
    }

    @Test
    void aSlotIsFreeAgainWhenItsSessionHasStopped() {
        start(1, 1, 0);
        Session a = new Session();
        Session b = new Session();
        assertFalse(b.granted.hasMessages());
        a.send(10);
        actor.signal(new Terminated(a.ref.getRef().unsafeUpcast()));
        drain();
        assertTrue(batches.isEmpty(), "the step of a stopped session is not run");
        assertEquals(0, b.granted.receiveMessage().slot());
    }

    @Test
    void aStepForASlotThatIsNotTheSessionsFails() {
        start(2, 2, 0);
        Session a = new Session();
        StepRequest stranger = new StepRequest(MODEL, () -> a.results += 10);
        stranger.slot = 0;
        actor.run(stranger);
        drain();
        assertEquals(StepRequest.Outcome.FAILED, stranger.outcome);
        assertEquals(10, a.results);
        assertTrue(batches.isEmpty());
    }

    @Test
    void timesQueueEncodeAndStepApart() {
        start(1, 1, 0);
        Session a = new Session();
        a.send(10);
        time.passMs(2);
        policy.after = batch -> time.passMs(3);
        drain();
        InferenceStats stats = meter.stats();
        assertEquals(2e6, stats.queue().maxNs(), 2e4);
        assertEquals(0, stats.encode().maxNs(), 100);
        assertEquals(3e6, stats.step().maxNs(), 3e4);
        assertEquals(3_000_000, a.request.finishedNs - a.request.encodedNs);
    }

    @Test
    void stopsAfterRepeatedFailureAndAnswersEverybody() {
        start(2, 1, 0);
        Session a = new Session();
        Session b = new Session();
        policy.before = batch -> {
            throw new IllegalStateException("device lost");
        };
        a.send(10);
        b.send(10);
        drain();
        assertEquals(StepRequest.Outcome.FAILED, a.request.outcome);
        assertEquals("device lost", b.request.failure);
        assertFalse(actor.isAlive());
        assertTrue(((InferenceActor.Down) events.receiveMessage()).reason().contains("2 times in a row"));
    }

    @Test
    void oneGoodBatchForgivesTheFailuresBefore() {
        start(1, 1, 0);
        Session a = new Session();
        for (int i = 0; i < 6; i++) {
            boolean fail = i % 2 == 0;
            policy.after = batch -> {
                if (fail) {
                    batch.status[0] = PolicyBatch.NOT_FINITE;
                }
            };
            a.send(10);
            drain();
            assertEquals(fail ? StepRequest.Outcome.NOT_FINITE : StepRequest.Outcome.OK, a.request.outcome);
        }
        assertTrue(actor.isAlive());
    }

    @Test
    void measuringALatencyAllocatesNothing() {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        for (int i = 0; i < 20_000; i++) {
            meter.batch(1, i, i);
            meter.queued(i);
        }
        long before = threads.getCurrentThreadAllocatedBytes();
        long nothing = threads.getCurrentThreadAllocatedBytes() - before;
        before = threads.getCurrentThreadAllocatedBytes();
        for (int i = 0; i < 20_000; i++) {
            meter.batch(1, i, i);
            meter.queued(i);
        }
        assertEquals(nothing, threads.getCurrentThreadAllocatedBytes() - before);
    }
}
