package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.MlstmContract;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/** The mLSTM on a real device with fp32 gradients on tensor cores too. The golden files' tolerances are tighter than these kernels. */
@Tag("cuda")
class CudaFastMlstmTest {
    private static Backend engine;

    @BeforeAll
    @SuppressWarnings("try")
    static void open() {
        try (Setting changed = Setting.of(TensorCores.PROPERTY, "fast")) {
            engine = new CudaBackendProvider().open(BackendOptions.defaults());
        }
    }

    @AfterAll
    static void close() {
        if (engine != null) {
            engine.close();
        }
    }

    @Nested
    class Mlstm extends MlstmContract {
        @Override
        protected Backend openBackend() {
            return new Unclosed(engine);
        }
    }
}
