package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.cli.config.DemoSettings;
import ai.lram.cli.config.InputException;
import ai.lram.cli.config.Settings;
import ai.lram.cli.config.TrainSettings;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.typesafe.config.Config;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class DemoCommandTest {
    private static final List<String> SECTIONS = List.of(DemoSettings.SECTION, TrainSettings.SECTION);
    private static final String TINY =
            """
            lram.demo { data-episodes = 3, data-steps = 0, drive-episodes = 2, sessions-per-task = 2, rate-hz = 500, warm-up-seconds = 0.5, reference-episodes = 5 }
            lram.train { updates = 3, batch = 6, steps = 16, validate-every = 0, backbone { width = 32, blocks = 1, heads = 2 } }
            """;

    @TempDir
    Path temp;

    private final CommandRunner lram = new CommandRunner();

    @Test
    void aTinyDemoRunsFromDataToReport() throws IOException {
        Path conf = Files.writeString(temp.resolve("tiny.conf"), TINY);
        Path out = temp.resolve("demo");
        lram.good("demo", "--config", conf, "--out", out, "--device", "cpu");
        JsonNode report = new ObjectMapper().readTree(out.resolve("report.json").toFile());
        assertEquals(List.of("tasks", "meanScore", "minScore", "trainSeconds", "wallSeconds"), keys(report));
        assertEquals(6, report.get("tasks").size());
        double sum = 0;
        double min = 1;
        for (int i = 0; i < 6; i++) {
            JsonNode t = report.get("tasks").get(i);
            assertEquals(
                    List.of(
                            "task",
                            "random",
                            "expert",
                            "agent",
                            "score",
                            "p50Ms",
                            "p99Ms",
                            "p999Ms",
                            "maxMs",
                            "missed",
                            "steps",
                            "episodes",
                            "seeds",
                            "missedByCause"),
                    keys(t));
            assertEquals(EnvironmentRegistry.ids().get(i), t.get("task").textValue());
            assertTrue(t.get("random").doubleValue() < t.get("expert").doubleValue(), t.toString());
            double share = (t.get("agent").doubleValue() - t.get("random").doubleValue())
                    / (t.get("expert").doubleValue() - t.get("random").doubleValue());
            assertEquals(Math.clamp(share, 0, 1), t.get("score").doubleValue(), 1e-9);
            assertEquals(2, t.get("episodes").intValue());
            assertEquals("[1000000,1000001]", t.get("seeds").toString());
            assertTrue(
                    t.get("p50Ms").doubleValue() > 0
                            && t.get("p50Ms").doubleValue() <= t.get("p99Ms").doubleValue(),
                    t.toString());
            assertTrue(t.get("p999Ms").doubleValue() <= t.get("maxMs").doubleValue() * 1.001, t.toString());
            sum += t.get("score").doubleValue();
            min = Math.min(min, t.get("score").doubleValue());
        }
        assertEquals(sum / 6, report.get("meanScore").doubleValue(), 1e-9);
        assertEquals(min, report.get("minScore").doubleValue(), 1e-9);
        assertTrue(report.get("trainSeconds").doubleValue()
                < report.get("wallSeconds").doubleValue());
        String html = Files.readString(out.resolve("report.html"));
        for (String text : List.of("<svg", "cartpole-swingup", "late client", "./lram serve --model")) {
            assertTrue(html.contains(text), text);
        }
        assertFalse(html.contains("https:") || html.contains("<script"), "nothing is fetched");
        assertTrue(lram.out.contains("./lram drive --env cartpole-swingup --connect 127.0.0.1:7447"), lram.out);
        assertTrue(Files.exists(out.resolve("data/pendulum/meta/info.json")), "LeRobot data sets stay");
        lram.good("eval", "env", "--model", out.resolve("run"), "--task", "pendulum", "--episodes", "1");
    }

    @Test
    void aFolderOfSomethingElseIsNotTouched() throws IOException {
        Files.writeString(Files.createDirectory(temp.resolve("photos")).resolve("cat.jpg"), "cat");
        lram.bad("files of something else", "demo", "--out", temp.resolve("photos"));
        lram.bad("no folder", "demo", "--out", temp.resolve("photos/cat.jpg"));
        assertEquals("cat", Files.readString(temp.resolve("photos/cat.jpg")));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "lram.demo.data-episodes = 1", "lram.demo.rate-hz = 0", "lram.demo.sessions-per-task = 0",
                        "lram.demo.drive-episodes = x",
                "lram.demo.warm-up-seconds = -1", "lram.demo.reference-episodes = 0", "lram.demo.server-threads = -1",
                        "lram.demo.data-seed = -1"
            })
    void settingsOutOfRangeAreNamed(String text) {
        Config c = Settings.text(text, "t", SECTIONS);
        InputException e = Assertions.assertThrows(InputException.class, () -> DemoSettings.read(c, "t"));
        String key = text.substring("lram.demo.".length(), text.indexOf(" ="));
        assertTrue(e.getMessage().contains(key) && e.getMessage().contains("; fix: "), e.getMessage());
    }

    @Test
    void theShippedSettingsCanBeUsed() {
        Config c = Settings.resource("demo.conf", SECTIONS);
        DemoSettings demo = DemoSettings.read(c, "demo.conf");
        assertTrue(demo.driveEpisodes() >= 10);
        assertEquals(100, demo.rateHz());
        assertTrue(TrainSettings.read(c, "demo.conf").maxMinutes() <= 7, "the whole demo is to end within ten minutes");
    }

    private static List<String> keys(JsonNode n) {
        List<String> keys = new ArrayList<>();
        n.fieldNames().forEachRemaining(keys::add);
        return keys;
    }
}
