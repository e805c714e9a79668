package ai.lram.agent.train;

import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import org.junit.jupiter.api.Tag;

@Tag("cuda")
class CudaTrainingCurveTest extends TrainingCurve {
    @Override
    Backend openBackend() {
        return Backends.open("cuda", BackendOptions.defaults());
    }

    @Override
    XlstmConfig model() {
        return XlstmConfig.mlstm(128, 2, 4);
    }

    @Override
    int batch() {
        return 8;
    }

    @Override
    int updates() {
        return 200;
    }
}
