package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.BlockStepContract;
import org.junit.jupiter.api.extension.RegisterExtension;

/** A block of the control step as {@link EmulatedContractsTest} runs the others: a class of its own, so that both run side by side. */
class EmulatedBlockStepTest extends BlockStepContract {
    @RegisterExtension
    static final SharedEngine ENGINE = SharedEngine.emulated();

    @Override
    protected Backend openBackend() {
        return ENGINE.unclosed();
    }
}
