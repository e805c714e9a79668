package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.contract.MatmulContract;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MatmulOps;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CpuMatmulTest extends MatmulContract {
    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }

    @ParameterizedTest(name = "M={0} K={1} N={2}")
    @CsvSource({"3,1030,2050", "20,515,1300", "70,300,517", "400,133,260", "1000,600,70"})
    void oneAndTwoThreadsGiveTheSameBits(int m, int k, int n) {
        float[] x = fx.normal(m * k, 1);
        float[] w = fx.normal(n * k, 1);
        float[] dy = fx.normal(m * n, 1);
        float[][] first = null;
        for (int threads = 1; threads <= 3; threads++) {
            try (Backend b = new CpuBackend(BackendOptions.threads(threads));
                    Fixture f = new Fixture(b)) {
                MatmulOps ops = f.ops.matmul();
                Tensor tx = f.of(x, m, k);
                Tensor tw = f.of(w, n, k);
                Tensor tdy = f.of(dy, m, n);
                Tensor[] out = {f.poisoned(m, n), f.poisoned(m, k), f.zeros(n, k), f.zeros(n)};
                ops.linear(f.stream, tx, tw, null, Activation.SILU, out[0]);
                ops.linearBackwardInput(f.stream, tdy, tw, false, out[1]);
                ops.linearBackwardWeight(f.stream, tdy, tx, out[2], out[3]);
                float[][] got = new float[out.length][];
                for (int i = 0; i < got.length; i++) {
                    got[i] = f.read(out[i]);
                }
                if (first == null) {
                    first = got;
                }
                for (int i = 0; i < got.length; i++) {
                    assertArrayEquals(first[i], got[i], "output " + i + " with " + threads + " threads");
                }
            }
        }
    }

    @ParameterizedTest(name = "M={0} G={1} D={2}")
    @CsvSource({"700,65,4", "600,4,48"})
    void headwiseGivesTheSameBitsOnOneAndTwoThreads(int m, int groups, int d) {
        int width = groups * d;
        float[] x = fx.normal(m * width, 1);
        float[] w = fx.normal(width * d, 1);
        float[][] first = null;
        for (int threads = 1; threads <= 2; threads++) {
            try (Backend b = new CpuBackend(BackendOptions.threads(threads));
                    Fixture f = new Fixture(b)) {
                Tensor tx = f.of(x, m, width);
                Tensor tw = f.of(w, groups, d, d);
                Tensor[] out = {f.poisoned(m, width), f.poisoned(m, width), f.zeros(groups, d, d)};
                f.ops.matmul().headwise(f.stream, tx, tw, null, out[0]);
                f.ops.matmul().headwiseBackwardInput(f.stream, tx, tw, false, out[1]);
                f.ops.matmul().headwiseBackwardWeight(f.stream, tx, tx, out[2], null);
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
