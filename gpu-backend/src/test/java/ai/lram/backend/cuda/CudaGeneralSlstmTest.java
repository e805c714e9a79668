package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.SlstmContract;
import ai.lram.backend.golden.SlstmGolden;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The sLSTM's scans that read the recurrent matrix for every token, on a real device. */
@Tag("cuda")
class CudaGeneralSlstmTest {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.onDevice().with(CudaSlstm.PROPERTY, "general");

    @Nested
    class Slstm extends SlstmContract {
        @Override
        protected Backend openBackend() {
            return ENGINE.unclosed();
        }
    }

    @Nested
    class Files extends SlstmGolden {
        @Override
        protected Backend openBackend() {
            return ENGINE.unclosed();
        }
    }
}
