package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.ElementwiseContract;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.ops.Activation;
import org.junit.jupiter.api.Test;

class CpuElementwiseTest extends ElementwiseContract {
    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }

    @Test
    void oneAndTwoThreadsGiveTheSameBits() {
        int rows = 700;
        int width = 133;
        float[] x = fx.normal(rows * width, 2);
        float[] skip = fx.normal(width, 1);
        float[][] first = null;
        for (int threads = 1; threads <= 2; threads++) {
            try (Backend b = new CpuBackend(BackendOptions.threads(threads));
                    Fixture f = new Fixture(b)) {
                Tensor t = f.of(x, rows, width);
                Tensor[] out = {
                    f.poisoned(rows * width), f.poisoned(rows * width), f.poisoned(rows * width), f.zeros(width)
                };
                f.ops.elementwise()
                        .skipGateBackward(f.stream, t, f.of(skip, width), t, t, t, out[0], out[3], out[1], out[2]);
                f.ops.elementwise().gate(f.stream, Activation.GELU, t, t, out[0]);
                float[][] got = {f.read(out[0]), f.read(out[1]), f.read(out[2]), f.read(out[3])};
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
