package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.SlstmContract;
import ai.lram.backend.golden.SlstmGolden;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Nested;

/** The sLSTM's scans that read the recurrent matrix for every token, run by the host on heads that would fit on chip. */
class EmulatedGeneralSlstmTest {
    private static Backend engine;

    @BeforeAll
    @SuppressWarnings("try")
    static void open() {
        Emulator.requireCompiler();
        try (Setting changed = Setting.of(CudaSlstm.PROPERTY, "general")) {
            engine = Emulator.open();
        }
    }

    @AfterAll
    static void close() {
        if (engine != null) {
            engine.close();
        }
    }

    @Nested
    class Slstm extends SlstmContract {
        @Override
        protected Backend openBackend() {
            return new Unclosed(engine);
        }
    }

    @Nested
    class Files extends SlstmGolden {
        @Override
        protected Backend openBackend() {
            return new Unclosed(engine);
        }
    }
}
