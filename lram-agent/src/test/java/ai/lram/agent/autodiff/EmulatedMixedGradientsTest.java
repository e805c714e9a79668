package ai.lram.agent.autodiff;

import ai.lram.backend.Backend;
import ai.lram.backend.cuda.EmulatedCuda;

class EmulatedMixedGradientsTest extends MixedGradients {
    @Override
    Backend openBackend() {
        return EmulatedCuda.open();
    }
}
