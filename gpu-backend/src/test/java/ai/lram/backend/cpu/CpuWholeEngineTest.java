package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.WholeEngineContract;

class CpuWholeEngineTest extends WholeEngineContract {
    @Override
    protected Backend openBackend(int threads) {
        return new CpuBackend(BackendOptions.threads(threads));
    }
}
