package ai.lram.agent.autodiff;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.UnsupportedKernelException;
import org.junit.jupiter.api.Test;

class PrecisionTest {
    @Test
    void anEngineWithoutTheKernelsRefusesABf16Tape() {
        try (Backend cpu = Backends.open("cpu", BackendOptions.threads(1))) {
            UnsupportedKernelException e =
                    assertThrows(UnsupportedKernelException.class, () -> new Tape(cpu, true, Precision.BF16));
            assertTrue(e.getMessage().contains("--precision fp32"), e.getMessage());
        }
    }
}
