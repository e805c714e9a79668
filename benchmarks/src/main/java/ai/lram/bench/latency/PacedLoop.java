package ai.lram.bench.latency;

import java.util.concurrent.locks.LockSupport;

/**
 * A control loop on a fixed schedule: step k is due at start + k periods whatever became of those before it. Latency counts from the due
 * time, so a stall is seen by every step it delays and not only by the one that stalled: no coordinated omission. Single thread.
 */
final class PacedLoop {
    /** Time as the loop sees it. */
    interface Clock {
        long nowNs();

        void sleepUntil(long ns);

        /** The system's. */
        Clock SYSTEM = new Clock() {
            @Override
            public long nowNs() {
                return System.nanoTime();
            }

            @Override
            public void sleepUntil(long ns) {
                for (long left = ns - System.nanoTime(); left > 0; left = ns - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
            }
        };
    }

    private final Robot robot;
    private final Source source;
    private final Clock clock;
    private long taken;

    PacedLoop(Robot robot, Source source, Clock clock) {
        this.robot = robot;
        this.source = source;
        this.clock = clock;
    }

    /** Starts an episode whose next step is its number 0. */
    void restart() {
        source.restart();
        taken = 0;
    }

    /**
     * Goes on, unmeasured and as fast as it goes, until exactly {@code steps} steps have been taken since {@link #restart}; begins anew where there were
     * more. An environment's own episodes may end on the way.
     */
    void advanceTo(long steps) {
        if (taken > steps) {
            restart();
        }
        while (taken < steps) {
            step();
        }
    }

    /** Takes steps as fast as they go, unmeasured. */
    void hurry(long steps, long untilNs) {
        for (long i = 0; i < steps || clock.nowNs() < untilNs; i++) {
            step();
        }
    }

    /**
     * A step by itself.
     *
     * @param ns from sending the observation until the action was there
     * @param stepNs the policy's part
     */
    record Timed(long ns, long stepNs) {}

    /** Takes a step and says how long it took. */
    Timed timed() {
        long begin = clock.nowNs();
        Robot.Reply reply = step();
        return new Timed(clock.nowNs() - begin, reply.timing().stepNs());
    }

    private Robot.Reply step() {
        Robot.Reply reply = robot.act(source.observation(), source.image(), source.reward(), source.reset());
        source.act(reply.action());
        taken++;
        return reply;
    }

    /**
     * Takes {@code steps} steps on schedule.
     *
     * @param startNs when the first is due
     * @param giveUpNs when it ends in any case: steps not sent by then count with the time they have waited as soon as that makes them late,
     *     of younger ones nothing is known
     */
    void run(long startNs, long periodNs, long steps, long giveUpNs, LoopLog log) {
        for (long k = 0; k < steps; k++) {
            long dueNs = startNs + k * periodNs;
            clock.sleepUntil(dueNs);
            long sentNs = clock.nowNs();
            if (sentNs > giveUpNs) {
                for (; k < steps && startNs + (k + 1) * periodNs < sentNs; k++) {
                    log.neverSent(sentNs - (startNs + k * periodNs));
                }
                return;
            }
            Robot.Reply reply = robot.act(source.observation(), source.image(), source.reward(), source.reset());
            log.answered(dueNs, sentNs, clock.nowNs(), reply.timing());
            source.act(reply.action());
            taken++;
        }
    }
}
