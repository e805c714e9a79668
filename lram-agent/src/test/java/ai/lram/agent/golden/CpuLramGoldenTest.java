package ai.lram.agent.golden;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;

class CpuLramGoldenTest extends LramGolden {
    @Override
    protected Backend openBackend() {
        return Backends.open("cpu", BackendOptions.defaults());
    }
}
