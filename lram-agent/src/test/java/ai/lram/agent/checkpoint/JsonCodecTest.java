package ai.lram.agent.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.ops.MlstmSpec;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class JsonCodecTest {
    static ModelCard card() {
        ObservationFeature unlimited = new ObservationFeature(
                "angle", "rad", Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY, 0.1, 1.0 / 3);
        ObservationFeature limited = new ObservationFeature("speed", "rad/s", -8, 8, 0, 1);
        TaskCard arm = new TaskCard(
                "arm",
                "bench",
                30,
                List.of(unlimited, limited),
                List.of(),
                List.of(
                        ActionFeature.bounded("torque", "N*m", -2, 2),
                        new ActionFeature("angle", "rad", -3, 3, 12.5, -0.2, 0.2, "angle")),
                0,
                100,
                false,
                -150.25,
                200,
                Fallback.SAFE,
                List.of(0.0, 0.5));
        TaskCard game = new TaskCard(
                "game",
                "atari",
                15,
                List.of(),
                List.of(3, 64, 64),
                List.of(ActionFeature.bounded("action", "", 0, 17)),
                18,
                20,
                true,
                0,
                0,
                Fallback.HOLD,
                List.of(0.0));
        return new ModelCard(
                ModelCard.FORMAT_VERSION, "two \"tasks\"", List.of(arm, game), Map.of("commit", "abc", "note", "ß"));
    }

    static ConfigJson.Content config() {
        LramConfig c = new LramConfig(11, 3, 18, 32, true, true, new XlstmConfig(32, 2, 4, List.of(1)));
        return new ConfigJson.Content(c, new MlstmSpec(MlstmSpec.InputGate.SIGMOID, false, 1e-6f, false, 64));
    }

    @Test
    void aCardIsReadBackAsWritten() {
        byte[] json = CardJson.write(card());
        assertEquals(card(), CardJson.read(json, "card.json"));
        assertTrue(text(json).contains("\"maxRate\" : \"Infinity\""), text(json));
        assertTrue(text(json).contains("\"min\" : \"-Infinity\""), text(json));
    }

    @Test
    void aConfigIsReadBackAsWritten() {
        assertEquals(config(), ConfigJson.read(ConfigJson.write(config()), "config.json"));
        ConfigJson.Content published =
                new ConfigJson.Content(LramConfig.published("206M", true), MlstmSpec.exponential());
        assertEquals(published, ConfigJson.read(ConfigJson.write(published), "config.json"));
    }

    @ParameterizedTest(name = "{0} -> {1}")
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "`\"bins\" :`                  | `\"binz\" :`                   | lacks the key bins",
                "`\"bins\" : 32,`              | `\"bins\" : 32, \"mood\" : 1,` | unknown keys [mood]",
                "`\"heads\" : 4,`              | `\"heads\" : 4, \"tail\" : 1,` | unknown keys [tail]",
                "`\"bins\" : 32`               | `\"bins\" : \"32\"`            | bins cannot be used",
                "`\"bins\" : 32`               | `\"bins\" : 32.5`              | bins cannot be used",
                "`\"bins\" : 32`               | `\"bins\" : 99999999999`       | bins cannot be used",
                "`\"bins\" : 32`               | `\"bins\" : 1`                 | sizes are out of range",
                "`\"heads\" : 4`               | `\"heads\" : 0`                | describes no possible model",
                "`\"images\" : true`           | `\"images\" : 1`               | give true or false",
                "`\"inputGate\" : \"SIGMOID\"` | `\"inputGate\" : \"RELU\"`     | EXPONENTIAL, SIGMOID",
                "`\"slstmAt\" : [ 1 ]`         | `\"slstmAt\" : [ 7 ]`          | blocks 0..1",
                "`\"formatVersion\" : 1`       | `\"formatVersion\" : 2`        | reads version 1"
            })
    void unusableConfigsNameTheCulprit(String from, String to, String why) {
        refused(ConfigJson.write(config()), from, to, why, json -> ConfigJson.read(json, "config.json"));
    }

    @ParameterizedTest(name = "{0} -> {1}")
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "`\"rateHz\" : 30.0`            | `\"rateHz\" : \"fast\"`       | rateHz cannot be used",
                "`\"rateHz\" : 30.0`            | `\"rateHz\" : null`           | rateHz cannot be used",
                "`\"rateHz\" : 30.0`            | `\"rateHz\" : 0`              | no control rate",
                "`\"std\" : 1.0`                | `\"std\" : 0.0`               | cannot be standardised",
                "`\"std\" : 1.0`                | `\"std\" : 1.0, \"a\" : 2`    | observation[1] has unknown keys [a]",
                "`\"fallback\" : \"SAFE\"`      | `\"fallback\" : \"PANIC\"`    | HOLD, SAFE",
                "`\"maxRate\" : 12.5`           | `\"maxRate\" : \"NaN\"`       | maxRate cannot be used",
                "`\"relativeTo\" : \"angle\"`   | `\"relativeTo\" : \"elbow\"`  | unknown observation",
                "`\"id\" : \"game\"`            | `\"id\" : \"arm\"`            | names a task twice",
                "`\"commit\" : \"abc\"`         | `\"commit\" : 5`              | commit cannot be used",
                "`\"formatVersion\" : 1`        | `\"formatVersion\" : 3`       | reads version 1"
            })
    void unusableCardsNameTheCulprit(String from, String to, String why) {
        refused(CardJson.write(card()), from, to, why, json -> CardJson.read(json, "card.json"));
    }

    @Test
    void brokenJsonSaysWhere() {
        CorruptCheckpointException e = assertThrows(
                CorruptCheckpointException.class,
                () -> CardJson.read("{\n\"a\": }".getBytes(StandardCharsets.UTF_8), "card.json"));
        assertTrue(e.getMessage().startsWith("card.json") && e.getMessage().contains("line 2"), e.getMessage());
        assertThrows(CorruptCheckpointException.class, () -> ConfigJson.read(new byte[0], "config.json"));
    }

    private static void refused(byte[] json, String from, String to, String why, Function<byte[], Object> read) {
        String good = text(json);
        String bad =
                good.replaceFirst(java.util.regex.Pattern.quote(from), java.util.regex.Matcher.quoteReplacement(to));
        assertTrue(!bad.equals(good), "the text does not hold " + from + ":\n" + good);
        IncompatibleCheckpointException e = assertThrows(
                IncompatibleCheckpointException.class, () -> read.apply(bad.getBytes(StandardCharsets.UTF_8)));
        assertTrue(e.getMessage().contains(why), e.getMessage());
    }

    private static String text(byte[] json) {
        return new String(json, StandardCharsets.UTF_8);
    }
}
