package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What many sessions multiply, run by the host. */
class EmulatedManyPartsTest extends ManyPartsContract {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.emulated();

    @Override
    protected Backend openBackend() {
        return ENGINE.unclosed();
    }
}
