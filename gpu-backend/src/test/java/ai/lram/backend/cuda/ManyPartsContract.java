package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.KernelContract;
import ai.lram.backend.ops.PackedWeight;
import ai.lram.backend.reference.ReferenceMatmul;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What many sessions multiply: numbers of any size in few parts, and weights of any size in fp16. */
abstract class ManyPartsContract extends KernelContract {
    private static final int WIDTH = 72;
    private static final int HEADS = 2;
    private static final int INNER = 272;

    /** Of what one product's terms sum up to without their signs. */
    private static final double PRODUCT = 0x1p-20;

    private static final double SMALLEST = Float.MIN_VALUE;

    /** Rows of six kinds: large, small, of everything, zeros, with an infinity, with a number that is none. */
    private enum Kind {
        LARGE,
        SMALL,
        WIDE,
        ZERO,
        INFINITE,
        NOT_A_NUMBER;

        static Kind of(int row) {
            return values()[row % values().length];
        }

        boolean finite() {
            return this != INFINITE && this != NOT_A_NUMBER;
        }
    }

    private Engine engine() {
        return ((CudaBackend) ((Unclosed) backend).engine()).engine();
    }

    private float[] rows(int n, int columns, double large, double small) {
        float[] x = fx.normal(n * columns, 1);
        for (int i = 0; i < x.length; i++) {
            x[i] *= (float)
                    switch (Kind.of(i / columns)) {
                        case LARGE -> large;
                        case SMALL -> small;
                        case WIDE -> Math.pow(10, -6 + 10 * fx.random.nextDouble());
                        case ZERO -> 0;
                        case INFINITE, NOT_A_NUMBER -> 1;
                    };
        }
        for (int row = 0; row < n; row++) {
            int at = row * columns + fx.random.nextInt(columns);
            if (Kind.of(row) == Kind.INFINITE) {
                x[at] = Float.NEGATIVE_INFINITY;
            } else if (Kind.of(row) == Kind.NOT_A_NUMBER) {
                x[at] = Float.NaN;
            }
        }
        return x;
    }

    private KernelModule kernels(boolean fp16, boolean centred) {
        return new KernelModule(
                engine(),
                "mlstm_step_many",
                "MANY_WIDTH=" + WIDTH,
                "MANY_INNER=" + INNER,
                "MANY_HEADS=" + HEADS,
                "MANY_TOKENS=1",
                KernelModule.define("MANY_CENTRED", centred),
                KernelModule.define("MANY_RESIDUAL", true),
                KernelModule.define("MANY_HEAD_CENTRED", true),
                KernelModule.define("MANY_HEAD_RESIDUAL", true),
                KernelModule.define("MANY_FP16", fp16));
    }

    /** Numbers in parts, and what a row's are multiples of. */
    private final class Parts {
        final boolean fp16;
        final int n;
        final int columns;
        final Tensor data;
        final Tensor powers;

        Parts(boolean fp16, int n, int columns) {
            this.fp16 = fp16;
            this.n = n;
            this.columns = columns;
            DType type = fp16 ? DType.F16 : DType.BF16;
            data = fx.arena.allocate(type, CudaMatmul.parts(type), n, columns);
            powers = fx.poisoned(n);
        }

        /** What they are parts of. */
        double[] sums() {
            float[] parts = fx.read(data);
            float[] power = fx.read(powers);
            int size = n * columns;
            double[] sums = new double[size];
            for (int i = 0; i < size; i++) {
                sums[i] = fp16
                        ? (parts[i] + 0x1p-12 * parts[size + i]) * power[i / columns]
                        : (double) parts[i] + parts[size + i] + parts[2 * size + i];
            }
            return sums;
        }

        /** Numbers of {@code want} but for the last bit, and but for what no other of their row would notice. */
        void assertHold(double[] want, double slack) {
            double[] got = sums();
            for (int row = 0; row < n; row++) {
                double[] own = Arrays.copyOfRange(want, row * columns, (row + 1) * columns);
                double largest = Arrays.stream(own).map(Math::abs).max().orElseThrow();
                if (Arrays.stream(own).allMatch(Double::isFinite)) {
                    for (int j = 0; j < columns; j++) {
                        double lost = Math.abs(got[row * columns + j] - own[j]);
                        double most = fp16 ? Math.max(0x1p-23 * Math.abs(own[j]), 0x1p-51 * largest) : 0;
                        assertTrue(
                                lost <= most + slack * Math.abs(own[j]),
                                row + ", " + j + ": " + own[j] + " loses " + lost + " of " + largest);
                    }
                } else {
                    assertTrue(
                            Arrays.stream(got, row * columns, (row + 1) * columns)
                                    .anyMatch(Double::isNaN),
                            "row " + row);
                }
            }
        }
    }

    /** Those of x, as a block's last product takes them. */
    private Parts skip(KernelModule kernels, boolean fp16, int n, float[] x) {
        float gate = 128; // SiLU leaves it
        float[] c = new float[x.length];
        for (int i = 0; i < c.length; i++) {
            c[i] = x[i] / gate;
        }
        int parts = fp16 ? 2 : 3;
        float[] z = new float[parts * x.length];
        Arrays.fill(z, 0, x.length, fp16 ? gate / 2 : gate);
        float[] twos = new float[n];
        Arrays.fill(twos, 2);
        float[] ones = new float[INNER];
        Arrays.fill(ones, 1);
        Tensor one = fx.of(ones, INNER);
        int[] counts = new int[n];
        Arrays.fill(counts, 1);
        Parts to = new Parts(fp16, n, INNER);
        int warps = fp16 ? HEADS * 2 : 4;
        engine().launch(kernels.kernel("many_skip"))
                .put(fx.ofInts(counts, n))
                .put(fx.zeros(n, INNER))
                .put(fx.of(c, n, INNER))
                .put(fx.of(z, parts, n, INNER))
                .put(fx.of(twos, n))
                .put(one)
                .put(fx.zeros(INNER))
                .put(one)
                .put(to.data)
                .put(to.powers)
                .put(n)
                .put(INNER)
                .put(1e-5f)
                .faults()
                .run(fp16 ? n : (n * HEADS + 3) / 4, 1, 1, 32 * warps, 0);
        return to;
    }

    /** x is {@code before} and what a product left, and its norm is in parts. */
    private Parts norm(
            KernelModule kernels,
            boolean fp16,
            Tensor before,
            Tensor sums,
            Tensor ofTokens,
            Tensor ofWeights,
            Tensor weight) {
        int n = before.dim(0);
        Parts to = new Parts(fp16, n, WIDTH);
        engine().launch(kernels.kernel("many_norm"))
                .put(before)
                .put(sums)
                .put(ofTokens)
                .put(ofWeights)
                .put(weight)
                .put(to.data)
                .put(to.powers)
                .put(n)
                .put(1e-5f)
                .faults()
                .run(n, 1, 1, 128, 0);
        return to;
    }

    @ParameterizedTest(name = "fp16={0}")
    @CsvSource({"true", "false"})
    void partsHoldNumbersOfAnySizeAndProductsAreThoseOfThem(boolean fp16) {
        int n = 19;
        KernelModule kernels = kernels(fp16, true);
        float[] x = rows(n, INNER, 1e30, 1e-30);
        Parts parts = skip(kernels, fp16, n, x);
        double[] x64 = new double[x.length];
        Arrays.setAll(x64, i -> x[i]);
        parts.assertHold(x64, 0);

        float[] w = rows(WIDTH, INNER, 1e5, 1e-30);
        for (int i = 0; i < w.length; i++) {
            w[i] = Float.isFinite(w[i]) ? w[i] : 0;
        }
        PackedWeight packed = PackedWeight.allocateTwice(fx.arena, WIDTH, INNER);
        fx.ops.matmul().pack(fx.stream, fx.of(w, WIDTH, INNER), packed);
        PackedWeight multiplied = fp16 ? packed.fp16() : packed;
        Tensor sums = fx.poisoned(fp16 ? 2 : 3, n, WIDTH);
        Products products = new Products(engine(), Products.Precision.FP32);
        CudaMatmul.manyParts(products, "test", parts.data.address(), multiplied, n, sums.address());
        Tensor y = fx.zeros(n, WIDTH);
        norm(kernels, fp16, y, sums, parts.powers, multiplied.scale(), null);

        double[] stored = ReferenceMatmul.bf16(w);
        float[] got = fx.read(y);
        for (int row = 0; row < n; row++) {
            for (int j = 0; j < WIDTH; j++) {
                double sum = 0;
                double most = 0;
                for (int k = 0; k < INNER; k++) {
                    double term = x64[row * INNER + k] * stored[j * INNER + k];
                    sum += term;
                    most += Math.abs(term);
                }
                float is = got[row * WIDTH + j];
                String what = Kind.of(row) + " times " + Kind.of(j) + ": " + is + ", not " + sum + ", seed " + fx.seed;
                if (Kind.of(row).finite()) {
                    assertTrue(Math.abs(is - sum) <= PRODUCT * most + SMALLEST, what);
                } else {
                    assertTrue(Float.isNaN(is), what);
                }
            }
        }
    }

    @ParameterizedTest(name = "centred={0}")
    @CsvSource({"true", "false"})
    void aNormsTwoPartsAreItsThree(boolean centred) {
        int n = 19;
        float[] x = rows(n, WIDTH, 1e12, 1e-30);
        Tensor weight = fx.of(fx.normal(WIDTH, 0.5), WIDTH);
        Parts three = norm(kernels(false, centred), false, fx.of(x, n, WIDTH), null, null, null, weight);
        Parts two = norm(kernels(true, centred), true, fx.of(x, n, WIDTH), null, null, null, weight);
        double[] want = three.sums();
        for (int row = 0; row < n; row++) {
            boolean all = Arrays.stream(want, row * WIDTH, (row + 1) * WIDTH).allMatch(Double::isFinite);
            assertEquals(Kind.of(row).finite(), all, "row " + row);
        }
        two.assertHold(want, 0x1p-22); // the compiler may round elsewhere
    }

    /** Each but those of which nobody would notice it. */
    @Test
    void weightsInFp16AreThoseInBf16() {
        int n = 70;
        int k = 40;
        float[] w = rows(n, k, 1e30, 1e-30);
        for (int i = 0; i < w.length; i++) {
            w[i] = Float.isFinite(w[i]) ? w[i] : 1e-40f;
        }
        PackedWeight packed = PackedWeight.allocateTwice(fx.arena, n, k);
        fx.ops.matmul().pack(fx.stream, fx.of(w, n, k), packed);
        float[] bf16 = fx.read(packed.data());
        float[] fp16 = fx.read(packed.fp16().data());
        float[] powers = fx.read(packed.fp16().scale());
        double[] stored = ReferenceMatmul.bf16(w);
        int inexact = 0;
        for (int row = 0; row < n; row++) {
            assertEquals(0x1p0f, Math.scalb(powers[row], -Math.getExponent(powers[row])), "row " + row);
            double largest = 0;
            for (int i = row * k; i < (row + 1) * k; i++) {
                largest = Math.max(largest, Math.abs(stored[i]));
            }
            for (int i = row * k; i < (row + 1) * k; i++) {
                assertEquals(stored[i], bf16[i], "a weight in bf16");
                assertEquals(
                        Float.float16ToFloat(Float.floatToFloat16((float) (stored[i] / powers[row]))),
                        fp16[i],
                        "the nearest in fp16");
                double lost = Math.abs((double) fp16[i] * powers[row] - stored[i]);
                assertTrue(
                        lost <= (Math.abs(stored[i]) >= 0x1p-31 * largest ? 0 : 0x1p-39 * largest),
                        stored[i] + " loses " + lost + " of " + largest);
                inexact += lost > 0 ? 1 : 0;
            }
        }
        assertTrue(inexact > 0 && inexact < n, inexact + " weights too small for their row");
        float[] padding = Arrays.copyOfRange(fp16, n * k, fp16.length);
        assertEquals(0f, padding[padding.length - 1]);
    }
}
