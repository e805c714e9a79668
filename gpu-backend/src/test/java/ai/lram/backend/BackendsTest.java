package ai.lram.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.cpu.CpuBackend;
import java.util.List;
import java.util.Optional;
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
        assertThrows(IllegalArgumentException.class, () -> BackendOptions.threads(-1));
        assertThrows(IllegalArgumentException.class, () -> BackendOptions.threads(2000));
        assertThrows(IllegalArgumentException.class, () -> new BackendOptions(1, -1, Optional.empty()));
    }

    private record Scripted(String name, int rank, String refusal, RuntimeException failure)
            implements BackendProvider {
        @Override
        public Optional<String> whyUnavailable() {
            return Optional.ofNullable(refusal);
        }

        @Override
        public Backend open(BackendOptions options) {
            if (failure != null) {
                throw failure;
            }
            return new CpuBackend(BackendOptions.threads(1));
        }
    }

    private static final BackendProvider CPU = new Scripted("cpu", 0, null, null);

    private static BackendProvider cuda(String refusal, RuntimeException failure) {
        return new Scripted("cuda", 10, refusal, failure);
    }

    @Test
    void autoTakesTheNextEngineWhenOneIsRefused() {
        List<BackendProvider> both = List.of(cuda("no NVIDIA driver; fix: install one", null), CPU);
        try (Backend b = Backends.open(both, "auto", BackendOptions.defaults())) {
            assertEquals("cpu", b.name());
        }
        BackendUnavailableException e = assertThrows(
                BackendUnavailableException.class, () -> Backends.open(both, "cuda", BackendOptions.defaults()));
        assertTrue(e.getMessage().contains("cuda: no NVIDIA driver; fix: install one"), e.getMessage());
    }

    @Test
    void theLineThatIsLoggedNamesTheChoiceTheCauseAndTheFix() {
        try (Backend b = Backends.open("cpu", BackendOptions.threads(1))) {
            assertEquals("engine cpu: " + b.describe(), Backends.choice(b, List.of()));
            assertEquals(
                    "engine cpu: " + b.describe() + " (refused: cuda: no NVIDIA driver; fix: install one)",
                    Backends.choice(b, List.of("cuda: no NVIDIA driver; fix: install one")));
        }
    }

    @Test
    void autoTakesTheNextEngineWhenOneCannotBeOpened() {
        for (RuntimeException failure : List.of(
                new BackendUnavailableException("what", "the kernel module was unloaded", "fix"),
                new DeviceOutOfMemoryException("what", "no memory is left", "fix"))) {
            List<BackendProvider> both = List.of(cuda(null, failure), CPU);
            try (Backend b = Backends.open(both, "auto", BackendOptions.defaults())) {
                assertEquals("cpu", b.name());
            }
            BackendUnavailableException e = assertThrows(
                    BackendUnavailableException.class, () -> Backends.open(both, "cuda", BackendOptions.defaults()));
            assertTrue(e.getMessage().contains(failure.getMessage()), e.getMessage());
        }
    }

    @Test
    void aFailureThatIsNoRefusalIsNotHidden() {
        List<BackendProvider> both = List.of(cuda(null, new KernelLaunchException("kernel", "bug", "report it")), CPU);
        assertThrows(KernelLaunchException.class, () -> Backends.open(both, "auto", BackendOptions.defaults()));
    }
}
