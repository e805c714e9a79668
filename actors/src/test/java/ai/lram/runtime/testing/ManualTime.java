package ai.lram.runtime.testing;

import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.time.MonotonicClock;
import ai.lram.runtime.time.WakeTimer;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;

/** A clock that stands still until a test moves it; alarms fire on the thread that moves it. */
public final class ManualTime implements MonotonicClock, WakeTimer {
    private final AtomicLong nowNs = new AtomicLong(1_000_000_000L);
    private final AtomicLong pausedNs = new AtomicLong();
    private final List<ManualAlarm> alarms = new CopyOnWriteArrayList<>();

    @Override
    public long nowNs() {
        return nowNs.get();
    }

    /** Moves the clock and fires what is due. */
    public void advanceMs(double ms) {
        long now = nowNs.addAndGet((long) (ms * 1e6));
        for (ManualAlarm alarm : alarms) {
            long at = alarm.atNs.get();
            if (at <= now && alarm.atNs.compareAndSet(at, NEVER)) {
                alarm.onDue.run();
            }
        }
    }

    /** Moves the clock and pretends that garbage collection took that time; alarms fire at the next move. */
    public void pauseMs(double ms) {
        nowNs.addAndGet((long) (ms * 1e6));
        pausedNs.addAndGet((long) (ms * 1e6));
    }

    /** Moves the clock only: for use inside a policy's step. */
    public void passMs(double ms) {
        nowNs.addAndGet((long) (ms * 1e6));
    }

    public LramRuntime.Environment environment() {
        return new LramRuntime.Environment(this, this, pausedNs::get);
    }

    public long pausedNs() {
        return pausedNs.get();
    }

    /** Alarms registered and not cancelled. */
    public int alarmCount() {
        return alarms.size();
    }

    /** When the only alarm that is set will fire. */
    public long nextAlarmNs() {
        return alarms.stream().mapToLong(a -> a.atNs.get()).min().orElse(NEVER);
    }

    @Override
    public Alarm register(Runnable onDue) {
        ManualAlarm alarm = new ManualAlarm(onDue);
        alarms.add(alarm);
        return alarm;
    }

    @Override
    public void close() {
        alarms.clear();
    }

    private final class ManualAlarm implements Alarm {
        private final Runnable onDue;
        private final AtomicLong atNs = new AtomicLong(NEVER);

        ManualAlarm(Runnable onDue) {
            this.onDue = onDue;
        }

        @Override
        public void set(long newAtNs) {
            atNs.set(newAtNs);
            if (newAtNs <= nowNs() && atNs.compareAndSet(newAtNs, NEVER)) {
                onDue.run();
            }
        }

        @Override
        public void cancel() {
            alarms.remove(this);
        }
    }
}
