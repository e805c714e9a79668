package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.store.TrajectoryStore;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DataCommandTest {
    @TempDir
    Path temp;

    private final CommandRunner lram = new CommandRunner();

    @Test
    void generatedDataIsImportedAndInspected() {
        lram.good(
                "data",
                "generate",
                "--task",
                "pendulum",
                "--episodes",
                "3",
                "--seed",
                "5",
                "--quality",
                "expert",
                "--out",
                temp.resolve("gen"));
        assertTrue(lram.out.contains("pendulum") && lram.out.contains("600"), lram.out);
        lram.good(
                "data",
                "generate",
                "--task",
                "all",
                "--episodes",
                "1",
                "--quality",
                "random",
                "--out",
                temp.resolve("all"));
        lram.good(
                "data",
                "import",
                temp.resolve("gen/pendulum"),
                temp.resolve("all/acrobot"),
                "--out",
                temp.resolve("store"));
        assertTrue(lram.out.contains("4 episodes") && lram.out.contains("lram train"), lram.out);
        lram.good("data", "inspect", temp.resolve("store"));
        for (String text : List.of(
                "4 episodes", "checksums good", "task pendulum", "task acrobot", "discrete action", "returns min")) {
            assertTrue(lram.out.contains(text), text + " in:\n" + lram.out);
        }
        assertEquals(List.of("all", "gen", "store"), names());
    }

    @Test
    void oneTaskMayBeNamedForAllEpisodes() {
        lram.good("data", "generate", "--task", "pendulum", "--episodes", "2", "--out", temp.resolve("gen"));
        lram.good(
                "data",
                "import",
                temp.resolve("gen/pendulum"),
                "--out",
                temp.resolve("store"),
                "--task",
                "swing",
                "--domain",
                "toys");
        try (TrajectoryStore store = TrajectoryStore.open(temp.resolve("store"))) {
            assertEquals(List.of("swing"), store.taskIds());
            assertEquals("toys", store.taskInfo("swing").domain());
        }
    }

    @Test
    void rldsFoldersAreImportedBySplitFieldAndLastStep() throws IOException {
        Path root = RldsFolder.write(temp.resolve("toy/1.0.0"));
        lram.good("data", "import", temp.resolve("toy"), "--out", temp.resolve("all"));
        assertTrue(lram.out.contains("2 episodes, 4 rows, tasks [toy]"), lram.out);
        assertTrue(lram.err.contains("rewards of 2.0 in all") && lram.err.contains("2 splits"), lram.err);
        lram.good(
                "data",
                "import",
                root,
                "--out",
                temp.resolve("store"),
                "--split",
                "test",
                "--keep-last-step",
                "--observation",
                "b",
                "--observation",
                "a");
        assertTrue(lram.out.contains("1 episodes, 3 rows"), lram.out);
        assertEquals("", lram.err);
        try (TrajectoryStore store = TrajectoryStore.open(temp.resolve("store"))) {
            assertEquals(
                    List.of("observation/b.0", "observation/a.0"),
                    store.taskInfo("toy").observation().orElseThrow().names());
            assertEquals(1, store.episode(0).episodeReturn());
        }
        lram.bad("no split val", "data", "import", root, "--out", temp.resolve("none"), "--split", "val");
        lram.bad("no field c", "data", "import", root, "--out", temp.resolve("none"), "--image", "c");
        lram.good("data", "generate", "--task", "pendulum", "--episodes", "1", "--out", temp.resolve("gen"));
        lram.bad(
                "splits are chosen",
                "data",
                "import",
                temp.resolve("gen/pendulum"),
                "--out",
                temp.resolve("none"),
                "--split",
                "train");
        assertEquals(List.of("all", "gen", "store", "toy"), names());
    }

    @Test
    void badArgumentsEndWithTwoAndLeaveNothingBehind() throws IOException {
        Files.writeString(temp.resolve("notes.txt"), "no data set");
        Path out = temp.resolve("out");
        lram.bad("pong", "data", "generate", "--task", "pong", "--episodes", "1", "--out", out);
        lram.bad("--episodes 0", "data", "generate", "--task", "pendulum", "--episodes", "0", "--out", out);
        lram.bad(
                "--quality super",
                "data",
                "generate",
                "--task",
                "pendulum",
                "--episodes",
                "1",
                "--quality",
                "super",
                "--out",
                out);
        lram.bad(
                "seed", "data", "generate", "--task", "pendulum", "--episodes", "1", "--seed", "1000000", "--out", out);
        lram.bad(
                "exists already",
                "data",
                "generate",
                "--task",
                "pendulum",
                "--episodes",
                "1",
                "--out",
                temp.resolve("notes.txt"));
        lram.bad("nowhere", "data", "import", temp.resolve("nowhere"), "--out", out);
        lram.bad("notes.txt", "data", "import", temp.resolve("notes.txt"), "--out", out);
        lram.bad("--domain", "data", "import", temp.resolve("nowhere"), "--out", out, "--domain", "d");
        lram.bad("nowhere", "data", "inspect", temp.resolve("nowhere"));
        assertEquals(2, lram.run("data"));
        assertEquals(2, lram.run("data", "import", "--out", out));
        assertEquals(2, lram.run("data", "generate", "--task", "pendulum", "--episodes", "many", "--out", out));
        assertEquals(List.of("notes.txt"), names());
    }

    @Test
    void inspectFindsADamagedByte() throws IOException {
        lram.good("data", "generate", "--task", "pendulum", "--episodes", "1", "--out", temp.resolve("gen"));
        lram.good("data", "import", temp.resolve("gen/pendulum"), "--out", temp.resolve("store"));
        try (var files = Files.list(temp.resolve("store"))) {
            Path column = files.filter(p -> p.toString().contains("observation"))
                    .findFirst()
                    .orElseThrow();
            try (RandomAccessFile f = new RandomAccessFile(column.toFile(), "rw")) {
                f.seek(100);
                int b = f.read();
                f.seek(100);
                f.write(b ^ 1);
            }
        }
        lram.bad("store", "data", "inspect", temp.resolve("store"));
    }

    private List<String> names() {
        try (var list = Files.list(temp)) {
            return list.map(p -> p.getFileName().toString()).sorted().toList();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
