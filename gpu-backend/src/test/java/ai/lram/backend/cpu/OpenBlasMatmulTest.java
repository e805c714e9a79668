package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assumptions.abort;

import ai.lram.backend.Backend;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.contract.MatmulContract;
import ai.lram.backend.ops.Activation;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class OpenBlasMatmulTest extends MatmulContract {
    @BeforeAll
    static void requireOpenBlas() {
        try {
            BlasCore.name();
        } catch (UnsatisfiedLinkError e) {
            abort("OpenBLAS does not load on this system: " + e.getMessage());
        }
    }

    @Override
    protected Backend openBackend() {
        return LibraryMatmul.open("openblas", 2);
    }

    @Test
    void oneAndTwoThreadsGiveTheSameBits() {
        int m = 500;
        int k = 70;
        int n = 90;
        float[] x = fx.normal(m * k, 1);
        float[] w = fx.normal(n * k, 1);
        float[] dy = fx.normal(m * n, 1);
        float[][] first = null;
        for (int threads = 1; threads <= 2; threads++) {
            try (Backend b = LibraryMatmul.open("openblas", threads);
                    Fixture f = new Fixture(b)) {
                Tensor tx = f.of(x, m, k);
                Tensor tdy = f.of(dy, m, n);
                Tensor tw = f.of(w, n, k);
                Tensor[] out = {f.poisoned(m, n), f.poisoned(m, k), f.zeros(n, k)};
                f.ops.matmul().linear(f.stream, tx, tw, null, Activation.NONE, out[0]);
                f.ops.matmul().linearBackwardInput(f.stream, tdy, tw, false, out[1]);
                f.ops.matmul().linearBackwardWeight(f.stream, tdy, tx, out[2], null);
                float[][] got = {f.read(out[0]), f.read(out[1]), f.read(out[2])};
                if (first == null) {
                    first = got;
                }
                for (int i = 0; i < got.length; i++) {
                    assertArrayEquals(first[i], got[i], "output " + i);
                }
            }
        }
    }
}
