package ai.lram.runtime.dispatch;

import com.typesafe.config.Config;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** How long a thread of the control loop that waits spins before it sleeps. */
public final class SpinTime {
    private static final Duration USUAL = Duration.ofNanos(20_000);
    /** The robot's thread, the connection's, the session's and the policy's: all may be awake at once. */
    private static final int CHAIN = 4;

    private static final String AUTO = "auto";

    private SpinTime() {}

    /**
     * 20 us where every thread an observation passes on its way has a processor of its own, else zero: there a thread that spins keeps the
     * next one from running.
     */
    public static Duration usual() {
        return usual(Runtime.getRuntime().availableProcessors());
    }

    static Duration usual(int processors) {
        return processors >= CHAIN ? USUAL : Duration.ZERO;
    }

    /** A duration, or {@code auto} for {@link #usual()}; in nanoseconds. */
    static long nanos(Config config, String path) {
        return AUTO.equals(config.getString(path)) ? usual().toNanos() : config.getDuration(path, TimeUnit.NANOSECONDS);
    }
}
