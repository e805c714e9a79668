package ai.lram.runtime;

import com.typesafe.config.Config;
import com.typesafe.config.ConfigException;
import com.typesafe.config.ConfigFactory;
import java.time.Duration;

/**
 * Settings under {@code lram.runtime}; units, ranges and reasons stand in {@code reference.conf}.
 *
 * @param maxSessions sessions open at once; also bounded by the policy's slots
 * @param window observations of a session that may wait for their result
 * @param idleTimeout time without an observation after which a session is closed
 * @param longestDeadline longest deadline an observation may ask for
 * @param startTimeout how long the policy may take to load
 * @param maxBatchWait how long a step may wait for others to join its batch
 * @param failureLimit failed batches in a row after which the policy is replaced
 * @param restartLimit replacements within {@code restartWindow} after which the runtime gives up
 * @param restartWindow see {@code restartLimit}
 * @param restartDelay pause before a replacement
 * @param recordingChunks chunks all recordings share
 * @param recordingChunkFrames steps per chunk
 */
public record RuntimeSettings(
        int maxSessions,
        int window,
        Duration idleTimeout,
        Duration longestDeadline,
        Duration startTimeout,
        Duration maxBatchWait,
        int failureLimit,
        int restartLimit,
        Duration restartWindow,
        Duration restartDelay,
        int recordingChunks,
        int recordingChunkFrames) {
    private static final Duration LONGEST = Duration.ofDays(1);

    public RuntimeSettings {
        range("max-sessions", maxSessions, 1, 10_000);
        range("window", window, 1, 64);
        range("idle-timeout", idleTimeout, Duration.ofMillis(1));
        range("longest-deadline", longestDeadline, Duration.ofMillis(1));
        range("start-timeout", startTimeout, Duration.ofMillis(1));
        range("inference.max-batch-wait", maxBatchWait, Duration.ZERO);
        range("inference.failure-limit", failureLimit, 1, 1_000_000);
        range("inference.restart-limit", restartLimit, 0, 1_000_000);
        range("inference.restart-window", restartWindow, Duration.ofMillis(1));
        range("inference.restart-delay", restartDelay, Duration.ZERO);
        range("recording.chunks", recordingChunks, 1, 1_000_000);
        range("recording.chunk-frames", recordingChunkFrames, 1, 100_000);
    }

    /** The settings of {@code application.conf}, system properties and {@code reference.conf} on the class path. */
    public static RuntimeSettings load() {
        return from(ConfigFactory.load());
    }

    /** @throws RuntimeConfigException if a setting is missing, of the wrong type or out of range */
    public static RuntimeSettings from(Config root) {
        try {
            Config c = root.getConfig("lram.runtime");
            return new RuntimeSettings(
                    c.getInt("max-sessions"),
                    c.getInt("window"),
                    c.getDuration("idle-timeout"),
                    c.getDuration("longest-deadline"),
                    c.getDuration("start-timeout"),
                    c.getDuration("inference.max-batch-wait"),
                    c.getInt("inference.failure-limit"),
                    c.getInt("inference.restart-limit"),
                    c.getDuration("inference.restart-window"),
                    c.getDuration("inference.restart-delay"),
                    c.getInt("recording.chunks"),
                    c.getInt("recording.chunk-frames"));
        } catch (ConfigException e) {
            throw new RuntimeConfigException(
                    "lram.runtime settings cannot be read", e.getMessage(), "compare with reference.conf", e);
        }
    }

    /** The same settings with another number of sessions. */
    public RuntimeSettings withMaxSessions(int sessions) {
        return new RuntimeSettings(
                sessions,
                window,
                idleTimeout,
                longestDeadline,
                startTimeout,
                maxBatchWait,
                failureLimit,
                restartLimit,
                restartWindow,
                restartDelay,
                recordingChunks,
                recordingChunkFrames);
    }

    private static void range(String key, long value, long min, long max) {
        if (value < min || value > max) {
            throw new RuntimeConfigException(
                    "setting lram.runtime." + key + " cannot be " + value,
                    "it must lie within " + min + " to " + max,
                    "choose a value in that range",
                    null);
        }
    }

    private static void range(String key, Duration value, Duration min) {
        if (value.compareTo(min) < 0 || value.compareTo(LONGEST) > 0) {
            throw new RuntimeConfigException(
                    "setting lram.runtime." + key + " cannot be " + value.toMillis() + " ms",
                    "it must lie within " + min.toMillis() + " ms to " + LONGEST.toHours() + " h",
                    "choose a value in that range",
                    null);
        }
    }
}
