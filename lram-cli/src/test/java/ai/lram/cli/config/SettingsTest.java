package ai.lram.cli.config;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.ConfigException;
import ai.lram.agent.train.TrainConfig;
import com.typesafe.config.Config;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SettingsTest {
    private static final List<String> TRAIN = List.of(TrainSettings.SECTION);

    @TempDir
    Path temp;

    @Test
    void everyDefaultCanBeUsed() {
        TrainConfig c = TrainSettings.read(Settings.defaults(), "reference.conf");
        assertEquals(
                TrainSettings.values(c).size(),
                Settings.defaults().getConfig(TrainSettings.SECTION).entrySet().size(),
                "no key of reference.conf is ignored");
    }

    @Test
    void aFileChangesWhatItNamesAndNothingElse() throws IOException {
        Path file = Files.writeString(temp.resolve("a.conf"), "lram.train { batch = 3, backbone.slstm-at = [1] }");
        TrainConfig c = TrainSettings.read(Settings.load(Optional.of(file), TRAIN), "a.conf");
        TrainConfig defaults = TrainSettings.read(Settings.defaults(), "reference.conf");
        assertEquals(3, c.batch());
        assertEquals(List.of(1), c.backbone().slstmAt());
        assertEquals(
                List.of("backbone.slstm-at", "batch"),
                List.copyOf(TrainSettings.differences(c, defaults).keySet()));
    }

    @Test
    void writtenSettingsAreReadBackAsTheyWere() {
        TrainConfig c = TrainSettings.read(
                Settings.text(
                        "lram.train { learning-rate = 3.3e-4, updates = 123456789012, backbone.slstm-at = [0, 2], seed = -5 }",
                        "t",
                        TRAIN),
                "t");
        Config again = Settings.text(TrainSettings.hocon(c), "again", TRAIN);
        assertEquals(c, TrainSettings.read(again, "again"));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "lram.train.bacth = 3              | unknown key lram.train.bacth in line 1",
                "lram.train.backbone.depth = 3     | heads, slstm-at, width",
                "lram.runtime.window = 4           | this command reads lram.train only",
                "batch = 3                         | this command reads lram.train only",
                "lram.train.batch = many           | batch has type STRING rather than NUMBER",
                "lram.train.batch = null           | batch",
                "lram.train.batch = [1]            | batch",
                "lram.train.backbone = 7           | unknown key|",
                "lram.train.backbone.slstm-at = x  | slstm-at",
                "'lram.train { batch = '           | expecting a value",
                "lram.train.batch = ${nowhere}     | nowhere"
            })
    void settingsThatCannotBeUsedNameTheCulprit(String text, String why) throws IOException {
        Path file = Files.writeString(temp.resolve("bad.conf"), text.replaceAll("^'|'$", ""));
        InputException e = assertThrows(
                InputException.class,
                () -> TrainSettings.read(Settings.load(Optional.of(file), TRAIN), file.toString()));
        assertTrue(e.getMessage().contains(file.toString()), e.getMessage());
        if (!why.equals("unknown key")) {
            assertTrue(
                    e.getMessage().toLowerCase(java.util.Locale.ROOT).contains(why.toLowerCase(java.util.Locale.ROOT)),
                    e.getMessage());
        }
        assertTrue(e.getMessage().contains("; why: ") && e.getMessage().contains("; fix: "), e.getMessage());
    }

    @Test
    void valuesOutOfRangeAreRefused() {
        Config c = Settings.text("lram.train.batch = 0", "t", TRAIN);
        assertThrows(ConfigException.class, () -> TrainSettings.read(c, "t"));
    }

    @Test
    void aMissingFileIsNamed() {
        InputException e =
                assertThrows(InputException.class, () -> Settings.load(Optional.of(temp.resolve("no.conf")), TRAIN));
        assertTrue(e.getMessage().contains("no.conf"), e.getMessage());
    }
}
