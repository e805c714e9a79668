package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.BlockStepContract;
import org.junit.jupiter.api.extension.RegisterExtension;

/** {@link EmulatedBlockStepTest} with batches of two and more in two halves. */
class EmulatedHalvesTest extends BlockStepContract {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.emulated().with(StepForms.PROPERTY, "halves");

    @Override
    protected Backend openBackend() {
        return ENGINE.unclosed();
    }
}
