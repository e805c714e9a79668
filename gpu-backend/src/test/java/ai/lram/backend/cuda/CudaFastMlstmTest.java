package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.MlstmContract;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The mLSTM on a real device with fp32 gradients on tensor cores too. The golden files' tolerances are tighter than these kernels. */
@Tag("cuda")
class CudaFastMlstmTest {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.onDevice().with(TensorCores.PROPERTY, "fast");

    @Nested
    class Mlstm extends MlstmContract {
        @Override
        protected Backend openBackend() {
            return ENGINE.unclosed();
        }
    }
}
