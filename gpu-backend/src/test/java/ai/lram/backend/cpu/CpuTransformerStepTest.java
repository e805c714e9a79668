package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.TransformerStepContract;
import org.junit.jupiter.api.Nested;

class CpuTransformerStepTest {
    @Nested
    class OnOneThread extends TransformerStepContract {
        @Override
        protected Backend openBackend() {
            return new CpuBackend(BackendOptions.threads(1));
        }
    }

    @Nested
    class OnTwoThreads extends TransformerStepContract {
        @Override
        protected Backend openBackend() {
            return new CpuBackend(BackendOptions.threads(2));
        }
    }
}
