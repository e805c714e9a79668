package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.EmbeddingContract;
import org.junit.jupiter.api.Test;

class CpuEmbeddingTest extends EmbeddingContract {
    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }

    @Test
    void idsOutsideTheTableAreRefused() {
        Tensor table = fx.zeros(3, 4);
        Tensor y = fx.poisoned(2, 4);
        for (int bad : new int[] {-1, 3, Integer.MAX_VALUE}) {
            Tensor ids = fx.ofInts(new int[] {0, bad}, 2);
            assertRefused(() -> fx.ops.embedding().lookup(fx.stream, ids, table, y), y);
            assertRefused(() -> fx.ops.embedding().lookupBackward(fx.stream, ids, y, table), table);
        }
    }
}
