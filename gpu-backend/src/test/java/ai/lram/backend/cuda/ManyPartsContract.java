package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.contract.KernelContract;
import ai.lram.backend.contract.MlstmSessions;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.PackedWeight;
import ai.lram.backend.ops.StepWeight;
import ai.lram.backend.reference.ReferenceMatmul;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What many sessions multiply: numbers of any size in few parts, and weights of any size in fp16. */
abstract class ManyPartsContract extends KernelContract {
    private static final int WIDTH = 72;
    private static final int HEADS = 2;
    private static final int INNER = 272;

    /** Of what one product's terms sum up to without their signs, and what a number loses, by the number of parts. */
    private static final double[] PRODUCT = {0, 0x1.01p-11, 0x1p-19, 0x1p-19};

    private static final double[] NUMBER = {0, 0x1p-11, 0x1p-23, 0};

    /** What it loses of the largest of its row, which all but those do that are far smaller. */
    private static final double[] OF_LARGEST = {0, 0x1p-39, 0x1p-51, 0};

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

    /** Half of the smallest bf16 number. */
    private static final double SMALLEST_PART = 0x1p-134;

    private static boolean fp16(int parts) {
        return parts < CudaMatmul.PARTS;
    }

    private Engine engine() {
        return ((CudaBackend) ((Unclosed) backend).engine()).engine();
    }

    private ManySteps many(String inParts) {
        Engine e = engine();
        Rows rows = new Rows(e, new KernelModule(e, "session"));
        Products products = new Products(e, Products.Precision.FP32);
        return new ManySteps(e, products, rows, new CellSteps(e), Engine.WORKSPACE, inParts);
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

    private KernelModule kernels(int parts, boolean centred) {
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
                "MANY_PARTS=" + parts);
    }

    /** Numbers in parts, and what a row's are multiples of. */
    private final class Parts {
        final int parts;
        final int n;
        final int columns;
        final Tensor data;
        final Tensor powers;

        Parts(int parts, int n, int columns) {
            this.parts = parts;
            this.n = n;
            this.columns = columns;
            data = fx.arena.allocate(fp16(parts) ? DType.F16 : DType.BF16, parts, n, columns);
            powers = fx.poisoned(n);
        }

        /** What they are parts of. */
        double[] sums() {
            float[] part = fx.read(data);
            float[] power = fx.read(powers);
            int size = n * columns;
            double[] sums = new double[size];
            for (int i = 0; i < size; i++) {
                sums[i] = switch (parts) {
                    case 1 -> (double) part[i] * power[i / columns];
                    case 2 -> (part[i] + 0x1p-12 * part[size + i]) * power[i / columns];
                    default -> (double) part[i] + part[size + i] + part[2 * size + i];
                };
            }
            return sums;
        }

        /** Numbers of {@code want} but for the last bit of their parts, and but for what no other of their row would notice. */
        void assertHold(double[] want, double slack) {
            double[] got = sums();
            for (int row = 0; row < n; row++) {
                double[] own = Arrays.copyOfRange(want, row * columns, (row + 1) * columns);
                double largest = Arrays.stream(own).map(Math::abs).max().orElseThrow();
                if (Arrays.stream(own).allMatch(Double::isFinite)) {
                    for (int j = 0; j < columns; j++) {
                        double lost = Math.abs(got[row * columns + j] - own[j]);
                        double most = Math.max(NUMBER[parts] * Math.abs(own[j]), OF_LARGEST[parts] * largest);
                        assertTrue(
                                lost <= most + slack * Math.abs(own[j]) + (fp16(parts) ? 0 : SMALLEST_PART),
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
    private Parts skip(KernelModule kernels, int parts, int n, float[] x) {
        float gate = 128; // SiLU leaves it
        float[] c = new float[x.length];
        for (int i = 0; i < c.length; i++) {
            c[i] = x[i] / gate;
        }
        float[] z = new float[parts * x.length];
        Arrays.fill(z, 0, x.length, fp16(parts) ? gate / 2 : gate);
        float[] twos = new float[n];
        Arrays.fill(twos, 2);
        float[] ones = new float[INNER];
        Arrays.fill(ones, 1);
        Tensor one = fx.of(ones, INNER);
        int[] counts = new int[n];
        Arrays.fill(counts, 1);
        Parts to = new Parts(parts, n, INNER);
        int warps = fp16(parts) ? HEADS * 2 : 4;
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
                .run(fp16(parts) ? n : (n * HEADS + 3) / 4, 1, 1, 32 * warps, 0);
        return to;
    }

    /** x is {@code before} and what a product left, and its norm is in parts. */
    private Parts norm(
            KernelModule kernels,
            int parts,
            Tensor before,
            Tensor sums,
            Tensor ofTokens,
            Tensor ofWeights,
            Tensor weight) {
        int n = before.dim(0);
        Parts to = new Parts(parts, n, WIDTH);
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

    @ParameterizedTest(name = "{0} parts")
    @ValueSource(ints = {1, 2, 3})
    void partsHoldNumbersOfAnySizeAndProductsAreThoseOfThem(int count) {
        int n = 19;
        KernelModule kernels = kernels(count, true);
        float[] x = rows(n, INNER, 1e30, 1e-30);
        Parts parts = skip(kernels, count, n, x);
        double[] x64 = new double[x.length];
        Arrays.setAll(x64, i -> x[i]);
        parts.assertHold(x64, 0);

        float[] w = rows(WIDTH, INNER, 1e5, 1e-30);
        for (int i = 0; i < w.length; i++) {
            w[i] = Float.isFinite(w[i]) ? w[i] : 0;
        }
        PackedWeight packed = PackedWeight.allocateTwice(fx.arena, WIDTH, INNER);
        fx.ops.matmul().pack(fx.stream, fx.of(w, WIDTH, INNER), packed);
        PackedWeight multiplied = fp16(count) ? packed.fp16() : packed;
        Tensor sums = fx.poisoned(count, n, WIDTH);
        Products products = new Products(engine(), Products.Precision.FP32);
        CudaMatmul.manyParts(products, "test", count, parts.data.address(), multiplied, n, sums.address());
        Tensor y = fx.zeros(n, WIDTH);
        norm(kernels, count, y, sums, parts.powers, multiplied.scale(), null);

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
                    assertTrue(Math.abs(is - sum) <= PRODUCT[count] * most + SMALLEST, what);
                } else {
                    assertTrue(Float.isNaN(is), what);
                }
            }
        }
    }

    @ParameterizedTest(name = "{0} parts centred={1}")
    @CsvSource({"1,true", "1,false", "2,true", "2,false"})
    void aNormsPartsAreItsThree(int count, boolean centred) {
        int n = 19;
        float[] x = rows(n, WIDTH, 1e12, 1e-30);
        Tensor weight = fx.of(fx.normal(WIDTH, 0.5), WIDTH);
        Parts three = norm(kernels(3, centred), 3, fx.of(x, n, WIDTH), null, null, null, weight);
        Parts fewer = norm(kernels(count, centred), count, fx.of(x, n, WIDTH), null, null, null, weight);
        double[] want = three.sums();
        for (int row = 0; row < n; row++) {
            boolean all = Arrays.stream(want, row * WIDTH, (row + 1) * WIDTH).allMatch(Double::isFinite);
            assertEquals(Kind.of(row).finite(), all, "row " + row);
        }
        fewer.assertHold(want, 0x1p-22); // the compiler may round elsewhere
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
        assertTrue(inexact > 0 && inexact < w.length / 10, inexact + " weights too small for their row");
        float[] padding = Arrays.copyOfRange(fp16, n * k, fp16.length);
        assertEquals(0f, padding[padding.length - 1]);
    }

    /** By default x is in two parts where the state is fp32, in one where it is bf16. */
    @ParameterizedTest(name = "state={0}: {1}, not {2}")
    @CsvSource({"F32,fp16x2,fp16x1", "BF16,fp16x1,fp16x2"})
    void partsAreThoseThatTheStateIsWorth(DType state, String inParts, String others) {
        int sessions = 9;
        int width = 32;
        int inner = 64;
        StepWeight up = ManyLayers.weight(fx, true, fx.of(fx.normal(inner * width, 0.3), inner, width));
        StepWeight down = ManyLayers.weight(fx, true, fx.of(fx.normal(width * inner, 0.1), width, inner));
        float[] x = fx.normal(sessions * 3 * width, 1);
        List<float[]> answers = new ArrayList<>();
        for (String parts : List.of("fp16", inParts, others)) {
            ManySteps many = many(parts);
            MlstmLayer layer = ManyLayers.layer(fx, state, sessions, width, inner, 2, 4, up, up, down);
            MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, sessions, 3, width, inner, 2);
            Tensor y = fx.of(x, sessions, 3, width);
            Tensor slots = fx.ofInts(MlstmSessions.distinct(fx, sessions, sessions), sessions);
            int[] counts = new int[sessions];
            Arrays.fill(counts, 3);
            Tensor news = fx.ofInts(counts, sessions);
            assertTrue(many.take(List.of(layer), slots, news, memory, y));
            many.run(List.of(layer), slots, news, memory, y);
            answers.add(fx.read(y));
        }
        assertArrayEquals(answers.get(1), answers.get(0));
        assertFalse(Arrays.equals(answers.get(2), answers.get(0)));
    }

    /**
     * Steps in which sessions in any order bring all tokens, some or none. A head's width, with one that takes several warps and one of few heads,
     * changes which threads find a token's power.
     */
    @ParameterizedTest(name = "{0} state={1} sessions={2} L={3} D={4} I={5} NH={6}")
    @CsvSource({
        "fp16x2,F32,9,3,32,64,2",
        "fp16x2,F32,11,2,48,1040,2",
        "fp16x2,F32,5,1,24,264,3",
        "fp16x2,F32,6,3,40,160,10",
        "fp16x1,F32,9,3,32,64,2",
        "fp16x1,F32,7,3,48,1040,2",
        "fp16x1,BF16,9,3,32,64,2",
        "fp16x1,BF16,7,3,48,1040,2"
    })
    void blocksOfFewerPartsAnswerLikeThree(
            String inParts, DType state, int sessions, int tokens, int width, int inner, int heads) {
        ManySteps fewer = many(inParts);
        ManySteps three = many("bf16x3");
        StepWeight upU = ManyLayers.weight(fx, true, fx.of(fx.normal(inner * width, 0.3), inner, width));
        StepWeight upZ = ManyLayers.weight(fx, true, fx.of(fx.normal(inner * width, 0.3), inner, width));
        StepWeight down = ManyLayers.weight(fx, true, fx.of(fx.normal(width * inner, 0.1), width, inner));
        List<MlstmLayer> mine = new ArrayList<>();
        List<MlstmLayer> theirs = new ArrayList<>();
        for (int block = 0; block < 2; block++) {
            mine.add(ManyLayers.layer(fx, state, sessions + 2, width, inner, heads, 4, upU, upZ, down));
            theirs.add(ManyLayers.layer(fx, state, sessions + 2, width, inner, heads, 4, upU, upZ, down));
        }
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, sessions, tokens, width, inner, heads);
        double limit = inParts.equals("fp16x2") ? 2e-6 : state == DType.F32 ? 2e-3 : 1e-2;
        double worst = 0;
        for (int step = 0; step < 4; step++) {
            int[] counts = new int[sessions];
            for (int b = 0; b < sessions; b++) {
                counts[b] = step == 0 ? tokens : fx.random.nextInt(tokens + 1);
            }
            Tensor slots = fx.ofInts(MlstmSessions.distinct(fx, sessions + 2, sessions), sessions);
            Tensor newTokens = fx.ofInts(counts, sessions);
            float[] x = fx.normal(sessions * tokens * width, 1);
            Tensor got = fx.of(x, sessions, tokens, width);
            Tensor want = fx.of(x, sessions, tokens, width);
            assertTrue(fewer.take(mine, slots, newTokens, memory, got)
                    && three.take(theirs, slots, newTokens, memory, want));
            fewer.run(mine, slots, newTokens, memory, got);
            three.run(theirs, slots, newTokens, memory, want);
            float[] is = fx.read(got);
            float[] meant = fx.read(want);
            for (int token = 0; token < sessions * tokens; token++) {
                float[] own = Arrays.copyOfRange(is, token * width, (token + 1) * width);
                float[] other = Arrays.copyOfRange(meant, token * width, (token + 1) * width);
                double error = Fixture.error(own, Fixture.doubles(other));
                String what = "token " + token + " of step " + step + ": error " + error + ", seed " + fx.seed;
                assertTrue(error < limit, what);
                worst = Math.max(worst, error);
                if (token % tokens < tokens - counts[token / tokens]) {
                    assertArrayEquals(Arrays.copyOfRange(x, token * width, (token + 1) * width), own, what);
                }
            }
            boolean news = Arrays.stream(counts).sum() > 0;
            assertEquals(news, Fixture.error(is, Fixture.doubles(x)) > 0.01, "blocks add what tokens bring");
        }
        assertTrue(worst > 0 && (limit < 1e-3 || worst > 2e-6), "the parts are others: " + worst);
    }
}
