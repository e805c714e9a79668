package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.BlockStepContract;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.RegisterExtension;

/** {@link CudaBlockStepTest} with batches of two and more in two halves, on two streams of a real device. */
@Tag("cuda")
class CudaHalvesTest extends BlockStepContract {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.onDevice().with(StepForms.PROPERTY, "halves");

    @Override
    protected Backend openBackend() {
        return ENGINE.unclosed();
    }
}
