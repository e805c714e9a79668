package ai.lram.runtime.session;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.EpisodeReturn;
import ai.lram.runtime.inference.InferenceActor;
import ai.lram.runtime.inference.StepRequest;
import ai.lram.runtime.protocol.ActionReply;
import ai.lram.runtime.protocol.CloseReason;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Observation;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.protocol.RobotSession;
import ai.lram.runtime.protocol.SessionListener;
import ai.lram.runtime.protocol.StepTiming;
import ai.lram.runtime.recording.EpisodeTape;
import ai.lram.runtime.recording.RecorderActor;
import ai.lram.runtime.recording.RecordingMemory;
import ai.lram.runtime.time.MonotonicClock;
import ai.lram.runtime.time.PauseMeter;
import ai.lram.runtime.time.WakeTimer;
import akka.actor.typed.ActorRef;
import akka.actor.typed.Behavior;
import akka.actor.typed.PostStop;
import akka.actor.typed.javadsl.AbstractBehavior;
import akka.actor.typed.javadsl.ActorContext;
import akka.actor.typed.javadsl.Behaviors;
import akka.actor.typed.javadsl.Receive;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * One robot's session.
 *
 * <p>Observations are accepted strictly in order and stepped strictly in order, one at a time. Each gets exactly one answer:
 * the policy's action if it is there before the deadline, else the task's fallback at the deadline. In that case the
 * result still advances the state when it comes, and the next observation is stepped only after it, so the state is always
 * that of the whole sequence of accepted observations. A refused observation changes nothing, and its sequence number stays open.
 *
 * <p>When the policy fails or its result is not finite, the state is lost: fallback until the robot starts a new episode.
 */
public final class SessionActor extends AbstractBehavior<SessionActor.Command> {
    /** A pause is the cause of a miss if it took at least this part of the budget, or more than the result was late. */
    private static final long PAUSE_SHARE = 4;

    /** What a session is told. */
    public sealed interface Command {}

    record Observe(Observation observation) implements Command {}

    record EndEpisode(float reward, boolean terminated) implements Command {}

    /** Ends the session. */
    public record Close(CloseReason reason, String message) implements Command {}

    /** The policy is gone, and the session's state with it. */
    public enum InferenceDown implements Command {
        INSTANCE
    }

    /** A policy is running again. */
    public record InferenceUp(ActorRef<InferenceActor.Command> inference) implements Command {}

    private enum Internal implements Command {
        STEP_DONE,
        WAKE
    }

    private record Granted(InferenceActor.SlotGranted slot) implements Command {}

    private record Recorded(EpisodeReport report) implements Command {}

    /**
     * What a session is made of.
     *
     * @param targetReturn return asked for in every episode, raw units
     * @param window observations that may wait for an answer; at least 1
     * @param idleNs time without an observation after which the session ends
     * @param longestBudgetNs longest deadline accepted
     * @param recorder where episodes go, or null for none
     * @param memory the recorder's memory, or null
     * @param end who listens; told by who spawns the session, when it has stopped
     */
    public record Setup(
            long id,
            ModelCard card,
            TaskCard task,
            double targetReturn,
            int window,
            long idleNs,
            long longestBudgetNs,
            MonotonicClock clock,
            WakeTimer timer,
            PauseMeter pauses,
            ActorRef<RecorderActor.Command> recorder,
            RecordingMemory memory,
            SessionMeter meter,
            SessionEnd end) {}

    /** An accepted observation until its step has ended. Reused. */
    private static final class Pending {
        Observation observation;
        long deadlineNs;
        long budgetNs;
        long pausedBeforeNs;
        boolean answered;
        final float[] sent;

        Pending(int actionSize) {
            sent = new float[actionSize];
        }
    }

    private final Setup setup;
    private final TaskCard task;
    private final MonotonicClock clock;
    private final SessionMeter meter;
    private final SessionListener listener;
    private final WakeTimer.Alarm alarm;
    private final ObservationCheck check;
    private final SafetyStage safety;
    private final EpisodeReturn returns;
    private final StepRequest request;
    private final EpisodeTape tape;
    private final long periodNs;
    private final AtomicInteger outstanding = new AtomicInteger();

    private final Pending[] pending;
    private final float[] action;
    private int head;
    private int pendingCount;
    private boolean inFlight;

    private ActorRef<InferenceActor.Command> inference;
    private boolean haveSlot;
    private long nextSequence;
    private boolean stateLost;
    private boolean episodeOver = true;
    private boolean episodeRunning;
    private EndEpisode pendingEnd;
    private long episode = -1;
    private long episodeSteps;
    private double rewardSum;
    private long lastActivityNs;

    /** A session that asks {@code inference} for a slot and opens when it is granted. */
    public static Behavior<Command> create(Setup setup, ActorRef<InferenceActor.Command> inference) {
        return Behaviors.setup(context -> {
            SessionActor session = new SessionActor(context, setup);
            session.acquire(inference);
            return session;
        });
    }

    private SessionActor(ActorContext<Command> context, Setup setup) {
        super(context);
        this.setup = setup;
        this.task = setup.task();
        this.clock = setup.clock();
        this.meter = setup.meter();
        this.listener = setup.end().listener();
        this.check = new ObservationCheck(task, setup.longestBudgetNs());
        this.safety = new SafetyStage(task);
        this.returns = new EpisodeReturn(task);
        this.periodNs = (long) (1e9 / task.rateHz());
        ActorRef<Command> self = context.getSelf();
        this.request = new StepRequest(setup.card(), () -> self.tell(Internal.STEP_DONE));
        this.alarm = setup.timer().register(() -> self.tell(Internal.WAKE));
        this.tape = setup.recorder() == null
                ? null
                : new EpisodeTape(
                        setup.id(),
                        task,
                        setup.memory(),
                        setup.recorder(),
                        context.messageAdapter(EpisodeReport.class, Recorded::new));
        this.pending = new Pending[setup.window()];
        for (int i = 0; i < pending.length; i++) {
            pending[i] = new Pending(task.actionSize());
        }
        this.action = new float[task.actionSize()];
        this.lastActivityNs = clock.nowNs();
    }

    private void acquire(ActorRef<InferenceActor.Command> from) {
        inference = from;
        from.tell(new InferenceActor.Acquire(
                request,
                getContext().getSelf(),
                getContext().messageAdapter(InferenceActor.SlotGranted.class, Granted::new)));
    }

    @Override
    public Receive<Command> createReceive() {
        return newReceiveBuilder()
                .onMessage(Observe.class, this::onObserve)
                .onMessageEquals(Internal.STEP_DONE, this::onStepDone)
                .onMessageEquals(Internal.WAKE, this::onWake)
                .onMessage(EndEpisode.class, this::onEndEpisode)
                .onMessage(Granted.class, this::onGranted)
                .onMessage(Recorded.class, recorded -> {
                    listener.episodeEnded(recorded.report());
                    return this;
                })
                .onMessage(InferenceDown.class, down -> onInferenceDown())
                .onMessage(InferenceUp.class, this::onInferenceUp)
                .onMessage(Close.class, this::onClose)
                .onSignal(PostStop.class, this::onPostStop)
                .build();
    }

    // ---- the slot

    private Behavior<Command> onGranted(Granted granted) {
        if (!granted.slot().inference().equals(inference)) {
            return this;
        }
        request.slot = granted.slot().slot();
        request.task = task;
        haveSlot = true;
        if (!setup.end.opened()) {
            setup.end.open();
            lastActivityNs = clock.nowNs();
            setAlarm();
            listener.opened(new Handle(
                    setup.id(), task, setup.window(), outstanding, getContext().getSelf()));
        }
        return this;
    }

    private Behavior<Command> onInferenceDown() {
        inference = null;
        haveSlot = false;
        stateLost = true;
        if (!setup.end.opened()) {
            return onClose(
                    new Close(CloseReason.FAILURE, "session not opened; why: the policy stopped; fix: try again"));
        }
        if (inFlight) {
            inFlight = false;
            request.startedNs = 0;
            answerLost(pending[head], FallbackCause.POLICY_DOWN);
            pop(pending[head]);
        }
        dispatch();
        setAlarm();
        return this;
    }

    private Behavior<Command> onInferenceUp(InferenceUp up) {
        acquire(up.inference());
        return this;
    }

    // ---- observations

    private Behavior<Command> onObserve(Observe message) {
        Observation observation = message.observation();
        lastActivityNs = Math.max(lastActivityNs, observation.receivedNs());
        Refusal refusal = refusal(observation);
        if (refusal != Refusal.NONE) {
            refuse(observation, refusal);
            setAlarm();
            return this;
        }
        nextSequence++;
        episodeOver = false;
        Pending entry = pending[(head + pendingCount++) % pending.length];
        entry.observation = observation;
        entry.answered = false;
        entry.pausedBeforeNs = setup.pauses().pausedNs();
        entry.budgetNs = observation.budgetNs() == Observation.ONE_PERIOD ? periodNs : observation.budgetNs();
        entry.deadlineNs = observation.receivedNs() + entry.budgetNs;
        if (!inFlight) {
            dispatch();
        }
        if (pendingCount > 0 && entry.observation == observation && !entry.answered && entry.budgetNs <= 0) {
            fallBack(entry, FallbackCause.LATE_CLIENT, clock.nowNs());
        }
        setAlarm();
        return this;
    }

    private Refusal refusal(Observation observation) {
        if (observation.sequence() != nextSequence) {
            return observation.sequence() < nextSequence ? Refusal.DUPLICATE : Refusal.OUT_OF_ORDER;
        }
        if (pendingCount == pending.length) {
            return Refusal.BACKLOG;
        }
        if (episodeOver && !observation.reset() && episode >= 0) {
            return Refusal.EPISODE_OVER;
        }
        return check.check(observation);
    }

    private void refuse(Observation observation, Refusal refusal) {
        meter.refused(refusal);
        String detail =
                switch (refusal) {
                    case DUPLICATE, OUT_OF_ORDER ->
                        "observation " + observation.sequence() + " refused; why: number " + nextSequence
                                + " is next; fix: number observations 0, 1, 2, ... and send a refused one again under its number";
                    case EPISODE_OVER ->
                        "observation " + observation.sequence()
                                + " refused; why: the episode was ended; fix: set reset on the first observation of the next one";
                    case BACKLOG ->
                        "observation " + observation.sequence() + " refused; why: " + pendingCount
                                + " observations wait for their result; fix: wait for answers before sending more";
                    default -> check.explain(refusal, observation);
                };
        outstanding.decrementAndGet();
        listener.replied(new ActionReply(
                observation.sequence(),
                ActionReply.Status.REFUSED,
                FallbackCause.NONE,
                refusal,
                detail,
                new float[0],
                false,
                stateLost,
                new StepTiming(0, 0, 0, clock.nowNs() - observation.receivedNs())));
    }

    /** Starts the step of the oldest pending observation, after answering those that cannot be stepped. */
    private void dispatch() {
        while (pendingCount > 0 && !inFlight) {
            Pending entry = pending[head];
            Observation observation = entry.observation;
            boolean begins = observation.reset() || episode < 0;
            if (begins) {
                beginEpisode(observation);
            } else {
                rewarded(observation.reward());
            }
            if (!haveSlot || stateLost && !begins) {
                answerLost(entry, haveSlot ? FallbackCause.RESET_REQUIRED : FallbackCause.POLICY_DOWN);
                pop(entry);
                continue;
            }
            stateLost = false;
            episodeSteps++;
            request.reset = begins;
            returns.fill(request.row, 0);
            System.arraycopy(observation.vector(), 0, request.row.observation[0], 0, observation.vector().length);
            if (observation.image().length > 0) {
                System.arraycopy(observation.image(), 0, request.row.image[0], 0, observation.image().length);
            }
            request.receivedNs = observation.receivedNs();
            request.deadlineNs = entry.deadlineNs;
            request.startedNs = 0;
            inFlight = true;
            inference.tell(request);
        }
        endIfDrained();
    }

    private void beginEpisode(Observation observation) {
        if (episodeRunning && pendingEnd != null) {
            rewarded(pendingEnd.reward());
            closeEpisode(pendingEnd.terminated());
            pendingEnd = null;
        } else if (episodeRunning) {
            rewarded(observation.reward());
            closeEpisode(false);
        }
        episode++;
        episodeRunning = true;
        episodeSteps = 0;
        rewardSum = 0;
        meter.episode();
        if (!stateLost) {
            safety.beginEpisode(observation.vector());
        }
        returns.begin(setup.targetReturn());
        if (tape != null) {
            tape.begin();
        }
    }

    private void rewarded(float reward) {
        returns.rewarded(reward);
        rewardSum += reward;
        if (tape != null) {
            tape.reward(reward);
        }
    }

    private Behavior<Command> onStepDone() {
        if (!inFlight) {
            return this;
        }
        inFlight = false;
        Pending entry = pending[head];
        long nowNs = clock.nowNs();
        switch (request.outcome) {
            case OK -> {
                meter.stepped(request.startedNs - request.receivedNs, request.finishedNs - request.encodedNs);
                if (entry.answered) {
                    meter.foldedLate();
                } else if (nowNs >= entry.deadlineNs) {
                    fallBack(entry, missCause(entry, nowNs), nowNs);
                    meter.foldedLate();
                } else {
                    act(entry, nowNs);
                }
            }
            case NOT_FINITE -> loseState(entry, FallbackCause.NOT_FINITE, nowNs);
            case FAILED -> loseState(entry, FallbackCause.POLICY_FAILURE, nowNs);
        }
        pop(entry);
        dispatch();
        setAlarm();
        return this;
    }

    private void pop(Pending entry) {
        if (tape != null) {
            tape.frame(entry.observation.vector(), entry.sent, entry.observation.captureNs());
        }
        entry.observation = null;
        request.startedNs = 0;
        head = (head + 1) % pending.length;
        pendingCount--;
    }

    private void loseState(Pending entry, FallbackCause cause, long nowNs) {
        stateLost = true;
        getContext()
                .getLog()
                .warn(
                        "session {}: {} at observation {} {}",
                        setup.id(),
                        cause,
                        entry.observation.sequence(),
                        request.failure);
        if (!entry.answered) {
            fallBack(entry, cause, nowNs);
        }
    }

    private void answerLost(Pending entry, FallbackCause cause) {
        if (!entry.answered) {
            fallBack(entry, cause, clock.nowNs());
        }
    }

    // ---- answers

    private void act(Pending entry, long nowNs) {
        System.arraycopy(request.row.action[0], 0, action, 0, action.length);
        int verdict = safety.apply(action);
        if (verdict < 0) {
            meter.alarm();
            boolean notFinite = verdict == SafetyStage.NOT_FINITE;
            stateLost |= notFinite;
            getContext()
                    .getLog()
                    .warn(
                            "session {}: action {} at observation {} is none",
                            setup.id(),
                            action[0],
                            entry.observation.sequence());
            fallBack(entry, notFinite ? FallbackCause.NOT_FINITE : FallbackCause.UNSAFE_ACTION, nowNs);
            return;
        }
        count(verdict);
        send(entry, ActionReply.Status.OK, FallbackCause.NONE, verdict != SafetyStage.PASSED, nowNs);
    }

    private void fallBack(Pending entry, FallbackCause cause, long nowNs) {
        int verdict = safety.fallback(action);
        count(verdict);
        meter.fellBack(cause);
        send(entry, ActionReply.Status.FALLBACK, cause, verdict != SafetyStage.PASSED, nowNs);
    }

    private void count(int verdict) {
        if ((verdict & SafetyStage.OUT_OF_BOUNDS) != 0) {
            meter.clampedToBounds();
        }
        if ((verdict & SafetyStage.TOO_FAST) != 0) {
            meter.clampedToRate();
        }
    }

    private void send(Pending entry, ActionReply.Status status, FallbackCause cause, boolean clamped, long nowNs) {
        safety.sent(action);
        System.arraycopy(action, 0, entry.sent, 0, action.length);
        entry.answered = true;
        long totalNs = nowNs - entry.observation.receivedNs();
        meter.replied(totalNs);
        outstanding.decrementAndGet();
        listener.replied(new ActionReply(
                entry.observation.sequence(),
                status,
                cause,
                Refusal.NONE,
                "",
                action.clone(),
                clamped,
                stateLost,
                timing(entry, totalNs)));
    }

    private StepTiming timing(Pending entry, long totalNs) {
        boolean stepping = entry == pending[head] && haveSlot;
        long startedNs = stepping ? request.startedNs : 0;
        if (startedNs == 0) {
            return new StepTiming(totalNs, 0, 0, totalNs);
        }
        long queueNs = startedNs - request.receivedNs;
        return inFlight
                ? new StepTiming(queueNs, 0, 0, totalNs)
                : new StepTiming(
                        queueNs, request.encodedNs - startedNs, request.finishedNs - request.encodedNs, totalNs);
    }

    // ---- time

    private Behavior<Command> onWake() {
        long nowNs = clock.nowNs();
        for (int i = 0; i < pendingCount; i++) {
            Pending entry = pending[(head + i) % pending.length];
            if (!entry.answered && entry.deadlineNs <= nowNs) {
                fallBack(entry, missCause(entry, nowNs), nowNs);
            }
        }
        if (pendingCount == 0 && nowNs - lastActivityNs >= setup.idleNs()) {
            return onClose(new Close(
                    CloseReason.IDLE,
                    "session " + setup.id() + " closed; why: no observation for " + setup.idleNs() / 1_000_000
                            + " ms; fix: open a new session, or raise idle-timeout"));
        }
        setAlarm();
        return this;
    }

    private FallbackCause missCause(Pending entry, long nowNs) {
        long pausedNs = setup.pauses().pausedNs() - entry.pausedBeforeNs;
        if (pausedNs > 0 && (pausedNs >= nowNs - entry.deadlineNs || pausedNs * PAUSE_SHARE >= entry.budgetNs)) {
            return FallbackCause.GARBAGE_COLLECTION;
        }
        boolean atHead = entry == pending[head];
        long startedNs = atHead ? request.startedNs : 0;
        if (startedNs == 0) {
            return FallbackCause.QUEUE;
        }
        return startedNs - request.receivedNs > nowNs - startedNs ? FallbackCause.QUEUE : FallbackCause.INFERENCE;
    }

    private void setAlarm() {
        long nextNs = pendingCount == 0 ? lastActivityNs + setup.idleNs() : WakeTimer.NEVER;
        for (int i = 0; i < pendingCount; i++) {
            Pending entry = pending[(head + i) % pending.length];
            if (!entry.answered) {
                nextNs = Math.min(nextNs, entry.deadlineNs);
            }
        }
        alarm.set(nextNs);
    }

    // ---- episodes and the end

    private Behavior<Command> onEndEpisode(EndEpisode end) {
        lastActivityNs = clock.nowNs();
        episodeOver = true;
        if (episodeRunning) {
            pendingEnd = end;
            endIfDrained();
        } else {
            listener.episodeEnded(new EpisodeReport(
                    episode, 0, 0, EpisodeReport.Recording.OFF, "no episode was running; nothing was ended"));
        }
        setAlarm();
        return this;
    }

    /** Ends the episode once the last of its observations has been stepped. */
    private void endIfDrained() {
        if (pendingEnd != null && pendingCount == 0) {
            EndEpisode end = pendingEnd;
            pendingEnd = null;
            rewarded(end.reward());
            closeEpisode(end.terminated());
        }
    }

    private void closeEpisode(boolean terminated) {
        episodeRunning = false;
        EpisodeReport report = new EpisodeReport(
                episode,
                episodeSteps,
                rewardSum,
                tape == null ? EpisodeReport.Recording.OFF : EpisodeReport.Recording.STORED,
                "");
        if (tape == null) {
            listener.episodeEnded(report);
        } else {
            tape.end(terminated, report).ifPresent(listener::episodeEnded);
        }
    }

    private Behavior<Command> onClose(Close close) {
        setup.end.because(close.reason(), close.message());
        return Behaviors.stopped();
    }

    private Behavior<Command> onPostStop(PostStop signal) {
        alarm.cancel();
        if (tape != null && episodeRunning) {
            tape.end(false, new EpisodeReport(episode, episodeSteps, rewardSum, EpisodeReport.Recording.STORED, ""));
        }
        return this;
    }

    /** The connection's view of the session. */
    private record Handle(long id, TaskCard task, int window, AtomicInteger outstanding, ActorRef<Command> session)
            implements RobotSession {
        @Override
        public boolean observe(Observation observation) {
            if (outstanding.incrementAndGet() > window) {
                outstanding.decrementAndGet();
                return false;
            }
            session.tell(new Observe(observation));
            return true;
        }

        @Override
        public void endEpisode(float reward, boolean terminated) {
            if (!Float.isFinite(reward)) {
                throw new IllegalArgumentException("the last reward of an episode must be finite, got " + reward);
            }
            session.tell(new EndEpisode(reward, terminated));
        }

        @Override
        public void close() {
            session.tell(new Close(CloseReason.CLIENT, "session " + id + " was closed by its robot"));
        }
    }
}
