package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;

/** The CUDA engine on a real device. */
@Tag("cuda")
class CudaContractsTest extends ContractsOfAnEngine {
    private static Backend engine;

    @BeforeAll
    static void open() {
        engine = new CudaBackendProvider().open(BackendOptions.defaults());
    }

    @AfterAll
    static void close() {
        if (engine != null) {
            engine.close();
        }
    }

    @Override
    Backend engine() {
        return engine;
    }
}
