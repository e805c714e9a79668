package ai.lram.agent.train;

import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.cuda.EmulatedCuda;
import java.util.List;

class EmulatedTrainingCurveTest extends TrainingCurve {
    @Override
    Backend openBackend() {
        return EmulatedCuda.open();
    }

    @Override
    XlstmConfig model() {
        return new XlstmConfig(32, 2, 2, List.of(1));
    }

    @Override
    int batch() {
        return 2;
    }

    @Override
    int updates() {
        return 20;
    }
}
