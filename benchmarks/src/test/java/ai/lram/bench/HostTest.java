package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class HostTest {
    @Test
    void aNumbersOriginIsNamed() {
        Host host = Host.here();
        assertTrue(host.cpu().contains("processors") && !Host.processor().isBlank(), host.cpu());
        assertTrue(host.jdk().startsWith(String.valueOf(Runtime.version().feature())), host.jdk());
        // Null where the sources lie outside a git checkout.
        assertTrue(host.commit() == null || host.commit().matches("[0-9a-f]{12}(-dirty)?"), host.commit());
        assertFalse("cpu".equals(host.gpu()));
    }

    @Test
    void aCommandThatHangsIsKilledAndOneThatFailsSaysNothing() {
        assertEquals(Optional.of("a"), Host.output(60, "sh", "-c", "echo a"));
        assertEquals(Optional.empty(), Host.output(60, "sh", "-c", "echo a; exit 3"));
        assertEquals(Optional.empty(), Host.output(60, "no-such-command-here"));
        assertEquals(Optional.empty(), Host.output(1, "sleep", "8642"));
        ProcessHandle.current()
                .children()
                .filter(p -> p.info().commandLine().orElse("").contains("sleep 8642"))
                .forEach(killed ->
                        killed.onExit().orTimeout(60, TimeUnit.SECONDS).join());
    }
}
