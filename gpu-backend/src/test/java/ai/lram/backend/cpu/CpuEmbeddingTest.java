package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.EmbeddingContract;

class CpuEmbeddingTest extends EmbeddingContract {
    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }
}
