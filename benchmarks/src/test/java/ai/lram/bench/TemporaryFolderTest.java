package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TemporaryFolderTest {
    @TempDir
    Path temp;

    /** Makes a folder in the first argument and is ended. */
    static final class Interrupted {
        public static void main(String[] arguments) throws IOException {
            TemporaryFolder folder = TemporaryFolder.createIn(Path.of(arguments[0]), "a test");
            Files.writeString(folder.path().resolve("file"), "text");
            System.exit(Files.exists(folder.path()) ? 3 : 4);
        }
    }

    @Test
    void itGoesWithAProgramThatIsEnded() throws IOException, InterruptedException {
        Process ended = new ProcessBuilder(
                        ProcessHandle.current().info().command().orElseThrow(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Interrupted.class.getName(),
                        temp.toString())
                .inheritIO()
                .start();
        assertEquals(3, ended.waitFor());
        try (Stream<Path> left = Files.list(temp)) {
            assertEquals(List.of(), left.toList());
        }
    }

    @Test
    void itGoesWithAllItHoldsAndHidesNoError() throws IOException {
        Path[] made = new Path[1];
        IllegalStateException e = assertThrows(IllegalStateException.class, () -> {
            try (TemporaryFolder folder = TemporaryFolder.createIn(temp, "a test")) {
                made[0] = folder.path();
                Files.createDirectories(folder.path().resolve("a/b"));
                Files.writeString(folder.path().resolve("a/b/c"), "text");
                throw new IllegalStateException("the benchmark's own");
            }
        });
        assertEquals("the benchmark's own", e.getMessage());
        assertFalse(Files.exists(made[0]));
        BenchException none = assertThrows(
                BenchException.class, () -> TemporaryFolder.createIn(temp.resolve("none"), "the data benchmark"));
        assertTrue(none.getMessage().startsWith("no folder for the data benchmark; why: "), none.getMessage());
        BenchException full =
                assertThrows(BenchException.class, () -> TemporaryFolder.requireSpace("much data", Long.MAX_VALUE));
        assertTrue(full.getMessage().startsWith("much data does not fit into "), full.getMessage());
    }
}
