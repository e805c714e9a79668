package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.SlstmContract;
import ai.lram.backend.golden.SlstmGolden;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The sLSTM's scans that read the recurrent matrix for every token, run by the host on heads that would fit on chip. */
class EmulatedGeneralSlstmTest {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.emulated().with(CudaSlstm.PROPERTY, "general");

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
