package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.KernelContract;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.PackedWeight;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;

/** Warm kernels of the control step leave next to no garbage. */
@Tag("allocation")
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class KernelAllocationTest extends KernelContract {
    private static final int WARM_UP = 10_000;
    private static final int MEASURED = 500;

    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }

    private static void assertAllocatesLittle(String what, Runnable code) {
        WarmGarbage.assertLittle(what, WARM_UP, MEASURED, code);
    }

    private Tensor rows(int rows, int width) {
        return fx.of(fx.normal(rows * width, 1), rows, width);
    }

    @Test
    void linearOfFewRowsAllocatesLittle() {
        Tensor w = rows(67, 70);
        Tensor bias = fx.zeros(67);
        for (int m : new int[] {1, 3, 24}) {
            Tensor x = rows(m, 70);
            Tensor y = fx.zeros(m, 67);
            assertAllocatesLittle(
                    "linear of " + m + " rows",
                    () -> fx.ops.matmul().linear(fx.stream, x, w, bias, Activation.NONE, y));
        }
    }

    @Test
    void linearOverPackedWeightsAllocatesLittle() {
        Tensor w = rows(67, 70);
        Tensor bias = fx.zeros(67);
        for (DType type : new DType[] {DType.F32, DType.BF16, DType.I8}) {
            PackedWeight packed = PackedWeight.allocate(fx.arena, type, 67, 70);
            fx.ops.matmul().pack(fx.stream, w, packed);
            for (int m : new int[] {1, 3, 24}) {
                Tensor x = rows(m, 70);
                Tensor y = fx.zeros(m, 67);
                assertAllocatesLittle(
                        "linear of " + m + " rows over " + type,
                        () -> fx.ops.matmul().linearPacked(fx.stream, x, packed, bias, Activation.NONE, y));
            }
        }
    }

    /** The head's product: one call a step, so that what it calls once counts as hot only after 5000 steps. First, before others make it hot. */
    @Test
    @Order(1)
    void aProductLeavesNothingLongBeforeWhatItCallsOnceCountsAsHot() {
        Tensor w = rows(274, 192);
        Tensor bias = fx.zeros(274);
        PackedWeight packed = PackedWeight.allocate(fx.arena, DType.BF16, 274, 192);
        fx.ops.matmul().pack(fx.stream, w, packed);
        Tensor x = rows(1, 192);
        Tensor y = fx.zeros(1, 274);
        WarmGarbage.assertNoneWithin("a head", 4000, 250, () -> fx.ops
                .matmul()
                .linearPacked(fx.stream, x, packed, bias, Activation.NONE, y));
    }

    @Test
    void headwiseOfFewRowsAllocatesLittle() {
        Tensor x = rows(3, 128);
        Tensor y = fx.zeros(3, 128);
        Tensor small = fx.of(fx.normal(512, 1), 32, 4, 4);
        Tensor large = fx.of(fx.normal(4 * 32 * 32, 1), 4, 32, 32);
        assertAllocatesLittle("headwise 4", () -> fx.ops.matmul().headwise(fx.stream, x, small, null, y));
        assertAllocatesLittle("headwise 32", () -> fx.ops.matmul().headwise(fx.stream, x, large, null, y));
    }

    @Test
    void normsOfFewRowsAllocateLittle() {
        Tensor x = rows(3, 132);
        Tensor w = fx.zeros(132);
        Tensor y = fx.zeros(3, 132);
        NormSpec layer = new NormSpec(1, 1e-5f, true, true);
        NormSpec heads = new NormSpec(4, 1e-5f, true, false);
        assertAllocatesLittle("layer norm", () -> fx.ops.norm().forward(fx.stream, layer, x, w, w, y, null, null));
        assertAllocatesLittle(
                "multi-head norm", () -> fx.ops.norm().forward(fx.stream, heads, x, w, null, y, null, null));
    }

    @Test
    void pointwiseKernelsOfFewRowsAllocateLittle() {
        Tensor x = rows(3, 70);
        Tensor u = rows(3, 70);
        Tensor y = fx.zeros(3, 70);
        Tensor skip = fx.zeros(70);
        for (Activation act : Activation.values()) {
            assertAllocatesLittle(
                    act + " activation", () -> fx.ops.elementwise().activation(fx.stream, act, x, y));
            assertAllocatesLittle(act + " gate", () -> fx.ops.elementwise().gate(fx.stream, act, x, u, y));
        }
        assertAllocatesLittle("add", () -> fx.ops.elementwise().add(fx.stream, x, u, y));
        assertAllocatesLittle("skipGate", () -> fx.ops.elementwise().skipGate(fx.stream, x, skip, u, x, y));
        assertAllocatesLittle("softCap", () -> fx.ops.elementwise().softCap(fx.stream, 30, x, y));
        assertAllocatesLittle(
                "copyRows", () -> fx.ops.elementwise().copyRows(fx.stream, 3, 69, x, 1, 70, y, 0, 70, true));
    }

    @Test
    void lookupOfFewRowsAllocatesLittle() {
        Tensor ids = fx.ofInts(new int[] {2, 0, 1}, 3);
        Tensor table = rows(3, 70);
        Tensor y = fx.zeros(3, 70);
        assertAllocatesLittle("lookup", () -> fx.ops.embedding().lookup(fx.stream, ids, table, y));
    }
}
