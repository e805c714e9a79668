package ai.lram.agent.golden;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import org.junit.jupiter.api.Tag;

@Tag("cuda")
class CudaXlstmGoldenTest extends XlstmGolden {
    @Override
    protected Backend openBackend() {
        return Backends.open("cuda", BackendOptions.defaults());
    }
}
