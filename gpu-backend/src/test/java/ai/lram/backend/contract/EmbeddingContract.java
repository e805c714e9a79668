package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.EmbeddingOps;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What every engine's table look-up must do. */
public abstract class EmbeddingContract extends KernelContract {
    private EmbeddingOps ops() {
        return fx.ops.embedding();
    }

    @ParameterizedTest(name = "M={0} V={1} D={2}")
    @CsvSource({"1,1,1", "3,2,5", "65,7,16", "257,40,33", "600,12,130"})
    void looksUpRowsAndSumsTheirGradients(int rows, int vocabulary, int width) {
        int[] ids = fx.random.ints(rows, 0, vocabulary).toArray();
        float[] table = fx.normal(vocabulary * width, 1);
        float[] dy = fx.normal(rows * width, 1);
        float[] want = new float[rows * width];
        double[] wantGrad = Fixture.doubles(table);
        for (int m = 0; m < rows; m++) {
            for (int j = 0; j < width; j++) {
                want[m * width + j] = table[ids[m] * width + j];
                wantGrad[ids[m] * width + j] += dy[m * width + j];
            }
        }
        Tensor y = fx.poisoned(rows, width);
        ops().lookup(fx.stream, fx.ofInts(ids, rows), fx.of(table, vocabulary, width), y);
        assertArrayEquals(want, fx.read(y));
        Tensor grad = fx.of(table, vocabulary, width);
        ops().lookupBackward(fx.stream, fx.ofInts(ids, rows), fx.of(dy, rows, width), grad);
        fx.assertClose("dtable", wantGrad, grad, 2e-6);
    }

    @Test
    void wrongShapesAreRefusedAndNothingIsWritten() {
        Tensor ids = fx.ofInts(new int[] {0, 2}, 2);
        Tensor table = fx.zeros(3, 4);
        Tensor y = fx.poisoned(2, 4);
        assertRefused(() -> ops().lookup(fx.stream, fx.zeros(2), table, y), y);
        assertRefused(() -> ops().lookup(fx.stream, ids, fx.zeros(3, 5), y), y);
        Tensor odd = fx.poisoned(7);
        assertRefused(() -> ops().lookup(fx.stream, ids, table, odd), odd);
        assertRefused(() -> ops().lookupBackward(fx.stream, ids, odd, table), table);
        assertRefused(() -> ops().lookupBackward(fx.stream, ids, null, table), table);
    }

    @Test
    void idsOutsideTheTableAreRefused() {
        Tensor table = fx.zeros(3, 4);
        Tensor y = fx.poisoned(2, 4);
        for (int bad : new int[] {-1, 3, Integer.MAX_VALUE}) {
            Tensor ids = fx.ofInts(new int[] {0, bad}, 2);
            assertRefused(() -> ops().lookup(fx.stream, ids, table, y), y);
            assertRefused(() -> ops().lookupBackward(fx.stream, ids, y, table), table);
        }
    }
}
