package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

@EnabledOnOs(value = OS.LINUX, disabledReason = "skipped: dlopen of Linux")
class LinuxMachineTest {
    private final LinuxMachine machine = new LinuxMachine();

    @Test
    void opensALibraryAndFindsItsSymbols() {
        Machine.Opened c = machine.open("libc.so.6");
        assertTrue(c.isOpen(), c.failure());
        assertTrue(machine.has(c, "strlen"));
        assertFalse(machine.has(c, "cuInit"));
        assertTrue(machine.pathOf("libc.so.6").orElseThrow().endsWith("/libc.so.6"));
    }

    @Test
    void saysWhyALibraryCannotBeOpened() {
        Machine.Opened none = machine.open("libnothing-of-ours.so.1");
        assertFalse(none.isOpen());
        assertTrue(none.failure().contains("No such file"), none.failure());
    }

    @Test
    @SuppressWarnings("try")
    void searchesTheFolderNamedByTheProperty(@TempDir Path dir) throws Exception {
        Files.writeString(dir.resolve("libbroken.so.1"), "no library");
        try (Setting changed = Setting.of(LinuxMachine.LIBRARY_PATH, dir.toString())) {
            Machine.Opened broken = machine.open("libbroken.so.1");
            assertFalse(broken.isOpen());
            assertTrue(broken.failure().startsWith(dir.toString()), "the file that was found is named: " + broken);
        }
    }

    @Test
    void theNodesOfThisMachineAreThoseUnderDev() {
        for (Machine.Node n : machine.nodes()) {
            assertTrue(Files.exists(Path.of(n.path())), n.path());
        }
        assertEquals(machine.kernelModule().isPresent(), Files.isReadable(Path.of("/proc/driver/nvidia/version")));
    }
}
