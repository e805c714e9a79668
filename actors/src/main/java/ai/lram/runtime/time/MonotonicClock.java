package ai.lram.runtime.time;

/** Monotonic nanoseconds of this process; only differences have a meaning, never compared with another host's. */
@FunctionalInterface
public interface MonotonicClock {
    long nowNs();

    /** The JVM's own monotonic clock. */
    static MonotonicClock system() {
        return System::nanoTime;
    }
}
