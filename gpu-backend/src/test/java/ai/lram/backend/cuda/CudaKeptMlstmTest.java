package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.MlstmContract;
import ai.lram.backend.golden.MlstmGolden;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/** The mLSTM on a real device with keys kept on chip for the gradients of chunks. */
@Tag("cuda")
class CudaKeptMlstmTest {
    private static Backend engine;

    @BeforeAll
    @SuppressWarnings("try")
    static void open() {
        try (Setting changed = Setting.of(ChunkBackward.PROPERTY, "kept")) {
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
    class Mlstm extends MlstmContract {
        @Override
        protected Backend openBackend() {
            return new Unclosed(engine);
        }
    }

    @Nested
    class Files extends MlstmGolden {
        @Override
        protected Backend openBackend() {
            return new Unclosed(engine);
        }
    }
}
