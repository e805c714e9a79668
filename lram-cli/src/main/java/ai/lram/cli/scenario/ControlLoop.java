package ai.lram.cli.scenario;

import ai.lram.bridge.grpc.RobotConnection;
import ai.lram.bridge.grpc.RobotReply;
import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.protocol.StepTiming;
import ai.lram.runtime.time.PauseMeter;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/**
 * A robot's control loop at a fixed rate: an observation falls due every period, is sent, and its action is waited for. The schedule does not
 * move when a step is late, so the steps behind it show what they waited. While as many observations are unanswered as the server's window
 * holds, the robot repeats its last action and sends nothing. One thread.
 */
final class ControlLoop {
    private static final byte[] NO_IMAGE = {};
    private static final long SILENCE_NS = 30_000_000_000L;

    private final RobotConnection robot;
    private final ControlLog log;
    private final long periodNs;
    private final long deadlineNs;
    private final PauseMeter pauses;
    private float[] held;
    private boolean resetLeft;
    private float rewardLeft;
    private long givenUp;
    private long dueNs;

    /**
     * @param firstNs when the first observation falls due, on {@link System#nanoTime()}'s clock
     * @param deadlineNs after it fell due, when the action must leave the server
     */
    ControlLoop(RobotConnection robot, ControlLog log, long firstNs, long periodNs, long deadlineNs) {
        this.robot = robot;
        this.log = log;
        this.periodNs = periodNs;
        this.deadlineNs = deadlineNs;
        this.pauses = PauseMeter.ofCollectors();
        List<Double> safe = robot.task().safeAction();
        held = new float[safe.size()];
        for (int i = 0; i < held.length; i++) {
            held[i] = safe.get(i).floatValue();
        }
        dueNs = firstNs;
    }

    /** Waits until the next observation is due, sends it and returns what came back. */
    RobotReply step(float[] observation, float reward, boolean reset) {
        for (long left = dueNs - System.nanoTime(); left > 0; left = dueNs - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
        resetLeft |= reset;
        // What an observation that was not taken should have brought comes with the next one.
        rewardLeft = reset ? 0 : rewardLeft + reward;
        if (givenUp - robot.lateReplies() >= robot.window() - 1) {
            dueNs += periodNs;
            log.step(periodNs, false);
            log.missed(Miss.QUEUE);
            return new RobotReply(
                    -1,
                    RobotReply.Outcome.NO_REPLY,
                    FallbackCause.NONE,
                    Refusal.NONE,
                    "",
                    held.clone(),
                    false,
                    false,
                    StepTiming.ZERO,
                    periodNs);
        }
        long pausedBefore = pauses.pausedNs();
        long captureNs = System.nanoTime();
        // At least 1: zero would ask for the task's own deadline.
        long remaining = Math.max(1, deadlineNs - (captureNs - dueNs));
        RobotReply reply = robot.act(observation, NO_IMAGE, rewardLeft, resetLeft, captureNs, remaining);
        long latencyNs = System.nanoTime() - dueNs;
        if (reply.outcome() != RobotReply.Outcome.REFUSED) {
            resetLeft = false;
            rewardLeft = 0;
        }
        dueNs += periodNs;
        held = reply.action().clone();
        log.step(latencyNs, reply.clamped());
        judge(reply, latencyNs, pauses.pausedNs() > pausedBefore);
        return reply;
    }

    /**
     * Waits for what was given up: an episode is over when all its observations are answered. Moves the schedule by that time.
     *
     * @throws DriveException if the server stays silent
     */
    void awaitLateReplies() {
        long begin = System.nanoTime();
        while (robot.lateReplies() < givenUp) {
            if (System.nanoTime() - begin > SILENCE_NS) {
                throw new DriveException(
                        "the server left observations of task " + log.task() + " unanswered",
                        (givenUp - robot.lateReplies()) + " for " + SILENCE_NS / 1_000_000_000 + " s",
                        "look at the server's log");
            }
            LockSupport.parkNanos(periodNs);
        }
        dueNs = Math.max(dueNs, System.nanoTime());
    }

    private void judge(RobotReply reply, long latencyNs, boolean paused) {
        switch (reply.outcome()) {
            case REFUSED -> {
                // A server that is far behind refuses what its window cannot hold, and what was under way after it.
                if (reply.refusal() != Refusal.BACKLOG && reply.refusal() != Refusal.OUT_OF_ORDER) {
                    throw new DriveException(
                            "the server refused an observation of task " + log.task(),
                            reply.refusal().toString(),
                            reply.detail());
                }
                log.missed(Miss.QUEUE);
            }
            case FALLBACK -> {
                if (!reply.cause().missedDeadline()) {
                    throw new DriveException(
                            "the server sent a fallback action for task " + log.task(),
                            reply.cause().toString(),
                            "look at the server's log; start it again");
                }
                log.missed(Miss.of(reply.cause()));
            }
            case NO_REPLY -> {
                givenUp++;
                log.missed(paused ? Miss.GARBAGE_COLLECTION : Miss.LATE_CLIENT);
            }
            case OK -> {
                if (latencyNs > deadlineNs) {
                    log.missed(paused ? Miss.GARBAGE_COLLECTION : Miss.LATE_CLIENT);
                }
            }
        }
    }
}
