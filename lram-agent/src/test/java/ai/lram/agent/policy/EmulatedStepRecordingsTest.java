package ai.lram.agent.policy;

import ai.lram.backend.Backend;
import ai.lram.backend.cuda.EmulatedCuda;

class EmulatedStepRecordingsTest extends StepRecordings {
    @Override
    Backend openBackend() {
        return EmulatedCuda.open();
    }
}
