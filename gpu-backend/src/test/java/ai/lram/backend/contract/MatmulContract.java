package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MatmulOps;
import ai.lram.backend.ops.PackedWeight;
import ai.lram.backend.reference.NumericGradient;
import ai.lram.backend.reference.ReferenceElementwise;
import ai.lram.backend.reference.ReferenceMatmul;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every engine's products with weight matrices must do. */
public abstract class MatmulContract extends KernelContract {
    /** A chain of a few hundred fp32 additions; BLAS libraries lose as much. */
    private static final double TOLERANCE = 1e-6;

    private MatmulOps ops() {
        return fx.ops.matmul();
    }

    private static double[] plus(double[] a, float[] b) {
        double[] sum = a.clone();
        for (int i = 0; i < sum.length; i++) {
            sum[i] += b[i];
        }
        return sum;
    }

    @ParameterizedTest(name = "M={0} K={1} N={2}")
    @CsvSource({
        "1,1,1",
        "2,3,5",
        "3,64,9",
        "3,512,80",
        "4,17,8",
        "5,33,7",
        "6,16,13",
        "7,40,64",
        "8,65,26",
        "9,100,31",
        "13,257,11",
        "16,128,96",
        "24,96,50",
        "31,63,33",
        "33,47,65",
        "40,300,18",
        "63,2,63",
        "65,257,33",
        "100,64,1",
        "97,1,37",
        "130,130,130",
        "257,520,65",
        "1100,24,40",
        "2,4096,40",
        "1,1000,300"
    })
    void linearAndItsGradientsAgreeWithTheReference(int m, int k, int n) {
        float[] x = fx.normal(m * k, 1);
        float[] w = fx.normal(n * k, 1);
        float[] bias = fx.normal(n, 1);
        float[] dy = fx.normal(m * n, 1);
        double[] x64 = Fixture.doubles(x);
        double[] w64 = Fixture.doubles(w);
        double[] dy64 = Fixture.doubles(dy);
        Tensor tx = fx.of(x, m, k);
        Tensor tw = fx.of(w, n, k);
        Tensor tdy = fx.of(dy, m, n);
        Tensor y = fx.poisoned(m, n);
        ops().linear(fx.stream, tx, tw, null, Activation.NONE, y);
        fx.assertClose("y", ReferenceMatmul.linear(m, n, k, x64, w64, null), y, TOLERANCE);
        ops().linear(fx.stream, tx, tw, fx.of(bias, n), Activation.NONE, y);
        fx.assertClose("y with bias", ReferenceMatmul.linear(m, n, k, x64, w64, Fixture.doubles(bias)), y, TOLERANCE);

        double[] wantDx = ReferenceMatmul.linearBackwardInput(m, n, k, dy64, w64);
        Tensor dx = fx.poisoned(m, k);
        ops().linearBackwardInput(fx.stream, tdy, tw, false, dx);
        fx.assertClose("dx", wantDx, dx, TOLERANCE);
        float[] dx0 = fx.normal(m * k, 1);
        Tensor dxSum = fx.of(dx0, m, k);
        ops().linearBackwardInput(fx.stream, tdy, tw, true, dxSum);
        fx.assertClose("dx added", plus(wantDx, dx0), dxSum, TOLERANCE);

        float[] dw0 = fx.normal(n * k, 1);
        float[] db0 = fx.normal(n, 1);
        double[] wantDw = plus(ReferenceMatmul.linearBackwardWeight(m, n, k, dy64, x64), dw0);
        Tensor dw = fx.of(dw0, n, k);
        Tensor db = fx.of(db0, n);
        ops().linearBackwardWeight(fx.stream, tdy, tx, dw, db);
        fx.assertClose("dw", wantDw, dw, sumTolerance(m));
        fx.assertClose("dbias", plus(ReferenceMatmul.columnSums(m, n, dy64), db0), db, sumTolerance(m));
        Tensor dwAlone = fx.of(dw0, n, k);
        ops().linearBackwardWeight(fx.stream, tdy, tx, dwAlone, null);
        fx.assertClose("dw without dbias", wantDw, dwAlone, sumTolerance(m));
    }

    /** A library may add all terms one after the other; the error of such a sum grows as the root of their number. */
    private static double sumTolerance(int terms) {
        return TOLERANCE * Math.max(1, Math.sqrt(terms / 512.0));
    }

    @ParameterizedTest(name = "M={0} K={1} N={2}")
    @CsvSource({
        "1,1,1",
        "2,3,5",
        "3,31,9",
        "3,32,8",
        "3,33,12",
        "3,512,80",
        "3,1024,512",
        "3,257,1100",
        "4,64,13",
        "5,47,7",
        "6,100,31",
        "24,96,50",
        "24,96,56",
        "35,65,26",
        "192,640,264"
    })
    void packedWeightsAreMultipliedAsTheyAreStored(int m, int k, int n) {
        float[] x = fx.normal(m * k, 1);
        float[] w = fx.normal(n * k, 1);
        float[] bias = fx.normal(n, 1);
        Tensor tx = fx.of(x, m, k);
        Tensor tw = fx.of(w, n, k);
        Tensor tb = fx.of(bias, n);
        for (DType type : new DType[] {DType.F32, DType.BF16, DType.I8}) {
            if (!ops().packs(type)) {
                assertEquals(DType.F32, type, "bf16 and int8 are for every engine");
                PackedWeight refused = PackedWeight.allocate(fx.arena, type, n, k);
                assertThrows(ShapeMismatchException.class, () -> ops().pack(fx.stream, tw, refused));
                continue;
            }
            PackedWeight packed = PackedWeight.allocate(fx.arena, type, n, k);
            ops().pack(fx.stream, tw, packed);
            double[] stored =
                    switch (type) {
                        case F32 -> Fixture.doubles(w);
                        case BF16 -> ReferenceMatmul.bf16(w);
                        default -> ReferenceMatmul.int8(n, k, w);
                    };
            Tensor y = fx.poisoned(m, n);
            ops().linearPacked(fx.stream, tx, packed, null, Activation.NONE, y);
            double[] want = ReferenceMatmul.linear(m, n, k, Fixture.doubles(x), stored, null);
            fx.assertClose(type + " y", want, y, 2 * TOLERANCE); // summed column after column
            ops().linearPacked(fx.stream, tx, packed, tb, Activation.SILU, y);
            want = ReferenceMatmul.linear(m, n, k, Fixture.doubles(x), stored, Fixture.doubles(bias));
            fx.assertClose(
                    type + " y with bias and activation",
                    Arrays.stream(want)
                            .map(v -> ReferenceElementwise.value(Activation.SILU, v))
                            .toArray(),
                    y,
                    2 * TOLERANCE);
        }
    }

    @ParameterizedTest(name = "rows {0} to {0} + {1} of 150")
    @CsvSource({"0,64", "64,64", "0,128", "128,22", "64,86", "0,150"})
    void aPartOfAPackedWeightIsItsRows(int first, int n) {
        int m = 3;
        int k = 40;
        int all = 150;
        float[] w = fx.normal(all * k, 1);
        Tensor x = fx.of(fx.normal(m * k, 1), m, k);
        for (DType type : new DType[] {DType.F32, DType.BF16, DType.I8}) {
            if (!ops().packs(type)) {
                continue;
            }
            PackedWeight packed = PackedWeight.allocate(fx.arena, type, all, k);
            ops().pack(fx.stream, fx.of(w, all, k), packed);
            Tensor whole = fx.poisoned(m, all);
            ops().linearPacked(fx.stream, x, packed, null, Activation.NONE, whole);
            Tensor part = fx.poisoned(m, n);
            ops().linearPacked(fx.stream, x, packed.part(first, n), null, Activation.NONE, part);
            float[] want = fx.read(whole);
            float[] got = fx.read(part);
            for (int row = 0; row < m; row++) {
                assertArrayEquals(
                        Arrays.copyOfRange(want, row * all + first, row * all + first + n),
                        Arrays.copyOfRange(got, row * n, (row + 1) * n),
                        type + " row " + row);
            }
        }
    }

    @ParameterizedTest(name = "rows {0} to {0} + {1} of 150")
    @CsvSource({"1,64", "0,63", "64,64000", "128,23", "0,0", "-64,64", "192,1"})
    void aPartThatIsNotWholeTilesIsRefused(int first, int n) {
        PackedWeight packed = PackedWeight.allocate(fx.arena, DType.BF16, 150, 8);
        assertThrows(ShapeMismatchException.class, () -> packed.part(first, n));
    }

    @Test
    void fp16IsPackedBesideBf16OrRefused() {
        int n = 70;
        int k = 24;
        int m = 30;
        Tensor w = fx.of(fx.normal(n * k, 1), n, k);
        PackedWeight once = PackedWeight.allocate(fx.arena, DType.BF16, n, k);
        PackedWeight twice = PackedWeight.allocateTwice(fx.arena, n, k);
        assertThrows(ShapeMismatchException.class, () -> ops().pack(fx.stream, w, twice.fp16()));
        assertThrows(ShapeMismatchException.class, () -> new PackedWeight(n, once.data(), null, once));
        assertThrows(
                ShapeMismatchException.class,
                () -> new PackedWeight(n, once.data(), null, PackedWeight.allocate(fx.arena, DType.F16, n + 1, k)));
        if (!ops().packsTwice()) {
            assertThrows(ShapeMismatchException.class, () -> ops().pack(fx.stream, w, twice));
            assertFalse(fx.ops.session().readsFp16(DType.BF16, 64), "what is read is packed");
            return;
        }
        ops().pack(fx.stream, w, twice);
        ops().pack(fx.stream, w, once);
        Tensor x = fx.of(fx.normal(m * k, 1), m, k);
        Tensor want = fx.poisoned(m, n);
        Tensor got = fx.poisoned(m, n);
        ops().linearPacked(fx.stream, x, once, null, Activation.NONE, want);
        ops().linearPacked(fx.stream, x, twice, null, Activation.NONE, got);
        assertArrayEquals(fx.read(want), fx.read(got));
        assertThrows(ShapeMismatchException.class, () -> ops().linearPacked(
                        fx.stream, x, twice.fp16(), null, Activation.NONE, got));
    }

    @Test
    void narrowingRoundsToTheNearestAndTiesToEven() {
        // Between 1 and 1 + 2^-7 lies the tie 1 + 2^-8; bf16 keeps 7 bits of the fraction.
        float[] w = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, -(1 + 0x1p-8f), 1 + 0x1.1p-8f, 0f, 3e38f};
        PackedWeight packed = PackedWeight.allocate(fx.arena, DType.BF16, w.length, 1);
        ops().pack(fx.stream, fx.of(w, w.length, 1), packed);
        Tensor y = fx.poisoned(1, w.length);
        ops().linearPacked(fx.stream, fx.of(new float[] {1}, 1, 1), packed, null, Activation.NONE, y);
        float large = (float) ReferenceMatmul.bf16(new float[] {3e38f})[0];
        assertArrayEquals(new float[] {1f, 1 + 4 * 0x1p-8f, -1f, 1 + 2 * 0x1p-8f, 0f, large}, fx.read(y));
    }

    @Test
    void aRowOfZerosStaysZeroInInt8AndSizesThatDoNotFitAreRefused() {
        PackedWeight packed = PackedWeight.allocate(fx.arena, DType.I8, 2, 3);
        ops().pack(fx.stream, fx.of(new float[] {0, 0, 0, 1, -2, 127}, 2, 3), packed);
        Tensor y = fx.poisoned(1, 2);
        ops().linearPacked(fx.stream, fx.of(new float[] {1, 1, 1}, 1, 3), packed, null, Activation.NONE, y);
        assertArrayEquals(new float[] {0, 126}, fx.read(y));
        Tensor other = fx.of(new float[4], 2, 2);
        assertThrows(ShapeMismatchException.class, () -> ops().pack(fx.stream, other, packed));
        assertThrows(ShapeMismatchException.class, () -> PackedWeight.allocate(fx.arena, DType.I32, 2, 2));
        assertThrows(ShapeMismatchException.class, () -> new PackedWeight(2, other, null));
    }

    @ParameterizedTest
    @EnumSource(Activation.class)
    void linearAppliesItsActivation(Activation act) {
        for (int m : new int[] {3, 70}) {
            float[] x = fx.normal(m * 20, 1);
            float[] w = fx.normal(33 * 20, 0.3);
            float[] bias = fx.normal(33, 1);
            double[] want =
                    ReferenceMatmul.linear(m, 33, 20, Fixture.doubles(x), Fixture.doubles(w), Fixture.doubles(bias));
            Tensor y = fx.poisoned(m, 33);
            ops().linear(fx.stream, fx.of(x, m, 20), fx.of(w, 33, 20), fx.of(bias, 33), act, y);
            fx.assertClose(
                    act.name(),
                    Arrays.stream(want)
                            .map(v -> ReferenceElementwise.value(act, v))
                            .toArray(),
                    y,
                    2 * TOLERANCE);
        }
    }

    @ParameterizedTest(name = "M={0} G={1} DO={2} DI={3}")
    @CsvSource({
        "1,1,1,1",
        "3,128,4,4",
        "3,5,4,4",
        "5,3,4,4",
        "33,20,4,4",
        "200,65,4,4",
        "1030,32,4,4",
        "2,3,2,5",
        "3,4,16,16",
        "40,4,32,32",
        "65,2,17,33",
        "300,4,64,64",
        "3,4,128,128",
        "70,3,8,8",
        "7,1,4,4"
    })
    void headwiseAndItsGradientsAgreeWithTheReference(int m, int groups, int dimOut, int dimIn) {
        float[] x = fx.normal(m * groups * dimIn, 1);
        float[] w = fx.normal(groups * dimOut * dimIn, 1);
        float[] bias = fx.normal(groups * dimOut, 1);
        float[] dy = fx.normal(m * groups * dimOut, 1);
        double[] x64 = Fixture.doubles(x);
        double[] w64 = Fixture.doubles(w);
        double[] dy64 = Fixture.doubles(dy);
        Tensor tx = fx.of(x, m, groups * dimIn);
        Tensor tw = fx.of(w, groups, dimOut, dimIn);
        Tensor tdy = fx.of(dy, m, groups * dimOut);
        Tensor y = fx.poisoned(m, groups * dimOut);
        ops().headwise(fx.stream, tx, tw, null, y);
        fx.assertClose("y", ReferenceMatmul.headwise(m, groups, dimOut, dimIn, x64, w64, null), y, TOLERANCE);
        ops().headwise(fx.stream, tx, tw, fx.of(bias, groups * dimOut), y);
        fx.assertClose(
                "y with bias",
                ReferenceMatmul.headwise(m, groups, dimOut, dimIn, x64, w64, Fixture.doubles(bias)),
                y,
                TOLERANCE);

        double[] wantDx = ReferenceMatmul.headwiseBackwardInput(m, groups, dimOut, dimIn, dy64, w64);
        Tensor dx = fx.poisoned(m, groups * dimIn);
        ops().headwiseBackwardInput(fx.stream, tdy, tw, false, dx);
        fx.assertClose("dx", wantDx, dx, TOLERANCE);
        float[] dx0 = fx.normal(m * groups * dimIn, 1);
        Tensor dxSum = fx.of(dx0, m, groups * dimIn);
        ops().headwiseBackwardInput(fx.stream, tdy, tw, true, dxSum);
        fx.assertClose("dx added", plus(wantDx, dx0), dxSum, TOLERANCE);

        float[] dw0 = fx.normal(w.length, 1);
        float[] db0 = fx.normal(bias.length, 1);
        Tensor dw = fx.of(dw0, groups, dimOut, dimIn);
        Tensor db = fx.of(db0, groups * dimOut);
        ops().headwiseBackwardWeight(fx.stream, tdy, tx, dw, db);
        double[] wantDw = plus(ReferenceMatmul.headwiseBackwardWeight(m, groups, dimOut, dimIn, dy64, x64), dw0);
        fx.assertClose("dw", wantDw, dw, TOLERANCE);
        fx.assertClose("dbias", plus(ReferenceMatmul.columnSums(m, groups * dimOut, dy64), db0), db, TOLERANCE);
        Tensor dwAlone = fx.of(dw0, groups, dimOut, dimIn);
        ops().headwiseBackwardWeight(fx.stream, tdy, tx, dwAlone, null);
        fx.assertClose("dw without dbias", wantDw, dwAlone, TOLERANCE);
    }

    @Test
    void theReferenceGradientsAreTheDerivatives() {
        int m = 3;
        int n = 4;
        int k = 5;
        double[] x = Fixture.doubles(fx.normal(m * k, 1));
        double[] w = Fixture.doubles(fx.normal(n * k, 1));
        double[] dy = Fixture.doubles(fx.normal(m * n, 1));
        NumericGradient.assertAgrees(
                "dx",
                ReferenceMatmul.linearBackwardInput(m, n, k, dy, w),
                NumericGradient.of(x, v -> dot(dy, ReferenceMatmul.linear(m, n, k, v, w, null))),
                1e-9);
        NumericGradient.assertAgrees(
                "dw",
                ReferenceMatmul.linearBackwardWeight(m, n, k, dy, x),
                NumericGradient.of(w, v -> dot(dy, ReferenceMatmul.linear(m, n, k, x, v, null))),
                1e-9);
        double[] hx = Fixture.doubles(fx.normal(3 * 2 * 3, 1));
        double[] hw = Fixture.doubles(fx.normal(2 * 4 * 3, 1));
        double[] hdy = Fixture.doubles(fx.normal(3 * 2 * 4, 1));
        NumericGradient.assertAgrees(
                "headwise dx",
                ReferenceMatmul.headwiseBackwardInput(3, 2, 4, 3, hdy, hw),
                NumericGradient.of(hx, v -> dot(hdy, ReferenceMatmul.headwise(3, 2, 4, 3, v, hw, null))),
                1e-9);
        NumericGradient.assertAgrees(
                "headwise dw",
                ReferenceMatmul.headwiseBackwardWeight(3, 2, 4, 3, hdy, hx),
                NumericGradient.of(hw, v -> dot(hdy, ReferenceMatmul.headwise(3, 2, 4, 3, hx, v, null))),
                1e-9);
    }

    private static double dot(double[] a, double[] b) {
        double s = 0;
        for (int i = 0; i < a.length; i++) {
            s += a[i] * b[i];
        }
        return s;
    }

    @ParameterizedTest
    @ValueSource(ints = {3, 24, 70})
    void nanStaysInItsRow(int m) {
        int k = 40;
        int n = 37;
        float[] x = fx.normal(m * k, 1);
        x[1 * k + 39] = Float.NaN;
        Tensor y = fx.poisoned(m, n);
        ops().linear(fx.stream, fx.of(x, m, k), fx.of(fx.normal(n * k, 1), n, k), null, Activation.NONE, y);
        float[] got = fx.read(y);
        for (int i = 0; i < got.length; i++) {
            assertEquals(i / n == 1, Float.isNaN(got[i]), "element " + i);
        }
        float[] dy = fx.normal(m * n, 1);
        dy[2 * n] = Float.NaN;
        Tensor dx = fx.poisoned(m, k);
        ops().linearBackwardInput(fx.stream, fx.of(dy, m, n), fx.of(fx.normal(n * k, 1), n, k), false, dx);
        got = fx.read(dx);
        for (int i = 0; i < got.length; i++) {
            assertEquals(i / k == 2, Float.isNaN(got[i]), "element " + i);
        }
    }

    @Test
    void wrongShapesAreRefusedAndNothingIsWritten() {
        Tensor x = fx.zeros(3, 8);
        Tensor w = fx.zeros(5, 8);
        Tensor y = fx.poisoned(3, 5);
        Tensor odd = fx.poisoned(23);
        assertRefused(() -> ops().linear(fx.stream, odd, w, null, Activation.NONE, y), y);
        assertRefused(() -> ops().linear(fx.stream, x, null, null, Activation.NONE, y), y);
        assertRefused(() -> ops().linear(fx.stream, x, w, fx.zeros(4), Activation.NONE, y), y);
        assertRefused(() -> ops().linear(fx.stream, x, w, null, Activation.NONE, odd), odd);
        assertRefused(() -> ops().linear(fx.stream, fx.ofInts(new int[24], 3, 8), w, null, Activation.NONE, y), y);
        Tensor dx = fx.poisoned(3, 8);
        assertRefused(() -> ops().linearBackwardInput(fx.stream, odd, w, false, dx), dx);
        assertRefused(() -> ops().linearBackwardInput(fx.stream, y, w, false, odd), odd);
        Tensor dw = fx.poisoned(5, 8);
        assertRefused(() -> ops().linearBackwardWeight(fx.stream, odd, x, dw, null), dw);
        assertRefused(() -> ops().linearBackwardWeight(fx.stream, y, odd, dw, null), dw);
        assertRefused(() -> ops().linearBackwardWeight(fx.stream, y, x, dw, fx.zeros(4)), dw);
        Tensor hw = fx.zeros(2, 3, 4);
        Tensor hy = fx.poisoned(3, 6);
        assertRefused(() -> ops().headwise(fx.stream, odd, hw, null, hy), hy);
        assertRefused(() -> ops().headwise(fx.stream, x, fx.zeros(24), null, hy), hy);
        assertRefused(() -> ops().headwise(fx.stream, x, hw, fx.zeros(5), hy), hy);
        assertRefused(() -> ops().headwise(fx.stream, x, hw, null, odd), odd);
        assertRefused(() -> ops().headwiseBackwardInput(fx.stream, odd, hw, false, dx), dx);
        assertRefused(() -> ops().headwiseBackwardWeight(fx.stream, odd, x, hw, null), hw);
    }
}
