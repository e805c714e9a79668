package ai.lram.runtime.inference;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import ai.lram.runtime.PolicyFactory;
import ai.lram.runtime.time.MonotonicClock;
import ai.lram.runtime.time.WakeTimer;
import akka.actor.typed.ActorRef;
import akka.actor.typed.Behavior;
import akka.actor.typed.PostStop;
import akka.actor.typed.Terminated;
import akka.actor.typed.javadsl.AbstractBehavior;
import akka.actor.typed.javadsl.ActorContext;
import akka.actor.typed.javadsl.Behaviors;
import akka.actor.typed.javadsl.Receive;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;

/**
 * Owns one policy on one thread, hands out its state slots and steps whoever is due in one batch.
 *
 * <p>To be spawned on a dispatcher of exactly one thread. With a batch wait of zero a batch is what had arrived when the
 * thread became free; with a longer one it also waits for sessions that have not sent their observation yet, but never
 * beyond the earliest deadline less twice the usual step time. Where more sessions are due than fit a batch, the earliest
 * deadlines go first. The step path allocates nothing.
 *
 * <p>A step that throws {@link PolicyException} has changed no state, so its rows are tried one by one and only the
 * offending session fails; any other exception fails the whole batch. After {@code failureLimit} batches in a row in which
 * no row succeeded the actor reports {@link Down} and stops.
 */
public final class InferenceActor extends AbstractBehavior<InferenceActor.Command> {
    private static final double STEP_TIME_WEIGHT = 0.1;

    /** What the actor is told. A {@link StepRequest} asks for a step. */
    public sealed interface Command permits StepRequest, Acquire, ForgetStats, Internal, Stop {}

    /** Asks for a state slot; it is freed when {@code session} has stopped. Waits for a slot that is about to be freed. */
    public record Acquire(StepRequest owner, ActorRef<?> session, ActorRef<SlotGranted> replyTo) implements Command {}

    /** Counts from nothing, when the batch under way has been counted. */
    public record ForgetStats(CompletableFuture<Void> done) implements Command {}

    /** Ends the actor and closes the policy. */
    public enum Stop implements Command {
        INSTANCE
    }

    private enum Internal implements Command {
        FLUSH,
        WAITED_ENOUGH
    }

    /** A slot for a session, until either stops. */
    public record SlotGranted(int slot, ActorRef<Command> inference) {}

    /** What the actor tells its parent. */
    public sealed interface Event permits Ready, Down {}

    /** The policy is loaded. */
    public record Ready(ActorRef<Command> inference, ModelCard card, int slots) implements Event {}

    /** The policy could not be made, or failed repeatedly; the actor stops. */
    public record Down(ActorRef<Command> inference, String reason, Throwable cause) implements Event {}

    private final Policy policy;
    private final MonotonicClock clock;
    private final WakeTimer.Alarm alarm;
    private final InferenceMeter meter;
    private final long maxBatchWaitNs;
    private final int failureLimit;
    private final ActorRef<Event> parent;

    private final PolicyBatch batch;
    private final StepRequest[] rows;
    /** Waiting steps, earliest deadline first. */
    private final StepRequest[] waiting;

    private final StepRequest[] owners;
    private final ActorRef<?>[] sessions;
    private final Queue<Acquire> waitingForSlot = new ArrayDeque<>();
    private int waitingCount;
    private int sessionCount;
    private boolean flushing;
    private long waitingSinceNs;
    private double usualStepNs;
    private int failedBatches;

    /**
     * @param maxBatchWaitNs how long a step may wait for others to join its batch
     * @param failureLimit failed batches in a row after which the actor stops; at least 1
     * @param parent told {@link Ready} or {@link Down}
     */
    public static Behavior<Command> create(
            PolicyFactory factory,
            long maxBatchWaitNs,
            int failureLimit,
            MonotonicClock clock,
            WakeTimer timer,
            InferenceMeter meter,
            ActorRef<Event> parent) {
        return Behaviors.setup(context -> {
            Policy policy;
            try {
                policy = factory.create();
            } catch (RuntimeException failure) {
                parent.tell(
                        new Down(context.getSelf(), "the policy could not be made: " + failure.getMessage(), failure));
                return Behaviors.stopped();
            }
            InferenceActor actor =
                    new InferenceActor(context, policy, maxBatchWaitNs, failureLimit, clock, timer, meter, parent);
            parent.tell(new Ready(context.getSelf(), policy.card(), policy.slots()));
            return actor;
        });
    }

    private InferenceActor(
            ActorContext<Command> context,
            Policy policy,
            long maxBatchWaitNs,
            int failureLimit,
            MonotonicClock clock,
            WakeTimer timer,
            InferenceMeter meter,
            ActorRef<Event> parent) {
        super(context);
        this.policy = policy;
        this.maxBatchWaitNs = maxBatchWaitNs;
        this.failureLimit = failureLimit;
        this.clock = clock;
        this.meter = meter;
        this.parent = parent;
        ActorRef<Command> self = context.getSelf();
        this.alarm = timer.register(() -> self.tell(Internal.WAITED_ENOUGH));
        int capacity = Math.min(policy.maxBatch(), policy.slots());
        this.batch = new PolicyBatch(policy.card(), capacity);
        this.rows = new StepRequest[capacity];
        this.waiting = new StepRequest[policy.slots()];
        this.owners = new StepRequest[policy.slots()];
        this.sessions = new ActorRef<?>[policy.slots()];
    }

    @Override
    public Receive<Command> createReceive() {
        return newReceiveBuilder()
                .onMessage(StepRequest.class, this::onStep)
                .onMessageEquals(Internal.FLUSH, this::onFlush)
                .onMessageEquals(Internal.WAITED_ENOUGH, this::onWaitedEnough)
                .onMessage(Acquire.class, this::onAcquire)
                .onMessage(ForgetStats.class, this::onForgetStats)
                .onMessage(Stop.class, stop -> Behaviors.stopped())
                .onSignal(Terminated.class, this::onSessionStopped)
                .onSignal(PostStop.class, this::onPostStop)
                .build();
    }

    private Behavior<Command> onStep(StepRequest request) {
        if (owners[request.slot] != request) {
            fail(request, "slot " + request.slot + " is not the session's any more");
            return this;
        }
        if (waitingCount == 0) {
            waitingSinceNs = clock.nowNs();
        }
        int at = waitingCount++;
        while (at > 0 && waiting[at - 1].deadlineNs > request.deadlineNs) {
            waiting[at] = waiting[at - 1];
            at--;
        }
        waiting[at] = request;
        schedule();
        return this;
    }

    /** Decides when the waiting steps are run: behind the messages already queued, or later. */
    private void schedule() {
        if (flushing) {
            return;
        }
        if (maxBatchWaitNs > 0 && waitingCount < sessionCount && waitingCount < rows.length) {
            long latestStartNs = waiting[0].deadlineNs - (long) (2 * usualStepNs);
            long untilNs = Math.min(waitingSinceNs + maxBatchWaitNs, latestStartNs);
            if (untilNs > clock.nowNs()) {
                alarm.set(untilNs);
                return;
            }
        }
        flush();
    }

    private void flush() {
        flushing = true;
        getContext().getSelf().tell(Internal.FLUSH);
    }

    private Behavior<Command> onWaitedEnough() {
        if (waitingCount > 0 && !flushing) {
            flush();
        }
        return this;
    }

    private Behavior<Command> onForgetStats(ForgetStats message) {
        meter.forget();
        message.done().complete(null);
        return this;
    }

    private Behavior<Command> onFlush() {
        flushing = false;
        alarm.set(WakeTimer.NEVER);
        runBatch();
        if (failedBatches >= failureLimit) {
            String reason = "the policy failed " + failedBatches + " times in a row";
            failWaiting(reason);
            parent.tell(new Down(getContext().getSelf(), reason, null));
            return Behaviors.stopped();
        }
        if (waitingCount > 0) {
            waitingSinceNs = clock.nowNs();
            flush();
        }
        return this;
    }

    private void runBatch() {
        int count = Math.min(waitingCount, rows.length);
        if (count == 0) {
            return;
        }
        long startedNs = clock.nowNs();
        System.arraycopy(waiting, 0, rows, 0, count);
        System.arraycopy(waiting, count, waiting, 0, waitingCount - count);
        java.util.Arrays.fill(waiting, waitingCount - count, waitingCount, null);
        waitingCount -= count;
        for (int i = 0; i < count; i++) {
            rows[i].startedNs = startedNs;
            meter.queued(startedNs - rows[i].receivedNs);
        }
        int ready = encode(count);
        long encodedNs = clock.nowNs();
        int succeeded = ready == 0 ? 0 : step(ready, encodedNs);
        long finishedNs = clock.nowNs();
        if (ready > 0) {
            meter.batch(ready, encodedNs - startedNs, finishedNs - encodedNs);
            usualStepNs += STEP_TIME_WEIGHT * (finishedNs - encodedNs - usualStepNs);
        }
        failedBatches = succeeded > 0 ? 0 : failedBatches + 1;
        for (int i = 0; i < count; i++) {
            rows[i] = null;
        }
    }

    /** Copies inputs of rows 0..count-1 into the batch; rows whose slot cannot be reset fail and are left out. */
    private int encode(int count) {
        int ready = 0;
        for (int i = 0; i < count; i++) {
            StepRequest request = rows[i];
            if (request.reset) {
                try {
                    policy.reset(request.slot, request.task);
                } catch (RuntimeException failure) {
                    report("reset of slot " + request.slot, failure);
                    fail(request, String.valueOf(failure.getMessage()));
                    continue;
                }
            }
            copyIn(request, ready);
            rows[ready++] = request;
        }
        return ready;
    }

    private void copyIn(StepRequest request, int row) {
        PolicyBatch in = request.row;
        batch.slot[row] = request.slot;
        batch.first[row] = in.first[0];
        batch.reward[row] = in.reward[0];
        batch.returnToGo[row] = in.returnToGo[0];
        System.arraycopy(in.observation[0], 0, batch.observation[row], 0, in.observation[0].length);
        if (in.image[0] != null) {
            System.arraycopy(in.image[0], 0, batch.image[row], 0, in.image[0].length);
        }
    }

    /** Steps rows 0..count-1 and hands them back. @return how many succeeded */
    private int step(int count, long encodedNs) {
        batch.count = count;
        try {
            policy.step(batch);
        } catch (PolicyException refused) {
            report("a step of " + count + " sessions", refused);
            return count == 1 ? failRow(0, refused) : stepOneByOne(count);
        } catch (RuntimeException failure) {
            report("a step of " + count + " sessions", failure);
            for (int i = 0; i < count; i++) {
                failRow(i, failure);
            }
            return 0;
        }
        long finishedNs = clock.nowNs();
        int succeeded = 0;
        for (int i = 0; i < count; i++) {
            succeeded += handBack(i, rows[i], encodedNs, finishedNs);
        }
        return succeeded;
    }

    private int stepOneByOne(int count) {
        int succeeded = 0;
        for (int i = 0; i < count; i++) {
            long encodedNs = clock.nowNs();
            copyIn(rows[i], 0);
            batch.count = 1;
            try {
                policy.step(batch);
                succeeded += handBack(0, rows[i], encodedNs, clock.nowNs());
            } catch (RuntimeException failure) {
                report("the step of slot " + rows[i].slot, failure);
                failRow(i, failure);
            }
        }
        return succeeded;
    }

    private int handBack(int row, StepRequest request, long encodedNs, long finishedNs) {
        boolean ok = batch.status[row] == PolicyBatch.OK;
        request.encodedNs = encodedNs;
        request.finishedNs = finishedNs;
        request.outcome = ok ? StepRequest.Outcome.OK : StepRequest.Outcome.NOT_FINITE;
        request.failure = "";
        System.arraycopy(batch.action[row], 0, request.row.action[0], 0, batch.action[row].length);
        request.done();
        return ok ? 1 : 0;
    }

    private int failRow(int row, RuntimeException failure) {
        fail(rows[row], String.valueOf(failure.getMessage()));
        return 0;
    }

    private void fail(StepRequest request, String failure) {
        long nowNs = clock.nowNs();
        if (request.startedNs == 0) {
            request.startedNs = nowNs;
        }
        request.encodedNs = nowNs;
        request.finishedNs = nowNs;
        request.outcome = StepRequest.Outcome.FAILED;
        request.failure = failure;
        request.done();
    }

    private void failWaiting(String failure) {
        for (int i = 0; i < waitingCount; i++) {
            fail(waiting[i], failure);
            waiting[i] = null;
        }
        waitingCount = 0;
    }

    private void report(String what, RuntimeException failure) {
        meter.failed();
        getContext().getLog().error("{} failed", what, failure);
    }

    private Behavior<Command> onAcquire(Acquire acquire) {
        if (!grant(acquire)) {
            waitingForSlot.add(acquire);
        }
        getContext().watch(acquire.session());
        return this;
    }

    private boolean grant(Acquire acquire) {
        for (int slot = 0; slot < owners.length; slot++) {
            if (owners[slot] == null) {
                owners[slot] = acquire.owner();
                sessions[slot] = acquire.session();
                sessionCount++;
                acquire.replyTo().tell(new SlotGranted(slot, getContext().getSelf()));
                return true;
            }
        }
        return false;
    }

    private Behavior<Command> onSessionStopped(Terminated signal) {
        ActorRef<?> session = signal.getRef();
        waitingForSlot.removeIf(acquire -> acquire.session().equals(session));
        for (int slot = 0; slot < owners.length; slot++) {
            if (session.equals(sessions[slot])) {
                forget(owners[slot]);
                owners[slot] = null;
                sessions[slot] = null;
                sessionCount--;
            }
        }
        while (!waitingForSlot.isEmpty() && grant(waitingForSlot.peek())) {
            waitingForSlot.remove();
        }
        return this;
    }

    private void forget(StepRequest request) {
        int kept = 0;
        for (int i = 0; i < waitingCount; i++) {
            if (waiting[i] != request) {
                waiting[kept++] = waiting[i];
            }
        }
        java.util.Arrays.fill(waiting, kept, waitingCount, null);
        waitingCount = kept;
    }

    private Behavior<Command> onPostStop(PostStop signal) {
        alarm.cancel();
        failWaiting("the runtime is shutting down");
        policy.close();
        return this;
    }
}
