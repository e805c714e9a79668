package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.contract.OptimizerContract;
import org.junit.jupiter.api.Test;

class CpuOptimizerTest extends OptimizerContract {
    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }

    @Test
    void oneAndTwoThreadsGiveTheSameBits() {
        int n = 100_003;
        float[] x = fx.normal(n, 2);
        float[] first = null;
        for (int threads = 1; threads <= 2; threads++) {
            try (Backend b = new CpuBackend(BackendOptions.threads(threads));
                    Fixture f = new Fixture(b)) {
                Tensor p = f.of(x, n);
                Tensor norm = f.zeros(1);
                Tensor hyper = f.of(new float[] {0.1f, 0.9f, 0.99f, 1e-6f, 0.1f, 0.1f, 0.01f, 1f}, 8);
                f.ops.optimizer().sumSquares(f.stream, p, norm);
                f.ops.optimizer().adamW(f.stream, hyper, norm, true, p, f.of(x, n), f.zeros(n), f.zeros(n));
                float[] got = f.read(p);
                if (first == null) {
                    first = got;
                }
                assertArrayEquals(first, got);
            }
        }
    }
}
