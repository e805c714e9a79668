package ai.lram.bridge.grpc;

import ai.lram.runtime.dispatch.SpinTime;
import java.time.Duration;

/**
 * How a client waits.
 *
 * @param connectTimeout for a connection, a description, the opening and closing of a session
 * @param replyGrace how long past its deadline a reply is waited for before the robot acts on its own
 * @param spin how long a waiting control thread spins before it parks; costs that much of a core per step, and on a few cores delays the reply
 */
public record ClientSettings(Duration connectTimeout, Duration replyGrace, Duration spin) {
    public ClientSettings {
        if (connectTimeout.isNegative() || connectTimeout.isZero() || replyGrace.isNegative() || spin.isNegative()) {
            throw new BridgeConfigException(
                    "client settings cannot be used",
                    "connectTimeout=" + connectTimeout + " replyGrace=" + replyGrace + " spin=" + spin,
                    "use durations of zero or more, and a connectTimeout above zero",
                    null);
        }
    }

    /** 5 s to connect, 20 ms grace, {@link SpinTime#usual()}. */
    public static ClientSettings defaults() {
        return new ClientSettings(Duration.ofSeconds(5), Duration.ofMillis(20), SpinTime.usual());
    }

    /** The same with another grace. */
    public ClientSettings withReplyGrace(Duration grace) {
        return new ClientSettings(connectTimeout, grace, spin);
    }
}
