package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

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
}
