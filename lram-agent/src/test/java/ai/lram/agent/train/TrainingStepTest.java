package ai.lram.agent.train;

import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.cuda.EmulatedCuda;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The step that {@link TrainingSpeedTest} measures, small, on kernels that run on the host: it learns. */
class TrainingStepTest {
    @ParameterizedTest
    @EnumSource(Precision.class)
    void aRecordedStepLearns(Precision precision) {
        try (Backend backend = EmulatedCuda.open()) {
            TrainingSpeedTest.measure(backend, "emulated", XlstmConfig.mlstm(32, 2, 4), 2, 6, precision);
        }
    }
}
