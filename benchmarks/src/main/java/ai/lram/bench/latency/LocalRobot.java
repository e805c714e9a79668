package ai.lram.bench.latency;

import ai.lram.agent.card.TaskCard;
import ai.lram.bench.BenchException;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bridge.grpc.ClientSettings;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.protocol.ActionReply;
import ai.lram.runtime.protocol.CloseReason;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.Observation;
import ai.lram.runtime.protocol.OpenRefusal;
import ai.lram.runtime.protocol.RobotDescription;
import ai.lram.runtime.protocol.RobotSession;
import ai.lram.runtime.protocol.SessionListener;
import ai.lram.runtime.protocol.SessionSpec;
import java.util.OptionalDouble;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/** A robot in the runtime's own process, without a network between. */
public final class LocalRobot implements Robot {
    /** As long as a robot at the other end of a connection spins before it sleeps. */
    private static final long SPIN_NS = ClientSettings.defaults().spin().toNanos();

    private static final long PATIENCE_SECONDS = 30;

    private final LramRuntime runtime;
    private final RobotSession session;
    private final Mailbox mailbox;
    private long sequence;

    private LocalRobot(LramRuntime runtime, RobotSession session, Mailbox mailbox) {
        this.runtime = runtime;
        this.session = session;
        this.mailbox = mailbox;
    }

    /** What the runtime's threads say to the robot's. */
    private static final class Mailbox implements SessionListener {
        final CompletableFuture<RobotSession> opened = new CompletableFuture<>();
        final CountDownLatch ended = new CountDownLatch(1);
        volatile Thread waiter;
        volatile ActionReply reply;

        @Override
        public void refused(OpenRefusal reason, String message) {
            opened.completeExceptionally(new BenchException(
                    "no session was opened", reason + ": " + message, "ask for fewer sessions, or see the log"));
        }

        @Override
        public void opened(RobotSession newSession) {
            opened.complete(newSession);
        }

        @Override
        public void replied(ActionReply newReply) {
            reply = newReply;
            LockSupport.unpark(waiter);
        }

        @Override
        public void episodeEnded(EpisodeReport report) {
            // Nothing is recorded.
        }

        @Override
        public void closed(CloseReason reason, String message) {
            ended.countDown();
        }
    }

    /** Opens a session. @throws BenchException if the runtime refuses it */
    public static LocalRobot open(LramRuntime runtime, TaskCard task) {
        Mailbox mailbox = new Mailbox();
        runtime.openSession(
                new SessionSpec("bench", task.id(), RobotDescription.of(task), OptionalDouble.empty(), false), mailbox);
        try {
            RobotSession session =
                    mailbox.opened.orTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS).join();
            return new LocalRobot(runtime, session, mailbox);
        } catch (CompletionException refused) {
            throw refused.getCause() instanceof BenchException b
                    ? b
                    : new BenchException(
                            "no session was opened", refused.getCause().toString(), "see the log", refused);
        }
    }

    @Override
    public Reply act(float[] observation, byte[] image, float reward, boolean reset) {
        mailbox.waiter = Thread.currentThread();
        mailbox.reply = null;
        long begin = runtime.clock().nowNs();
        // The session owns what it is given, so it gets a copy, as a robot's driver would make one.
        boolean sent = session.observe(
                new Observation(sequence++, begin, begin, GrpcRobot.FAR_NS, observation.clone(), image, reward, reset));
        ActionReply reply = sent ? await(begin) : null;
        if (reply == null || reply.status() != ActionReply.Status.OK) {
            throw new WrongAnswerException(
                    "an observation got no action of the policy",
                    reply == null
                            ? "the runtime did not answer"
                            : reply.status() + " " + reply.cause() + " " + reply.refusal() + " " + reply.detail(),
                    "see the log");
        }
        return new Reply(reply.action(), reply.timing());
    }

    /** Null if nothing comes. */
    private ActionReply await(long begin) {
        ActionReply reply = mailbox.reply;
        while (reply == null) {
            long waited = System.nanoTime() - begin;
            if (waited > TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS)) {
                return null;
            }
            if (waited < SPIN_NS) {
                Thread.onSpinWait();
            } else {
                LockSupport.parkNanos(this, TimeUnit.SECONDS.toNanos(1));
            }
            reply = mailbox.reply;
        }
        return reply;
    }

    @Override
    public void close() {
        session.close();
        try {
            mailbox.ended.await(PATIENCE_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
