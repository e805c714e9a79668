package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ClosingTest {
    @TempDir
    Path temp;

    @Test
    void everyPartIsClosedTheLastFirstAndNoFailureIsLost() {
        List<String> closed = new ArrayList<>();
        Closing all = new Closing();
        all.add(() -> closed.add("first"));
        all.add(() -> {
            throw new IOException("second");
        });
        all.add(() -> {
            throw new IllegalStateException("third");
        });
        IllegalStateException e = assertThrows(IllegalStateException.class, all::close);
        assertEquals("third", e.getMessage());
        assertTrue(e.getSuppressed()[0].getMessage().contains("second"), "the other one");
        assertEquals(List.of("first"), closed);
        all.close();
        assertEquals(1, closed.size(), "once");
    }

    @Test
    void aTemporaryFolderGoesWithAllItHoldsAndHidesNoError() throws IOException {
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
