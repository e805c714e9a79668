package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.SlstmContract;
import ai.lram.backend.golden.SlstmGolden;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/** The sLSTM's scans that read the recurrent matrix for every token, on a real device. */
@Tag("cuda")
class CudaGeneralSlstmTest {
    private static Backend engine;

    @BeforeAll
    @SuppressWarnings("try")
    static void open() {
        try (Setting changed = Setting.of(CudaSlstm.PROPERTY, "general")) {
            engine = new CudaBackendProvider().open(BackendOptions.defaults());
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
