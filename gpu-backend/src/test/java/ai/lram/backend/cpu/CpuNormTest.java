package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.contract.NormContract;
import ai.lram.backend.ops.NormSpec;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CpuNormTest extends NormContract {
    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }

    @ParameterizedTest
    @ValueSource(ints = {133, 256})
    void oneAndTwoThreadsGiveTheSameBits(int width) {
        int rows = 900;
        NormSpec spec = new NormSpec(1, 1e-5f, true, true);
        float[] x = fx.normal(rows * width, 2);
        float[] w = fx.normal(width, 1);
        float[][] first = null;
        for (int threads = 1; threads <= 2; threads++) {
            try (Backend b = new CpuBackend(BackendOptions.threads(threads));
                    Fixture f = new Fixture(b)) {
                Tensor t = f.of(x, rows, width);
                Tensor tw = f.of(w, width);
                Tensor[] out = {
                    f.poisoned(rows, width),
                    f.poisoned(rows),
                    f.poisoned(rows),
                    f.poisoned(rows, width),
                    f.zeros(width),
                    f.zeros(width)
                };
                f.ops.norm().forward(f.stream, spec, t, tw, tw, out[0], out[1], out[2]);
                f.ops.norm().backward(f.stream, spec, out[0], t, tw, out[1], out[2], out[3], out[4], out[5]);
                float[][] got = new float[out.length][];
                for (int i = 0; i < got.length; i++) {
                    got[i] = f.read(out[i]);
                }
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
