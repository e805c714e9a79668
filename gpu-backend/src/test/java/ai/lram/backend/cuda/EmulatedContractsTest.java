package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * The CUDA engine's own kernels run by the host, thread by thread: everything but speed and what only concurrency shows, on a machine without
 * a GPU. Products of cuBLASLt are plain loops here.
 */
class EmulatedContractsTest extends ContractsOfAnEngine {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.emulated();

    @Override
    Backend unclosed() {
        return ENGINE.unclosed();
    }
}
