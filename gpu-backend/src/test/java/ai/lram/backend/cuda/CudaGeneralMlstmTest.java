package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.MlstmContract;
import ai.lram.backend.contract.SessionContract;
import ai.lram.backend.golden.MlstmGolden;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The mLSTM on a real device without the kernels on tensor cores, which otherwise take the cases that fit them. */
@Tag("cuda")
class CudaGeneralMlstmTest {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.onDevice().with(TensorCores.PROPERTY, "general");

    @Nested
    class Mlstm extends MlstmContract {
        @Override
        protected Backend openBackend() {
            return ENGINE.unclosed();
        }
    }

    @Nested
    class Session extends SessionContract {
        @Override
        protected Backend openBackend() {
            return ENGINE.unclosed();
        }
    }

    @Nested
    class Files extends MlstmGolden {
        @Override
        protected Backend openBackend() {
            return ENGINE.unclosed();
        }
    }
}
