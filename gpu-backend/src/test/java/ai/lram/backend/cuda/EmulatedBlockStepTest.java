package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.BlockStepContract;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

/** A block of the control step as {@link EmulatedContractsTest} runs the others: a class of its own, so that both run side by side. */
class EmulatedBlockStepTest extends BlockStepContract {
    private static Backend engine;

    @BeforeAll
    static void open() {
        Emulator.requireCompiler();
        engine = Emulator.open();
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
