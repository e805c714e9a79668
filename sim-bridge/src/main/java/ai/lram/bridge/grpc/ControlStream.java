package ai.lram.bridge.grpc;

import ai.lram.agent.card.TaskCard;
import ai.lram.bridge.v1.ControlReply;
import ai.lram.bridge.v1.ControlRequest;
import ai.lram.bridge.v1.Image;
import ai.lram.bridge.v1.OpenSession;
import ai.lram.bridge.v1.SessionOpened;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.RuntimeClosedException;
import ai.lram.runtime.protocol.ActionReply;
import ai.lram.runtime.protocol.CloseReason;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.OpenRefusal;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.protocol.RobotSession;
import ai.lram.runtime.protocol.SessionListener;
import ai.lram.runtime.protocol.StepTiming;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.function.Consumer;

/**
 * One robot's stream on the server.
 *
 * <p>Requests come from the connection's thread, the session's answers from the session's thread, its end from the runtime's; everything sent goes through
 * one lock, which nobody holds for longer than it takes to hand a message to the transport. The client may have as many
 * requests under way as the session's window; a further one is read only when an answer has left and the transport takes
 * more, so a client that sends without reading fills its own buffers and not the server's.
 */
final class ControlStream implements StreamObserver<ControlRequest>, SessionListener {
    private final LramRuntime runtime;
    private final ServerSettings settings;
    private final ServerCallStreamObserver<ControlReply> replies;
    private final Consumer<ControlStream> onEnd;
    private final RateLimit rate;

    private boolean opening;
    private boolean clientDone;
    private boolean ended;
    private int unread;
    private volatile RobotSession session;

    ControlStream(
            LramRuntime runtime,
            ServerSettings settings,
            ServerCallStreamObserver<ControlReply> replies,
            Consumer<ControlStream> onEnd) {
        this.runtime = runtime;
        this.settings = settings;
        this.replies = replies;
        this.onEnd = onEnd;
        this.rate = new RateLimit(
                settings.observationsPerSecond(),
                settings.burst(),
                runtime.clock().nowNs());
    }

    void start() {
        replies.disableAutoRequest();
        replies.setOnCancelHandler(this::clientGone);
        replies.setOnReadyHandler(this::readOn);
        replies.request(1);
    }

    // ---- from the client

    @Override
    public void onNext(ControlRequest request) {
        long receivedNs = runtime.clock().nowNs();
        if (request.getSerializedSize() > settings.maxMessageBytes()) {
            end(Status.RESOURCE_EXHAUSTED.withDescription("message refused; why: it has " + request.getSerializedSize()
                    + " bytes, this server accepts " + settings.maxMessageBytes()
                    + "; fix: send what the task declares, or raise lram.bridge.max-message-bytes"));
            return;
        }
        switch (request.getMessageCase()) {
            case OPEN -> open(request.getOpen());
            case OBSERVATION -> observe(request.getObservation(), receivedNs);
            case END_EPISODE -> {
                RobotSession current = session;
                if (current == null) {
                    end(beforeOpen("an end of episode"));
                } else if (!Float.isFinite(request.getEndEpisode().getReward())) {
                    end(Status.INVALID_ARGUMENT.withDescription("end of episode refused; why: its reward is "
                            + request.getEndEpisode().getReward() + "; fix: send a finite one, 0 where there is none"));
                } else {
                    current.endEpisode(
                            request.getEndEpisode().getReward(),
                            request.getEndEpisode().getTerminated());
                    answered();
                }
            }
            case MESSAGE_NOT_SET ->
                end(Status.INVALID_ARGUMENT.withDescription(
                        "message refused; why: it holds none of the messages this server knows; fix: use protocol version "
                                + Wire.PROTOCOL_VERSION));
        }
    }

    private static Status beforeOpen(String what) {
        return Status.INVALID_ARGUMENT.withDescription(
                what
                        + " refused; why: no session is open on this stream; fix: send OpenSession first and wait for its reply");
    }

    private void open(OpenSession request) {
        if (opening) {
            end(Status.INVALID_ARGUMENT.withDescription(
                    "session not opened; why: this stream has one already; fix: open one stream per robot"));
            return;
        }
        opening = true;
        if (request.getProtocolVersion() != Wire.PROTOCOL_VERSION) {
            end(Status.FAILED_PRECONDITION.withDescription(
                    "session not opened; why: the client speaks protocol version "
                            + request.getProtocolVersion() + ", this server " + Wire.PROTOCOL_VERSION
                            + "; fix: use a client of the server's version"));
            return;
        }
        try {
            runtime.openSession(Wire.spec(request), this);
        } catch (RuntimeClosedException closed) {
            end(Status.UNAVAILABLE.withDescription(closed.getMessage()).withCause(closed));
        }
    }

    private void observe(ai.lram.bridge.v1.Observation request, long receivedNs) {
        RobotSession current = session;
        if (current == null) {
            end(beforeOpen("observation " + request.getSequence()));
            return;
        }
        if (!rate.allows(receivedNs)) {
            refuse(
                    request,
                    Refusal.RATE_LIMITED,
                    "more than " + settings.observationsPerSecond() + " observations a second",
                    "send them at the task's rate");
            return;
        }
        TaskCard task = current.task();
        if (request.hasImage() && !shape(request.getImage()).equals(task.imageShape())) {
            refuse(
                    request,
                    Refusal.WRONG_IMAGE,
                    "its image is " + shape(request.getImage()) + ", the task's " + task.imageShape(),
                    "send channels, height, width as the task says");
            return;
        }
        if (!current.observe(Wire.observation(request, receivedNs))) {
            refuse(request, Refusal.BACKLOG, current.window() + " observations are unanswered", "wait for answers");
        }
    }

    private static List<Integer> shape(Image image) {
        return List.of(image.getChannels(), image.getHeight(), image.getWidth());
    }

    private void refuse(ai.lram.bridge.v1.Observation request, Refusal refusal, String why, String fix) {
        replied(new ActionReply(
                request.getSequence(),
                ActionReply.Status.REFUSED,
                FallbackCause.NONE,
                refusal,
                "observation " + request.getSequence() + " refused; why: " + why + "; fix: " + fix,
                new float[0],
                false,
                false,
                StepTiming.ZERO));
    }

    @Override
    public void onCompleted() {
        clientGone();
    }

    @Override
    public void onError(Throwable failure) {
        clientGone();
    }

    private void clientGone() {
        synchronized (replies) {
            clientDone = true;
            if (session == null && !opening) {
                end(Status.OK);
                return;
            }
        }
        closeSession();
    }

    private void closeSession() {
        RobotSession current = session;
        if (current != null) {
            current.close();
        }
    }

    // ---- from the session

    @Override
    public void opened(RobotSession newSession) {
        boolean gone;
        synchronized (replies) {
            session = newSession;
            gone = clientDone || ended;
        }
        if (gone) {
            newSession.close();
            return;
        }
        send(ControlReply.newBuilder()
                .setOpened(SessionOpened.newBuilder()
                        .setSessionId(newSession.id())
                        .setTask(Wire.task(newSession.task()))
                        .setWindow(newSession.window())
                        .setMaxMessageBytes(settings.maxMessageBytes()))
                .build());
        synchronized (replies) {
            if (!ended) {
                replies.request(newSession.window());
            }
        }
    }

    @Override
    public void refused(OpenRefusal reason, String message) {
        end(Wire.status(reason).withDescription(message));
    }

    @Override
    public void replied(ActionReply reply) {
        send(ControlReply.newBuilder().setAction(Wire.reply(reply)).build());
        answered();
    }

    @Override
    public void episodeEnded(EpisodeReport report) {
        send(ControlReply.newBuilder().setEpisode(Wire.report(report)).build());
    }

    @Override
    public void closed(CloseReason reason, String message) {
        end(
                switch (reason) {
                    case CLIENT -> Status.OK;
                    case IDLE -> Status.ABORTED.withDescription(message);
                    case SHUTDOWN -> Status.UNAVAILABLE.withDescription(message);
                    case FAILURE ->
                        Status.INTERNAL.withDescription(
                                message + "; why: a defect in the server; fix: see its log and open a new session");
                });
    }

    // ---- to the client

    private void send(ControlReply reply) {
        synchronized (replies) {
            if (!ended && !replies.isCancelled()) {
                replies.onNext(reply);
            }
        }
    }

    /** One request has been dealt with: read another one, now or when the transport takes answers again. */
    private void answered() {
        synchronized (replies) {
            unread++;
            readOn();
        }
    }

    private void readOn() {
        synchronized (replies) {
            if (!ended && unread > 0 && replies.isReady()) {
                replies.request(unread);
                unread = 0;
            }
        }
    }

    /** Ends the stream and the session. */
    void end(Status status) {
        synchronized (replies) {
            if (!ended) {
                ended = true;
                if (!replies.isCancelled()) {
                    if (status.isOk()) {
                        replies.onCompleted();
                    } else {
                        replies.onError(status.asRuntimeException());
                    }
                }
                onEnd.accept(this);
            }
        }
        closeSession();
    }
}
