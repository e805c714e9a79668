package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.cli.scenario.JvmCommand;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class InterruptTest {
    private static final long PATIENCE_SECONDS = 120;

    @TempDir
    Path temp;

    @Test
    void aStoppedTrainingIsSavedAndSaysHowToGoOn() throws Exception {
        CommandRunner lram = new CommandRunner();
        Path store = temp.resolve("store");
        Path run = temp.resolve("run");
        lram.good("data", "generate", "--task", "pendulum", "--episodes", "3", "--out", temp.resolve("gen"));
        lram.good("data", "import", temp.resolve("gen/pendulum"), "--out", store);
        Path conf = Files.writeString(
                temp.resolve("t.conf"),
                "lram.train { backbone { width = 32, blocks = 1, heads = 2 }, batch = 2, steps = 16, updates = 1000000, validate-every = 0 }");
        List<String> command = new ArrayList<>(JvmCommand.of(Lram.class));
        command.addAll(List.of(
                "train", store.toString(), "--config", conf.toString(), "--out", run.toString(), "--device", "cpu"));
        Path output = temp.resolve("output");
        Process training = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(output.toFile())
                .start();
        try {
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
            while (lines(run) < 3) {
                assertTrue(training.isAlive() && System.nanoTime() < end, () -> text(output));
                TimeUnit.MILLISECONDS.sleep(50);
            }
            assertFalse(Files.exists(run.resolve("model")), "nothing was due to be saved yet");
            training.destroy();
            assertTrue(training.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it ends by itself");
        } finally {
            training.destroyForcibly();
        }
        String text = text(output);
        assertTrue(text.contains("the run is being saved"), text);
        assertTrue(text.contains("go on with: lram train " + store + " --out " + run + " --resume"), text);
        int before = lines(run);
        lram.good("train", store, "--out", run, "--resume", "--device", "cpu", "--max-minutes", "0.000001");
        assertEquals(before, lines(run), "the clock of the first part counts");
        lram.good("eval", "env", "--model", run, "--episodes", "1");
    }

    private static int lines(Path run) throws IOException {
        Path metrics = run.resolve("metrics.jsonl");
        return Files.exists(metrics) ? Files.readAllLines(metrics).size() : 0;
    }

    private static String text(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            return e.toString();
        }
    }
}
