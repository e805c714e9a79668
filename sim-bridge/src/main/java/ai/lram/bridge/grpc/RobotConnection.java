package ai.lram.bridge.grpc;

import ai.lram.agent.card.Fallback;
import ai.lram.bridge.v1.ActionReply;
import ai.lram.bridge.v1.ControlReply;
import ai.lram.bridge.v1.ControlRequest;
import ai.lram.bridge.v1.EndEpisode;
import ai.lram.bridge.v1.Image;
import ai.lram.bridge.v1.Observation;
import ai.lram.bridge.v1.SessionOpened;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.protocol.StepTiming;
import com.google.protobuf.UnsafeByteOperations;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;

/**
 * A robot's open session.
 *
 * <p>Threads: one thread, the robot's control thread, sends observations and ends episodes; any thread may close. Futures are
 * completed on the connection's thread and what depends on them must not block.
 *
 * <p>A control loop calls {@link #act(float[], float, boolean)} once per period. It returns when the action is there, at the
 * latest {@code replyGrace} after the deadline; then the action is the client's own fallback and the late reply is dropped.
 */
public final class RobotConnection implements AutoCloseable {
    private final ClientSettings settings;
    private final CompletableFuture<SessionOpened> opened = new CompletableFuture<>();
    private final CompletableFuture<Void> ended = new CompletableFuture<>();
    private final Deque<Sent> unanswered = new ArrayDeque<>();
    private final Map<Long, CompletableFuture<EpisodeReport>> ends = new HashMap<>();
    private final float[] held;
    private ClientCallStreamObserver<ControlRequest> requests;
    private SessionOpened session;
    private TaskDescription task;
    private long periodNs;
    private long nextSequence;
    private int numbering;
    private long rewoundTo;
    private long episode = -1;
    private boolean episodeRunning;
    private boolean holding;
    private long lateReplies;
    private BridgeException lost;
    private volatile boolean closed;

    /** What was sent and not answered yet. */
    private static final class Sent {
        final long sequence;
        /** How often numbers had been rewound when it was sent. */
        final int numbering;

        final boolean reset;
        final long sentNs;
        final Thread waiter;
        final CompletableFuture<RobotReply> future;
        volatile RobotReply reply;
        volatile BridgeException failure;
        boolean givenUp;

        Sent(
                long sequence,
                int numbering,
                boolean reset,
                long sentNs,
                Thread waiter,
                CompletableFuture<RobotReply> future) {
            this.sequence = sequence;
            this.numbering = numbering;
            this.reset = reset;
            this.sentNs = sentNs;
            this.waiter = waiter;
            this.future = future;
        }

        /** After {@link #reply} was set: tells whoever waits. */
        void tell() {
            if (future != null) {
                future.complete(reply);
            } else {
                LockSupport.unpark(waiter);
            }
        }

        void fail(BridgeException why) {
            failure = why;
            if (future != null) {
                future.completeExceptionally(why);
            } else {
                LockSupport.unpark(waiter);
            }
        }
    }

    RobotConnection(ClientSettings settings, int actionSize) {
        this.settings = settings;
        this.held = new float[actionSize];
    }

    // ---- opening

    ClientResponseObserver<ControlRequest, ControlReply> observer() {
        return new ClientResponseObserver<>() {
            @Override
            public void beforeStart(ClientCallStreamObserver<ControlRequest> stream) {
                requests = stream;
            }

            @Override
            public void onNext(ControlReply reply) {
                switch (reply.getMessageCase()) {
                    case OPENED -> opened.complete(reply.getOpened());
                    case ACTION -> onAction(reply.getAction());
                    case EPISODE -> onEpisode(reply.getEpisode());
                    case MESSAGE_NOT_SET ->
                        requests.cancel(
                                "the server sent a message this client does not know",
                                new IllegalStateException("unknown reply"));
                }
            }

            @Override
            public void onError(Throwable failure) {
                onEnd(Status.fromThrowable(failure), failure);
            }

            @Override
            public void onCompleted() {
                onEnd(Status.OK, null);
            }
        };
    }

    void awaitOpened(SessionOptions options) {
        synchronized (unanswered) {
            requests.onNext(
                    ControlRequest.newBuilder().setOpen(Wire.open(options)).build());
        }
        try {
            session = opened.get(settings.connectTimeout().toNanos(), TimeUnit.NANOSECONDS);
            task = TaskDescription.of(session.getTask());
            periodNs = (long) (1e9 / task.rateHz());
        } catch (ExecutionException refused) {
            throw (BridgeException) refused.getCause();
        } catch (TimeoutException slow) {
            requests.cancel("no reply to OpenSession", slow);
            throw new ConnectFailedException(
                    "session not opened",
                    "no reply within " + settings.connectTimeout().toMillis() + " ms",
                    "look at the server's log, or raise connect-timeout",
                    slow);
        } catch (InterruptedException interrupted) {
            requests.cancel("interrupted", interrupted);
            Thread.currentThread().interrupt();
            throw new ConnectFailedException(
                    "session not opened", "the thread was interrupted", "open it again", interrupted);
        }
    }

    /** The session's number on the server. */
    public long sessionId() {
        return session.getSessionId();
    }

    /** The task, as the server describes it. */
    public TaskDescription task() {
        return task;
    }

    /** Observations that may be unanswered at once. */
    public int window() {
        return session.getWindow();
    }

    // ---- observations

    /**
     * Sends an observation captured now and waits for its action, due one control period after it reaches the server.
     *
     * @param vector observation in the task's order and units
     * @param reward reward of the action before; 0 for the first
     * @param reset true if it starts an episode
     * @throws ConnectionLostException if the session has ended
     * @throws MessageTooLargeException if the server accepts no message that long
     */
    public RobotReply act(float[] vector, float reward, boolean reset) {
        return act(vector, new byte[0], reward, reset, System.nanoTime(), 0);
    }

    /**
     * Sends an observation and waits for its action.
     *
     * @param image uint8 CHW image of the task's shape, empty without one; not to be changed afterwards
     * @param captureNs when it was measured, on {@link System#nanoTime()}'s clock
     * @param deadlineNs when the action must leave the server, after {@code captureNs} and without the time on the wire; 0 for
     *     one control period after receipt
     */
    public RobotReply act(float[] vector, byte[] image, float reward, boolean reset, long captureNs, long deadlineNs) {
        Sent sent = send(vector, image, reward, reset, captureNs, deadlineNs, null);
        long giveUpNs = sent.sentNs
                + (deadlineNs > 0 ? deadlineNs : periodNs)
                + settings.replyGrace().toNanos();
        long spinUntilNs = sent.sentNs + settings.spin().toNanos();
        while (sent.reply == null && sent.failure == null) {
            long nowNs = System.nanoTime();
            if (nowNs >= giveUpNs) {
                return giveUp(sent, nowNs);
            }
            if (nowNs < spinUntilNs) {
                Thread.onSpinWait();
            } else {
                LockSupport.parkNanos(this, giveUpNs - nowNs);
                if (Thread.interrupted()) {
                    RobotReply reply = giveUp(sent, System.nanoTime());
                    Thread.currentThread().interrupt();
                    return reply;
                }
            }
        }
        if (sent.failure != null) {
            throw sent.failure;
        }
        return sent.reply;
    }

    /**
     * Sends an observation; the future completes with its reply, however late, or with {@link ConnectionLostException}.
     *
     * @see #act(float[], byte[], float, boolean, long, long)
     */
    public CompletableFuture<RobotReply> actAsync(
            float[] vector, byte[] image, float reward, boolean reset, long captureNs, long deadlineNs) {
        CompletableFuture<RobotReply> future = new CompletableFuture<>();
        send(vector, image, reward, reset, captureNs, deadlineNs, future);
        return future;
    }

    private Sent send(
            float[] vector,
            byte[] image,
            float reward,
            boolean reset,
            long captureNs,
            long deadlineNs,
            CompletableFuture<RobotReply> future) {
        Observation.Builder observation = Observation.newBuilder()
                .setCaptureTimeNs(captureNs)
                .setReward(reward)
                .setReset(reset);
        for (float value : vector) {
            observation.addVector(value);
        }
        if (image.length > 0) {
            List<Integer> shape = task.robot().imageShape();
            Image.Builder wire = Image.newBuilder().setData(UnsafeByteOperations.unsafeWrap(image));
            if (shape.size() == 3) {
                wire.setChannels(shape.get(0)).setHeight(shape.get(1)).setWidth(shape.get(2));
            }
            observation.setImage(wire);
        }
        if (deadlineNs > 0) {
            observation.setWithinCaptureNs(deadlineNs);
        }
        synchronized (unanswered) {
            requireOpen();
            long sentNs = System.nanoTime();
            ControlRequest request = ControlRequest.newBuilder()
                    .setObservation(observation.setSequence(nextSequence).setSendTimeNs(sentNs))
                    .build();
            if (request.getSerializedSize() > session.getMaxMessageBytes()) {
                throw new MessageTooLargeException(
                        "observation " + nextSequence + " was not sent",
                        "it has " + request.getSerializedSize() + " bytes, the server accepts "
                                + session.getMaxMessageBytes(),
                        "send what the task declares, or raise lram.bridge.max-message-bytes on the server",
                        null);
            }
            Sent sent = new Sent(nextSequence, numbering, reset, sentNs, Thread.currentThread(), future);
            nextSequence++;
            unanswered.addLast(sent);
            requests.onNext(request);
            return sent;
        }
    }

    private void requireOpen() {
        if (lost != null) {
            throw new ConnectionLostException(lost.getMessage(), lost);
        }
        if (closed) {
            throw new ConnectionLostException(
                    "nothing was sent", "this connection was closed", "open a new session", null);
        }
    }

    private void onAction(ActionReply reply) {
        Sent sent = null;
        synchronized (unanswered) {
            for (Iterator<Sent> it = unanswered.iterator(); it.hasNext() && sent == null; ) {
                Sent candidate = it.next();
                if (candidate.sequence == reply.getSequence()) {
                    sent = candidate;
                    it.remove();
                }
            }
            if (sent == null) {
                return;
            }
            sent.reply = take(sent, reply);
            if (sent.givenUp) {
                lateReplies++;
                return;
            }
        }
        sent.tell();
    }

    /**
     * Uses a refused number again. What was under way behind it is refused too, and its refusals must not rewind a second time: their
     * numbers may have been accepted meanwhile. A refusal that was overtaken by one of a later number does rewind further.
     */
    private void rewind(Sent sent) {
        if (sent.numbering == numbering || sent.sequence < rewoundTo) {
            numbering++;
            nextSequence = sent.sequence;
            rewoundTo = sent.sequence;
        }
    }

    private RobotReply take(Sent sent, ActionReply reply) {
        long roundTripNs = System.nanoTime() - sent.sentNs;
        RobotReply.Outcome outcome =
                switch (reply.getStatus()) {
                    case STATUS_OK -> RobotReply.Outcome.OK;
                    case STATUS_FALLBACK -> RobotReply.Outcome.FALLBACK;
                    default -> RobotReply.Outcome.REFUSED;
                };
        float[] action = new float[held.length];
        if (outcome == RobotReply.Outcome.REFUSED || reply.getActionCount() != held.length) {
            rewind(sent);
            ownFallback(action);
        } else {
            for (int i = 0; i < action.length; i++) {
                action[i] = reply.getAction(i);
            }
            System.arraycopy(action, 0, held, 0, held.length);
            holding = true;
            // Number 0 starts an episode with or without reset; its reply may be overtaken by that of a later
            // observation.
            if (sent.reset && sent.sequence > 0 || episode < 0) {
                episode++;
            }
            episodeRunning = true;
        }
        return new RobotReply(
                sent.sequence,
                outcome,
                Wire.cause(reply.getCause()),
                Wire.refusal(reply.getRefusal()),
                reply.getDetail(),
                action,
                reply.getClamped(),
                reply.getResetRequired(),
                Wire.timing(reply.getTiming()),
                roundTripNs);
    }

    private void ownFallback(float[] action) {
        if (holding && task.fallback() == Fallback.HOLD) {
            System.arraycopy(held, 0, action, 0, held.length);
            return;
        }
        for (int i = 0; i < action.length; i++) {
            action[i] = task.safeAction().get(i).floatValue();
        }
    }

    private RobotReply giveUp(Sent sent, long nowNs) {
        synchronized (unanswered) {
            if (sent.reply != null) {
                return sent.reply;
            }
            if (sent.failure != null) {
                throw sent.failure;
            }
            sent.givenUp = true;
            float[] action = new float[held.length];
            ownFallback(action);
            return new RobotReply(
                    sent.sequence,
                    RobotReply.Outcome.NO_REPLY,
                    FallbackCause.NONE,
                    Refusal.NONE,
                    "",
                    action,
                    false,
                    false,
                    StepTiming.ZERO,
                    nowNs - sent.sentNs);
        }
    }

    /** Replies that came after they had been given up. */
    public long lateReplies() {
        synchronized (unanswered) {
            return lateReplies;
        }
    }

    // ---- episodes and the end

    /**
     * Ends the episode; the next observation must start one. The future completes when the episode is over and, if it is
     * recorded, on the server's disk or dropped.
     *
     * @param reward reward of the last action; finite
     * @param terminated true if the task ended it, false if it was cut off
     * @throws IllegalStateException if no episode is running
     */
    public CompletableFuture<EpisodeReport> endEpisode(float reward, boolean terminated) {
        if (!Float.isFinite(reward)) {
            throw new IllegalArgumentException("the last reward of an episode must be finite, got " + reward);
        }
        synchronized (unanswered) {
            requireOpen();
            if (!episodeRunning) {
                throw new IllegalStateException("no episode is running: send an observation first");
            }
            episodeRunning = false;
            CompletableFuture<EpisodeReport> future = new CompletableFuture<>();
            ends.put(episode, future);
            requests.onNext(ControlRequest.newBuilder()
                    .setEndEpisode(EndEpisode.newBuilder().setReward(reward).setTerminated(terminated))
                    .build());
            return future;
        }
    }

    private void onEpisode(ai.lram.bridge.v1.EpisodeReport wire) {
        EpisodeReport report = Wire.report(wire);
        CompletableFuture<EpisodeReport> waiting;
        synchronized (unanswered) {
            waiting = ends.remove(report.episode());
        }
        if (waiting != null) {
            waiting.complete(report);
        }
    }

    private void onEnd(Status status, Throwable failure) {
        BridgeException why = status.isOk()
                ? new ConnectionLostException("the session is over", "it was closed", "open a new session", failure)
                : opened.isDone() ? new ConnectionLostException(text(status), failure) : refusal(status, failure);
        List<Sent> abandoned;
        List<CompletableFuture<EpisodeReport>> unreported;
        synchronized (unanswered) {
            lost = why;
            abandoned = new ArrayList<>(unanswered);
            unanswered.clear();
            unreported = new ArrayList<>(ends.values());
            ends.clear();
        }
        abandoned.forEach(sent -> sent.fail(why));
        unreported.forEach(report -> report.completeExceptionally(why));
        opened.completeExceptionally(why);
        ended.complete(null);
    }

    private static BridgeException refusal(Status status, Throwable failure) {
        return status.getCode() == Status.Code.UNAVAILABLE && failure.getCause() != null
                ? new ConnectFailedException(
                        "session not opened", text(status), "start the server, or correct the address", failure)
                : new SessionRefusedException(status.withDescription(text(status)), failure);
    }

    private static String text(Status status) {
        return status.getDescription() == null
                ? "the server ended the session: " + status.getCode()
                : status.getDescription();
    }

    /** Ends the session and waits until the server has. Calling it again does nothing. */
    @Override
    public void close() {
        synchronized (unanswered) {
            if (closed) {
                return;
            }
            closed = true;
            if (lost == null) {
                requests.onCompleted();
            }
        }
        try {
            ended.get(settings.connectTimeout().toNanos(), TimeUnit.NANOSECONDS);
        } catch (TimeoutException | ExecutionException slow) {
            requests.cancel("the server did not end the session", slow);
        } catch (InterruptedException interrupted) {
            requests.cancel("interrupted", interrupted);
            Thread.currentThread().interrupt();
        }
    }

    /** Breaks the connection off without telling the server why: what a crashed robot looks like. */
    void abort() {
        requests.cancel("aborted", null);
    }
}
