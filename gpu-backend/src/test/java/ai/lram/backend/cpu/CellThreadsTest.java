package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import ai.lram.backend.BackendOptions;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.contract.MlstmRun;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Cells give the same bits whatever the number of threads. */
class CellThreadsTest {
    private static float[] draw(Random r, int n) {
        float[] a = new float[n];
        for (int i = 0; i < n; i++) {
            a[i] = (float) r.nextGaussian();
        }
        return a;
    }

    private static List<float[]> mlstm(int threads) {
        Random r = new Random(3);
        int n = 3 * 90 * 4;
        try (CpuBackend backend = new CpuBackend(BackendOptions.threads(threads));
                Fixture fx = new Fixture(backend)) {
            MlstmRun run = new MlstmRun(
                    fx,
                    new MlstmDims(3, 90, 4, 32, 48),
                    MlstmSpec.exponential(),
                    draw(r, n * 32),
                    draw(r, n * 32),
                    draw(r, n * 48),
                    draw(r, n),
                    draw(r, n));
            run.last = run.poisonedState();
            run.forward(true).backward(draw(r, n * 48));
            List<float[]> all = new ArrayList<>();
            for (Tensor t : new Tensor[] {run.h, run.last.matC(), run.dq, run.dk, run.dv, run.di, run.df}) {
                all.add(fx.read(t));
            }
            return all;
        }
    }

    private static List<float[]> slstm(int threads) {
        Random r = new Random(3);
        int b = 19;
        int s = 70;
        int nh = 2;
        int dh = 40;
        int h = nh * dh;
        try (CpuBackend backend = new CpuBackend(BackendOptions.threads(threads));
                Fixture fx = new Fixture(backend)) {
            Tensor[] x = new Tensor[4];
            Tensor[] dx = new Tensor[4];
            for (int g = 0; g < 4; g++) {
                x[g] = fx.of(draw(r, b * s * h), b, s, h);
                dx[g] = fx.poisoned(b, s, h);
            }
            Tensor weights = fx.of(draw(r, h * 4 * dh), nh, dh, 4, dh);
            Tensor bias = fx.of(draw(r, 4 * h), 4, h);
            Tensor y = fx.poisoned(b, s, h);
            Tensor saved = fx.poisoned(Math.toIntExact(fx.ops.slstm().savedFloats(b, s, nh, dh)));
            Tensor scratch = fx.poisoned(Math.toIntExact(fx.ops.slstm().scratchFloats(b, s, nh, dh)));
            Tensor dr = fx.zeros(nh, dh, 4, dh);
            Tensor dbias = fx.zeros(4, h);
            fx.ops.slstm().forward(fx.stream, nh, x[0], x[1], x[2], x[3], weights, bias, null, y, null, saved, scratch);
            fx.ops
                    .slstm()
                    .backward(
                            fx.stream,
                            nh,
                            weights,
                            null,
                            y,
                            saved,
                            fx.of(draw(r, b * s * h), b, s, h),
                            null,
                            dx[0],
                            dx[1],
                            dx[2],
                            dx[3],
                            null,
                            dr,
                            dbias,
                            scratch);
            return List.of(
                    fx.read(y),
                    fx.read(dx[0]),
                    fx.read(dx[1]),
                    fx.read(dx[2]),
                    fx.read(dx[3]),
                    fx.read(dr),
                    fx.read(dbias));
        }
    }

    private static void assertSame(List<float[]> one, List<float[]> two) {
        for (int i = 0; i < one.size(); i++) {
            assertArrayEquals(one.get(i), two.get(i), "tensor " + i);
        }
    }

    @Test
    void mlstmGivesTheSameBitsOnOneAndTwoThreads() {
        assertSame(mlstm(1), mlstm(2));
    }

    @Test
    void slstmGivesTheSameBitsOnOneAndTwoThreads() {
        assertSame(slstm(1), slstm(2));
    }
}
