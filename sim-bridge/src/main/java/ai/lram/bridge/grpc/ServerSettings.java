package ai.lram.bridge.grpc;

import com.typesafe.config.Config;
import com.typesafe.config.ConfigException;
import com.typesafe.config.ConfigFactory;
import java.time.Duration;

/**
 * Settings under {@code lram.bridge}; units, ranges and reasons stand in {@code reference.conf}.
 *
 * @param endpoint where to listen; loopback or a Unix domain socket
 * @param maxMessageBytes longest message accepted
 * @param observationsPerSecond observations of one session accepted per second
 * @param burst observations accepted at once after a silence
 * @param streamsPerConnection sessions over one connection
 * @param ioThreads threads that read and write connections
 * @param keepAlive how often a silent peer is asked whether it is still there
 * @param rehearsal how long a server drives its own model before it listens; zero for not at all
 */
public record ServerSettings(
        Endpoint endpoint,
        int maxMessageBytes,
        int observationsPerSecond,
        int burst,
        int streamsPerConnection,
        int ioThreads,
        Duration keepAlive,
        Duration rehearsal) {
    public ServerSettings {
        range("max-message-bytes", maxMessageBytes, 1024, 256 << 20);
        range("observations-per-second", observationsPerSecond, 1, 10_000_000);
        range("burst", burst, 1, 10_000_000);
        range("streams-per-connection", streamsPerConnection, 1, 10_000);
        range("io-threads", ioThreads, 1, 256);
        range("keep-alive", keepAlive.toMillis(), 1_000, 3_600_000);
        range("rehearsal", rehearsal.toMillis(), 0, 60_000);
    }

    /** The settings of {@code application.conf}, system properties and {@code reference.conf} on the class path. */
    public static ServerSettings load() {
        return from(ConfigFactory.load());
    }

    /** @throws BridgeConfigException if a setting is missing, of the wrong type or out of range */
    public static ServerSettings from(Config root) {
        try {
            Config c = root.getConfig("lram.bridge");
            return new ServerSettings(
                    Endpoint.parse(c.getString("listen")),
                    Math.toIntExact(c.getBytes("max-message-bytes")),
                    c.getInt("observations-per-second"),
                    c.getInt("burst"),
                    c.getInt("streams-per-connection"),
                    c.getInt("io-threads"),
                    c.getDuration("keep-alive"),
                    c.getDuration("rehearsal"));
        } catch (ConfigException | ArithmeticException e) {
            throw new BridgeConfigException(
                    "lram.bridge settings cannot be read", e.getMessage(), "compare with reference.conf", e);
        }
    }

    /** The same settings at another address. */
    public ServerSettings at(Endpoint other) {
        return new ServerSettings(
                other,
                maxMessageBytes,
                observationsPerSecond,
                burst,
                streamsPerConnection,
                ioThreads,
                keepAlive,
                rehearsal);
    }

    private static void range(String key, long value, long min, long max) {
        if (value < min || value > max) {
            throw new BridgeConfigException(
                    "setting lram.bridge." + key + " cannot be " + value,
                    "it must lie within " + min + " to " + max,
                    "choose a value in that range",
                    null);
        }
    }
}
