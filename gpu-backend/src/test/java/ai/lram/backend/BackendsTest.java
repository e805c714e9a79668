package ai.lram.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class BackendsTest {
    @Test
    void theCpuEngineIsAlwaysThere() {
        try (Backend b = Backends.open("cpu", BackendOptions.threads(1))) {
            assertEquals("cpu", b.name());
            assertTrue(b.describe().contains("1 thread"), b.describe());
            assertEquals(b, b.stream().backend());
        }
    }

    @Test
    void autoOpensSomeEngine() {
        try (Backend b = Backends.open("auto", BackendOptions.defaults())) {
            assertTrue(
                    Backends.providers().stream().anyMatch(p -> b.name().startsWith(p.name())),
                    b.name() + " has no provider");
        }
    }

    @Test
    void providersAreRankedBestFirst() {
        int last = Integer.MAX_VALUE;
        for (BackendProvider p : Backends.providers()) {
            assertTrue(p.rank() <= last);
            last = p.rank();
        }
    }

    @Test
    void anUnknownEngineIsRefusedAndTheKnownOnesAreNamed() {
        BackendUnavailableException e = assertThrows(
                BackendUnavailableException.class, () -> Backends.open("abacus", BackendOptions.defaults()));
        assertTrue(e.getMessage().contains("abacus") && e.getMessage().contains("cpu"), e.getMessage());
        assertEquals(BackendException.Severity.STOP, e.severity());
    }

    @Test
    void absurdOptionsAreRefused() {
        assertThrows(IllegalArgumentException.class, () -> new BackendOptions(-1, 0));
        assertThrows(IllegalArgumentException.class, () -> new BackendOptions(2000, 0));
        assertThrows(IllegalArgumentException.class, () -> new BackendOptions(1, -1));
    }
}
