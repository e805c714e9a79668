package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The CUDA engine on a real device. */
@Tag("cuda")
class CudaContractsTest extends ContractsOfAnEngine {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.onDevice();

    @Override
    Backend unclosed() {
        return ENGINE.unclosed();
    }
}
