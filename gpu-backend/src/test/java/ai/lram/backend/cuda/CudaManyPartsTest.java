package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What many sessions multiply, on a real device: whether its tensor cores take numbers below 2^-14, too. */
@Tag("cuda")
class CudaManyPartsTest extends ManyPartsContract {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.onDevice();

    @Override
    protected Backend openBackend() {
        return ENGINE.unclosed();
    }
}
