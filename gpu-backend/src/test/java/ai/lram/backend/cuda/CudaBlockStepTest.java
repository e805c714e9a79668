package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.BlockStepContract;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.RegisterExtension;

/** A block of the control step on a real device. */
@Tag("cuda")
class CudaBlockStepTest extends BlockStepContract {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.onDevice();

    @Override
    protected Backend openBackend() {
        return ENGINE.unclosed();
    }
}
