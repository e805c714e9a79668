package ai.lram.backend.cpu;

import ai.lram.backend.BackendOptions;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** A warm control step leaves next to no garbage. */
@Tag("allocation")
class SessionAllocationTest {
    private static final int WARM_UP = 20_000;
    private static final int MEASURED = 1_000;

    private static void assertAllocatesLittle(String what, Runnable code) {
        WarmGarbage.assertLittle(what, WARM_UP, MEASURED, code);
    }

    @Test
    void mlstmStepAllocatesLittle() {
        try (CpuBackend backend = new CpuBackend(BackendOptions.threads(2));
                Fixture fx = new Fixture(backend)) {
            FoldSchedule schedule = new FoldSchedule(12, 6, 2);
            MlstmSlots state = new MlstmSlots(
                    fx.zeros(2, 2, 16, 64),
                    fx.zeros(2, 2, 16),
                    fx.zeros(2, 2),
                    fx.zeros(2, 2, 12, 16),
                    fx.zeros(2, 2, 12, 64),
                    fx.zeros(2, 2, 12),
                    fx.zeros(2, 2, 12),
                    fx.ofInts(new int[4], 2, 2),
                    fx.ofInts(new int[4], 2, 2));
            Tensor slots = fx.ofInts(new int[] {1}, 1);
            Tensor counts = fx.ofInts(new int[] {3}, 1);
            Tensor q = fx.of(fx.normal(3 * 32, 1), 1, 3, 2, 16);
            Tensor v = fx.of(fx.normal(3 * 128, 1), 1, 3, 2, 64);
            Tensor g = fx.of(fx.normal(6, 1), 1, 3, 2);
            Tensor h = fx.zeros(1, 3, 2, 64);
            MlstmSpec spec = MlstmSpec.exponential();
            assertAllocatesLittle("mlstmStep", () -> fx.ops
                    .session()
                    .mlstmStep(fx.stream, spec, schedule, 0, state, slots, counts, q, q, v, g, g, h));
        }
    }

    @Test
    void convolutionStepAllocatesLittle() {
        try (CpuBackend backend = new CpuBackend(BackendOptions.threads(2));
                Fixture fx = new Fixture(backend)) {
            Tensor slots = fx.ofInts(new int[] {1}, 1);
            Tensor counts = fx.ofInts(new int[] {3}, 1);
            Tensor x = fx.of(fx.normal(3 * 64, 1), 1, 3, 64);
            Tensor w = fx.of(fx.normal(256, 1), 64, 4);
            Tensor bias = fx.of(fx.normal(64, 1), 64);
            Tensor history = fx.zeros(2, 3, 64);
            Tensor y = fx.zeros(1, 3, 64);
            assertAllocatesLittle(
                    "causalConv1dStep",
                    () -> fx.ops.session().causalConv1dStep(fx.stream, slots, counts, x, w, bias, history, y));
        }
    }

    @Test
    void slstmStepAllocatesLittle() {
        try (CpuBackend backend = new CpuBackend(BackendOptions.threads(2));
                Fixture fx = new Fixture(backend)) {
            Tensor slots = fx.ofInts(new int[] {1}, 1);
            Tensor counts = fx.ofInts(new int[] {3}, 1);
            Tensor x = fx.of(fx.normal(3 * 32, 1), 1, 3, 32);
            Tensor r = fx.of(fx.normal(32 * 64, 0.1), 2, 16, 4, 16);
            Tensor bias = fx.zeros(4, 32);
            Tensor state = fx.zeros(2, 4, 32);
            Tensor y = fx.zeros(1, 3, 32);
            assertAllocatesLittle(
                    "slstmStep",
                    () -> fx.ops.session().slstmStep(fx.stream, 2, slots, counts, x, x, x, x, r, bias, state, y));
        }
    }

    @Test
    void gatesOfFewRowsAllocateLittle() {
        try (CpuBackend backend = new CpuBackend(BackendOptions.threads(2));
                Fixture fx = new Fixture(backend)) {
            Tensor x = fx.of(fx.normal(3 * 64, 1), 3, 64);
            Tensor w = fx.of(fx.normal(2 * 192, 0.1), 2, 192);
            Tensor b = fx.zeros(2);
            Tensor i = fx.zeros(3, 2);
            Tensor f = fx.zeros(3, 2);
            assertAllocatesLittle("gates", () -> fx.ops.mlstm().gates(fx.stream, x, x, x, w, b, w, b, i, f));
        }
    }
}
