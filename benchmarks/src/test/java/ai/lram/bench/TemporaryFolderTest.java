package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TemporaryFolderTest {
    @TempDir
    Path temp;

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
