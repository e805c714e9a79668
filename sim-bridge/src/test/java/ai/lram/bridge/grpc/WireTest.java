package ai.lram.bridge.grpc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bridge.v1.Observation;
import ai.lram.runtime.protocol.ActionReply;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Refusal;
import com.typesafe.config.ConfigFactory;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class WireTest {
    @Test
    void everyValueHasTheWireValueOfTheSameName() {
        for (FallbackCause cause : FallbackCause.values()) {
            assertEquals("FALLBACK_CAUSE_" + cause.name(), Wire.wire(cause).name());
            assertEquals(cause, Wire.cause(Wire.wire(cause)));
        }
        for (Refusal refusal : Refusal.values()) {
            assertEquals("REFUSAL_" + refusal.name(), Wire.wire(refusal).name());
            assertEquals(refusal, Wire.refusal(Wire.wire(refusal)));
        }
        for (ActionReply.Status status : ActionReply.Status.values()) {
            assertEquals("STATUS_" + status.name(), Wire.wire(status).name());
        }
        for (EpisodeReport.Recording recording : EpisodeReport.Recording.values()) {
            assertEquals("RECORDING_" + recording.name(), Wire.wire(recording).name());
            EpisodeReport report = new EpisodeReport(3, 4, 5.5, recording, "detail");
            assertEquals(report, Wire.report(Wire.report(report)));
        }
    }

    @Test
    void deadlinesAreDifferencesOfTheRobotsOwnStamps() {
        Observation.Builder o = Observation.newBuilder().setCaptureTimeNs(5_000).setSendTimeNs(7_000);
        assertEquals(
                ai.lram.runtime.protocol.Observation.ONE_PERIOD,
                Wire.observation(o.build(), 1).budgetNs());
        assertEquals(
                10_000,
                Wire.observation(o.setWithinReceiptNs(10_000).build(), 1).budgetNs());
        assertEquals(
                8_000, Wire.observation(o.setWithinCaptureNs(10_000).build(), 1).budgetNs());
        assertEquals(
                -1_000, Wire.observation(o.setWithinCaptureNs(1_000).build(), 1).budgetNs());
    }

    @Test
    void hostileStampsNeitherOverflowNorPassAsADeadline() {
        Observation.Builder o = Observation.newBuilder();
        assertEquals(
                Long.MAX_VALUE - 1,
                Wire.observation(o.setWithinReceiptNs(Long.MAX_VALUE).build(), 1)
                        .budgetNs());
        assertEquals(
                -1_000_000_000,
                Wire.observation(o.setWithinReceiptNs(Long.MIN_VALUE).build(), 1)
                        .budgetNs());
        o.setCaptureTimeNs(Long.MIN_VALUE).setSendTimeNs(Long.MAX_VALUE);
        assertTrue(Wire.observation(o.setWithinCaptureNs(1_000).build(), 1).budgetNs() <= 1_000);
        o.setCaptureTimeNs(9_000).setSendTimeNs(1_000);
        assertEquals(
                1_000, Wire.observation(o.setWithinCaptureNs(1_000).build(), 1).budgetNs());
    }

    @ParameterizedTest
    @ValueSource(strings = {"127.0.0.1:7447", "localhost:0", "[::1]:80", "unix:/tmp/lram.sock"})
    void addressesAreReadAndPrintedAlike(String text) {
        assertEquals(text, Endpoint.parse(text).toString());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "host", ":80", "host:", "host:port", "host:65536", "host:-1"})
    void addressesThatAreNoneAreNamed(String text) {
        BridgeConfigException failure = assertThrows(BridgeConfigException.class, () -> Endpoint.parse(text));
        assertTrue(failure.getMessage().contains("unix:PATH"), failure.getMessage());
    }

    @Test
    void socketPathsTooLongForTheSystemAreRefused() {
        assertThrows(BridgeConfigException.class, () -> new Endpoint.Unix(Path.of("/" + "x".repeat(120))));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "listen = nowhere",
                "max-message-bytes = 10",
                "max-message-bytes = 5 GiB",
                "observations-per-second = 0",
                "burst = 0",
                "streams-per-connection = none",
                "io-threads = 0",
                "keep-alive = 1ms"
            })
    void settingsThatCannotBeUsedAreRefused(String line) {
        BridgeConfigException failure = assertThrows(
                BridgeConfigException.class,
                () -> ServerSettings.from(
                        ConfigFactory.parseString("lram.bridge." + line).withFallback(ConfigFactory.load())));
        assertTrue(failure.getMessage().contains("; fix: "), failure.getMessage());
    }

    @Test
    void clientSettingsThatCannotBeUsedAreRefused() {
        assertThrows(BridgeConfigException.class, () -> ClientSettings.defaults()
                .withReplyGrace(java.time.Duration.ofMillis(-1)));
    }

    @Test
    void aRateLimitAllowsTheBurstAndThenTheRate() {
        RateLimit limit = new RateLimit(100, 2, 0);
        assertEquals(
                List.of(true, true, false, false, true, false),
                List.of(
                        limit.allows(0),
                        limit.allows(0),
                        limit.allows(0),
                        limit.allows(5_000_000),
                        limit.allows(11_000_000),
                        limit.allows(12_000_000)));
    }
}
