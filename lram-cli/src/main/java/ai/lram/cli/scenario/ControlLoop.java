package ai.lram.cli.scenario;

import ai.lram.bridge.grpc.RobotConnection;
import ai.lram.bridge.grpc.RobotReply;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.time.PauseMeter;
import java.util.concurrent.locks.LockSupport;

/**
 * A robot's control loop at a fixed rate: an observation falls due every period, is sent, and its action is waited for. The schedule does not
 * move when a step is late, so the steps behind it show what they waited. One thread.
 */
final class ControlLoop {
    private static final byte[] NO_IMAGE = {};

    private final RobotConnection robot;
    private final ControlLog log;
    private final long periodNs;
    private final long deadlineNs;
    private final PauseMeter pauses;
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
        dueNs = firstNs;
    }

    /** Waits until the next observation is due, sends it and returns what came back. */
    RobotReply step(float[] observation, float reward, boolean reset) {
        for (long left = dueNs - System.nanoTime(); left > 0; left = dueNs - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
        long pausedBefore = pauses.pausedNs();
        long captureNs = System.nanoTime();
        // At least 1: zero would ask for the task's own deadline.
        long remaining = Math.max(1, deadlineNs - (captureNs - dueNs));
        RobotReply reply = robot.act(observation, NO_IMAGE, reward, reset, captureNs, remaining);
        long latencyNs = System.nanoTime() - dueNs;
        dueNs += periodNs;
        log.step(latencyNs, reply.clamped());
        judge(reply, latencyNs, pauses.pausedNs() > pausedBefore);
        return reply;
    }

    private void judge(RobotReply reply, long latencyNs, boolean paused) {
        switch (reply.outcome()) {
            case REFUSED -> {
                // A server that is far behind refuses what its window cannot hold, and all that was under way after it.
                if (reply.refusal() != Refusal.BACKLOG && reply.refusal() != Refusal.OUT_OF_ORDER) {
                    throw new DriveException("the server refused an observation of task " + log.task(), reply.refusal().toString(),
                            reply.detail());
                }
                log.missed(Miss.QUEUE);
            }
            case FALLBACK -> {
                if (!reply.cause().missedDeadline()) {
                    throw new DriveException("the server sent a fallback action for task " + log.task(), reply.cause().toString(),
                            "look at the server's log; start it again");
                }
                log.missed(Miss.of(reply.cause()));
            }
            case NO_REPLY, OK -> {
                if (latencyNs > deadlineNs) {
                    log.missed(paused ? Miss.GARBAGE_COLLECTION : Miss.LATE_CLIENT);
                }
            }
        }
    }
}
