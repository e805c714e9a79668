package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.BlockStepContract;
import org.junit.jupiter.api.Nested;

class CpuBlockStepTest {
    @Nested
    class OnOneThread extends BlockStepContract {
        @Override
        protected Backend openBackend() {
            return new CpuBackend(BackendOptions.threads(1));
        }
    }

    @Nested
    class OnTwoThreads extends BlockStepContract {
        @Override
        protected Backend openBackend() {
            return new CpuBackend(BackendOptions.threads(2));
        }
    }
}
