package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.BlockStepContract;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;

/** A block of the control step on a real device. */
@Tag("cuda")
class CudaBlockStepTest extends BlockStepContract {
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
    protected Backend openBackend() {
        return new Unclosed(engine);
    }
}
