package ai.lram.runtime;

import ai.lram.agent.card.CardException;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.runtime.inference.InferenceActor;
import ai.lram.runtime.protocol.CloseReason;
import ai.lram.runtime.protocol.OpenRefusal;
import ai.lram.runtime.protocol.SessionListener;
import ai.lram.runtime.protocol.SessionSpec;
import ai.lram.runtime.recording.EpisodeSinkFactory;
import ai.lram.runtime.recording.RecorderActor;
import ai.lram.runtime.session.DescriptionCheck;
import ai.lram.runtime.session.SessionActor;
import ai.lram.runtime.session.SessionEnd;
import ai.lram.runtime.session.SessionMeter;
import ai.lram.runtime.time.WakeTimer;
import akka.actor.typed.ActorRef;
import akka.actor.typed.Behavior;
import akka.actor.typed.ChildFailed;
import akka.actor.typed.DispatcherSelector;
import akka.actor.typed.MailboxSelector;
import akka.actor.typed.PostStop;
import akka.actor.typed.Props;
import akka.actor.typed.Terminated;
import akka.actor.typed.javadsl.AbstractBehavior;
import akka.actor.typed.javadsl.ActorContext;
import akka.actor.typed.javadsl.Behaviors;
import akka.actor.typed.javadsl.Receive;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * Admits sessions, and supervises: a policy that stops is made anew by the factory, with a delay and a limit; meanwhile
 * sessions answer with their fallback. Stops sessions first, then the recorder, then the policy.
 */
final class RuntimeGuardian extends AbstractBehavior<RuntimeGuardian.Command> {
    sealed interface Command {}

    record Open(SessionSpec spec, SessionListener listener) implements Command {}

    /** @param done fails with an IllegalStateException if a session is open */
    record ForgetStats(CompletableFuture<Void> done) implements Command {}

    enum Shutdown implements Command {
        INSTANCE
    }

    private enum Internal implements Command {
        RESTART
    }

    /** A session. */
    private record Running(long id, String robot, SessionEnd end) {}

    private record FromInference(InferenceActor.Event event) implements Command {}

    private final RuntimeSettings settings;
    private final LramRuntime.Environment environment;
    private final PolicyFactory factory;
    private final Optional<EpisodeSinkFactory> recording;
    private final RuntimeMeters meters;
    private final CompletableFuture<ModelCard> started;
    private final WakeTimer.Alarm restartAlarm;
    private final ActorRef<InferenceActor.Event> inferenceEvents;
    private final ActorRef<RecorderActor.Command> recorder;
    private final Map<ActorRef<?>, Running> sessions = new HashMap<>();
    private final Deque<Long> restartsNs = new ArrayDeque<>();

    private ActorRef<InferenceActor.Command> starting;
    private ActorRef<InferenceActor.Command> inference;
    private String downReason = "the policy is loading";
    private Throwable downCause;
    private ModelCard card;
    private int slots;
    private long nextId;
    private boolean closing;
    private boolean recorderStopped;

    static Behavior<Command> create(
            RuntimeSettings settings,
            LramRuntime.Environment environment,
            PolicyFactory factory,
            Optional<EpisodeSinkFactory> recording,
            RuntimeMeters meters,
            CompletableFuture<ModelCard> started) {
        return Behaviors.setup(context -> {
            RuntimeGuardian guardian =
                    new RuntimeGuardian(context, settings, environment, factory, recording, meters, started);
            guardian.startInference();
            return guardian;
        });
    }

    private RuntimeGuardian(
            ActorContext<Command> context,
            RuntimeSettings settings,
            LramRuntime.Environment environment,
            PolicyFactory factory,
            Optional<EpisodeSinkFactory> recording,
            RuntimeMeters meters,
            CompletableFuture<ModelCard> started) {
        super(context);
        this.settings = settings;
        this.environment = environment;
        this.factory = factory;
        this.recording = recording;
        this.meters = meters;
        this.started = started;
        ActorRef<Command> self = context.getSelf();
        this.restartAlarm = environment.timer().register(() -> self.tell(Internal.RESTART));
        this.inferenceEvents = context.messageAdapter(InferenceActor.Event.class, FromInference::new);
        this.recorder = recording
                .map(sinks -> context.spawn(
                        RecorderActor.create(sinks, meters.recording()),
                        "recorder",
                        dispatcher("recorder", 2 * settings.recordingChunks() + 2 * settings.maxSessions() + 16)))
                .orElse(null);
        if (recorder != null) {
            context.watch(recorder);
        }
    }

    private static Props dispatcher(String name, int mailboxCapacity) {
        return DispatcherSelector.fromConfig("lram.runtime." + name + "-dispatcher")
                .withNext(MailboxSelector.bounded(mailboxCapacity));
    }

    private void startInference() {
        starting = getContext()
                .spawnAnonymous(
                        InferenceActor.create(
                                factory,
                                settings.maxBatchWait().toNanos(),
                                settings.failureLimit(),
                                environment.clock(),
                                environment.timer(),
                                meters.inference(),
                                inferenceEvents),
                        dispatcher("inference", 8 * settings.maxSessions() + 64));
        getContext().watch(starting);
    }

    @Override
    public Receive<Command> createReceive() {
        return newReceiveBuilder()
                .onMessage(Open.class, this::onOpen)
                .onMessage(FromInference.class, this::onInferenceEvent)
                .onMessageEquals(Internal.RESTART, this::onRestart)
                .onMessage(ForgetStats.class, this::onForgetStats)
                .onMessage(Shutdown.class, shutdown -> onShutdown())
                .onSignal(ChildFailed.class, this::onChildFailed)
                .onSignal(Terminated.class, signal -> onTerminated(signal.getRef()))
                .onSignal(PostStop.class, signal -> onPostStop())
                .build();
    }

    // ---- sessions

    private Behavior<Command> onOpen(Open open) {
        SessionSpec spec = open.spec();
        String what = "session of " + spec.robot() + " not opened; why: ";
        if (closing) {
            return refuse(
                    open, OpenRefusal.SHUTTING_DOWN, what + "the server is shutting down; fix: connect to another one");
        }
        if (inference == null) {
            return refuse(
                    open, OpenRefusal.POLICY_DOWN, what + downReason + "; fix: try again, or see the server's log");
        }
        TaskCard task;
        try {
            task = card.task(spec.task());
        } catch (CardException unknown) {
            return refuse(open, OpenRefusal.UNKNOWN_TASK, what + unknown.getMessage());
        }
        Optional<String> difference = DescriptionCheck.difference(task, spec.description());
        if (difference.isPresent()) {
            return refuse(
                    open,
                    OpenRefusal.DESCRIPTION_MISMATCH,
                    what + difference.get() + "; fix: use a model trained for this robot, or correct its description");
        }
        double target = spec.targetReturn().orElse(task.targetReturn());
        if (!Double.isFinite(target)) {
            return refuse(
                    open,
                    OpenRefusal.BAD_REQUEST,
                    what + "the target return is " + target + "; fix: ask for a finite one");
        }
        if (spec.record()) {
            Optional<String> whyNot = recording.isEmpty() || recorderStopped
                    ? Optional.of(
                            "this server does not record; fix: start it with a recording folder, or see its log if it has one")
                    : recording.get().whyNot(task);
            if (whyNot.isPresent()) {
                return refuse(open, OpenRefusal.RECORDING_UNAVAILABLE, what + whyNot.get());
            }
        }
        int limit = Math.min(settings.maxSessions(), slots);
        if (sessions.size() >= limit) {
            return refuse(
                    open,
                    OpenRefusal.SESSION_LIMIT,
                    what + "all " + limit + " sessions are taken; fix: close one, or raise lram.runtime.max-sessions ("
                            + settings.maxSessions() + ") and the policy's slots (" + slots + ")");
        }
        spawnSession(open, task, target);
        return this;
    }

    private Behavior<Command> refuse(Open open, OpenRefusal reason, String message) {
        meters.refused();
        tell(open.spec().robot(), () -> open.listener().refused(reason, message));
        return this;
    }

    /** A listener that fails is not the runtime's end. */
    private void tell(String robot, Runnable last) {
        try {
            last.run();
        } catch (RuntimeException failure) {
            getContext().getLog().error("what a session of {} was told last, it could not take", robot, failure);
        }
    }

    private Behavior<Command> onForgetStats(ForgetStats message) {
        if (!sessions.isEmpty()) {
            message.done()
                    .completeExceptionally(
                            new IllegalStateException(sessions.size() + " sessions are counted: close them first"));
            return this;
        }
        meters.forget();
        if (inference == null) {
            message.done().complete(null);
        } else {
            inference.tell(new InferenceActor.ForgetStats(message.done()));
        }
        return this;
    }

    private void spawnSession(Open open, TaskCard task, double target) {
        long id = nextId++;
        SessionMeter meter = new SessionMeter(id, open.spec().robot(), task.id());
        SessionEnd end = new SessionEnd(open.listener());
        SessionActor.Setup setup = new SessionActor.Setup(
                id,
                card,
                task,
                target,
                settings.window(),
                settings.idleTimeout().toNanos(),
                settings.longestDeadline().toNanos(),
                environment.clock(),
                environment.timer(),
                environment.pauses(),
                open.spec().record() ? recorder : null,
                meters.recording(),
                meter,
                end);
        // Before the session can say that it is open: who has heard it must find it counted.
        meters.opened(meter);
        ActorRef<SessionActor.Command> session = getContext()
                .spawn(
                        SessionActor.create(setup, inference),
                        "session-" + id,
                        dispatcher("session", 4 * settings.window() + 64));
        sessions.put(session, new Running(id, open.spec().robot(), end));
        getContext().watch(session);
    }

    private void tellSessions(SessionActor.Command message) {
        for (ActorRef<?> session : sessions.keySet()) {
            session.<SessionActor.Command>unsafeUpcast().tell(message);
        }
    }

    // ---- the policy

    private Behavior<Command> onInferenceEvent(FromInference message) {
        switch (message.event()) {
            case InferenceActor.Ready ready -> {
                if (card != null && !card.equals(ready.card())) {
                    downReason = "the policy made anew has another model card";
                    restartLimitReached();
                    ready.inference().tell(InferenceActor.Stop.INSTANCE);
                    return this;
                }
                card = ready.card();
                slots = ready.slots();
                inference = ready.inference();
                meters.healthy(true);
                started.complete(card);
                tellSessions(new SessionActor.InferenceUp(inference));
            }
            case InferenceActor.Down down -> {
                downReason = down.reason();
                downCause = down.cause();
            }
        }
        return this;
    }

    private Behavior<Command> onChildFailed(ChildFailed signal) {
        if (signal.getRef().equals(starting)) {
            downReason = "the policy's actor failed: " + signal.getCause();
            downCause = signal.getCause();
        }
        return onTerminated(signal.getRef());
    }

    private Behavior<Command> onTerminated(ActorRef<Void> stopped) {
        Running session = sessions.remove(stopped);
        if (session != null) {
            end(session);
        } else if (stopped.equals(starting)) {
            onInferenceStopped();
        } else if (stopped.equals(recorder)) {
            recorderStopped = true;
            if (!closing) {
                getContext().getLog().error("the recorder stopped: nothing is recorded any more");
            }
        }
        return closing ? continueShutdown() : this;
    }

    private void end(Running session) {
        meters.closed(session.id());
        tell(session.robot(), session.end()::tell);
    }

    private void onInferenceStopped() {
        boolean wasUp = inference != null;
        inference = null;
        starting = null;
        if (wasUp) {
            meters.healthy(false);
            tellSessions(SessionActor.InferenceDown.INSTANCE);
        }
        if (closing) {
            return;
        }
        if (!started.isDone()) {
            started.completeExceptionally(downCause == null ? new IllegalStateException(downReason) : downCause);
            return;
        }
        long nowNs = environment.clock().nowNs();
        long windowNs = settings.restartWindow().toNanos();
        while (!restartsNs.isEmpty() && nowNs - restartsNs.peekFirst() > windowNs) {
            restartsNs.removeFirst();
        }
        if (restartsNs.size() >= settings.restartLimit()) {
            getContext()
                    .getLog()
                    .error(
                            "no policy any more: {}; {} restarts within {}",
                            downReason,
                            restartsNs.size(),
                            settings.restartWindow());
            return;
        }
        getContext().getLog().warn("the policy stopped and is made anew: {}", downReason);
        restartsNs.addLast(nowNs);
        restartAlarm.set(nowNs + settings.restartDelay().toNanos());
    }

    /** Sessions that were stopped with the runtime, of which no signal comes any more. */
    private Behavior<Command> onPostStop() {
        sessions.values().forEach(this::end);
        sessions.clear();
        if (inference != null) {
            meters.healthy(false);
        }
        return this;
    }

    private void restartLimitReached() {
        while (restartsNs.size() < settings.restartLimit()) {
            restartsNs.addLast(environment.clock().nowNs());
        }
    }

    private Behavior<Command> onRestart() {
        if (!closing && starting == null) {
            meters.restarted();
            startInference();
        }
        return this;
    }

    // ---- the end

    private Behavior<Command> onShutdown() {
        if (closing) {
            return this;
        }
        closing = true;
        restartAlarm.cancel();
        tellSessions(new SessionActor.Close(
                CloseReason.SHUTDOWN, "session closed; why: the server is shutting down; fix: connect to another one"));
        return continueShutdown();
    }

    private Behavior<Command> continueShutdown() {
        if (!sessions.isEmpty()) {
            return this;
        }
        if (recorder != null && !recorderStopped) {
            recorder.tell(RecorderActor.Stop.INSTANCE);
            return this;
        }
        if (starting != null) {
            starting.tell(InferenceActor.Stop.INSTANCE);
            return this;
        }
        return Behaviors.stopped();
    }
}
