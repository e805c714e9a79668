package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.MlstmContract;
import ai.lram.backend.golden.MlstmGolden;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The mLSTM on a real device by mma.sync alone, as devices other than Hopper run it. */
@Tag("cuda")
class CudaMmaMlstmTest {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.onDevice().with(TensorCores.WARPGROUPS, "false");

    @Nested
    class Mlstm extends MlstmContract {
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
