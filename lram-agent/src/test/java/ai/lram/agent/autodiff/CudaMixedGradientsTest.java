package ai.lram.agent.autodiff;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import org.junit.jupiter.api.Tag;

@Tag("cuda")
class CudaMixedGradientsTest extends MixedGradients {
    @Override
    Backend openBackend() {
        return Backends.open("cuda", BackendOptions.defaults());
    }
}
