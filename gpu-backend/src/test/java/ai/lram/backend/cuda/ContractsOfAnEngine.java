package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.AttentionContract;
import ai.lram.backend.contract.CausalConvContract;
import ai.lram.backend.contract.Conv2dContract;
import ai.lram.backend.contract.ElementwiseContract;
import ai.lram.backend.contract.EmbeddingContract;
import ai.lram.backend.contract.LossContract;
import ai.lram.backend.contract.MatmulContract;
import ai.lram.backend.contract.MixedContract;
import ai.lram.backend.contract.MlstmContract;
import ai.lram.backend.contract.NarrowStateContract;
import ai.lram.backend.contract.NormContract;
import ai.lram.backend.contract.OptimizerContract;
import ai.lram.backend.contract.SessionContract;
import ai.lram.backend.contract.SlstmContract;
import ai.lram.backend.contract.StepEndsContract;
import ai.lram.backend.contract.TransformerStepContract;
import ai.lram.backend.contract.WholeEngineContract;
import ai.lram.backend.golden.MlstmGolden;
import ai.lram.backend.golden.SlstmGolden;
import org.junit.jupiter.api.Nested;

/**
 * Every contract but that of {@link ai.lram.backend.contract.BlockStepContract}, which takes as long as all others, for one engine: opening takes
 * seconds where kernels are compiled.
 */
abstract class ContractsOfAnEngine {
    /** The engine of all tests; closing it leaves it open. */
    abstract Backend unclosed();

    @Nested
    class Elementwise extends ElementwiseContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Norm extends NormContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Embedding extends EmbeddingContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Loss extends LossContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class CausalConv extends CausalConvContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Conv2d extends Conv2dContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Optimizer extends OptimizerContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Matmul extends MatmulContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Mixed extends MixedContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Mlstm extends MlstmContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Slstm extends SlstmContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Attention extends AttentionContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class Session extends SessionContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class NarrowState extends NarrowStateContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class TransformerStep extends TransformerStepContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class StepEnds extends StepEndsContract {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class WholeEngine extends WholeEngineContract {
        @Override
        protected Backend openBackend(int threads) {
            return unclosed();
        }
    }

    @Nested
    class MlstmFiles extends MlstmGolden {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }

    @Nested
    class SlstmFiles extends SlstmGolden {
        @Override
        protected Backend openBackend() {
            return unclosed();
        }
    }
}
