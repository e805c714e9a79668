package ai.lram.runtime.time;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;

/**
 * Alarms served by one daemon thread that sleeps until the earliest one.
 *
 * <p>An alarm that is moved to a later time wakes nobody, so a control loop that answers before its deadlines costs about
 * one wake-up per period. Precision is that of {@link LockSupport#parkNanos}: some 60 us on Linux.
 */
public final class ThreadWakeTimer implements WakeTimer {
    private final MonotonicClock clock;
    private final Thread thread;
    private final List<ThreadAlarm> registered = new ArrayList<>();
    private volatile ThreadAlarm[] alarms = {};
    private volatile long sleepingUntilNs = NEVER;
    private volatile boolean closed;

    public ThreadWakeTimer(String threadName, MonotonicClock clock) {
        this.clock = clock;
        this.thread = Thread.ofPlatform().daemon().name(threadName).unstarted(this::loop);
        thread.start();
    }

    @Override
    public Alarm register(Runnable onDue) {
        ThreadAlarm alarm = new ThreadAlarm(onDue);
        synchronized (registered) {
            registered.add(alarm);
            alarms = registered.toArray(ThreadAlarm[]::new);
        }
        return alarm;
    }

    @Override
    public void close() {
        closed = true;
        LockSupport.unpark(thread);
    }

    private void loop() {
        while (!closed) {
            // While scanning, NEVER makes every concurrent set() leave a permit, so none is overlooked.
            sleepingUntilNs = NEVER;
            long nowNs = clock.nowNs();
            long nextNs = NEVER;
            for (ThreadAlarm alarm : alarms) {
                long atNs = alarm.atNs.get();
                if (atNs == NEVER) {
                    continue;
                }
                if (atNs <= nowNs) {
                    if (alarm.atNs.compareAndSet(atNs, NEVER)) {
                        alarm.onDue.run();
                    }
                } else {
                    nextNs = Math.min(nextNs, atNs);
                }
            }
            sleepingUntilNs = nextNs;
            if (nextNs == NEVER) {
                LockSupport.park(this);
            } else {
                LockSupport.parkNanos(this, nextNs - nowNs);
            }
        }
    }

    private final class ThreadAlarm implements Alarm {
        private final Runnable onDue;
        private final AtomicLong atNs = new AtomicLong(NEVER);

        ThreadAlarm(Runnable onDue) {
            this.onDue = onDue;
        }

        @Override
        public void set(long newAtNs) {
            atNs.set(newAtNs);
            if (newAtNs < sleepingUntilNs) {
                LockSupport.unpark(thread);
            }
        }

        @Override
        public void cancel() {
            atNs.set(NEVER);
            synchronized (registered) {
                registered.remove(this);
                alarms = registered.toArray(ThreadAlarm[]::new);
            }
        }
    }
}
