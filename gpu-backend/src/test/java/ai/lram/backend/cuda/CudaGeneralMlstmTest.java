package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.contract.MlstmContract;
import ai.lram.backend.contract.SessionContract;
import ai.lram.backend.golden.MlstmGolden;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/** The mLSTM on a real device without the kernels on tensor cores, which otherwise take the cases that fit them. */
@Tag("cuda")
class CudaGeneralMlstmTest {
    private static Backend engine;

    @BeforeAll
    @SuppressWarnings("try")
    static void open() {
        try (Setting changed = Setting.of(TensorCores.PROPERTY, "general")) {
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
    class Session extends SessionContract {
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
