package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.Replay;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.EmbedMemory;
import ai.lram.backend.ops.EmbedWeights;
import ai.lram.backend.ops.HeadMemory;
import ai.lram.backend.ops.HeadWeights;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.PackedWeight;
import ai.lram.backend.ops.StepChoice;
import ai.lram.backend.ops.StepInput;
import ai.lram.backend.ops.StepWeight;
import ai.lram.backend.reference.ReferenceMatmul;
import ai.lram.backend.reference.ReferenceNorm;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a control step does before and after its blocks. */
public abstract class StepEndsContract extends KernelContract {
    /** A product of a few hundred terms in fp32, and a norm. */
    private static final double TOLERANCE = 2e-6;

    /** How long a step is repeated that might be seen too early. */
    private static final long MANY_STEPS_NS = 100_000_000;

    private static final NormSpec LAYER = new NormSpec(1, 1e-5f, true, false);
    private static final NormSpec RESIDUAL = new NormSpec(1, 1e-5f, true, true);
    private static final NormSpec ROOT_MEAN_SQUARE = new NormSpec(1, 1e-6f, false, false);

    private static NormSpec norm(String name) {
        return switch (name) {
            case "LAYER" -> LAYER;
            case "RESIDUAL" -> RESIDUAL;
            default -> ROOT_MEAN_SQUARE;
        };
    }

    /** Layers of so many inputs, as tensors and as numbers. */
    private final class Embedding {
        final int width;
        final int[] inputs;
        final EmbedWeights weights;
        final List<float[]> w = new ArrayList<>();
        final List<float[]> b = new ArrayList<>();
        final float[] normWeight;
        final float[] normBias;

        Embedding(NormSpec norm, boolean biased, int width, int... inputs) {
            this.width = width;
            this.inputs = inputs;
            List<EmbedWeights.Encoder> encoders = new ArrayList<>();
            for (int k : inputs) {
                w.add(fx.normal(width * k, 1 / Math.sqrt(k)));
                b.add(fx.normal(width, 0.5));
                encoders.add(new EmbedWeights.Encoder(fx.of(w.getLast(), width, k), fx.of(b.getLast(), width)));
            }
            normWeight = fx.normal(width, 1);
            normBias = biased ? fx.normal(width, 1) : null;
            weights =
                    new EmbedWeights(encoders, norm, fx.of(normWeight, width), biased ? fx.of(normBias, width) : null);
        }

        /** Of rows as (B, T, D). */
        double[] expected(int rows, List<float[]> vectors) {
            double[] want = new double[rows * inputs.length * width];
            for (int t = 0; t < inputs.length; t++) {
                double[] encoded = ReferenceMatmul.linear(
                        rows,
                        width,
                        inputs[t],
                        Fixture.doubles(vectors.get(t)),
                        Fixture.doubles(w.get(t)),
                        Fixture.doubles(b.get(t)));
                double[] y = ReferenceNorm.forward(
                                weights.norm(),
                                encoded,
                                Fixture.doubles(normWeight),
                                normBias == null ? null : Fixture.doubles(normBias))
                        .y();
                for (int row = 0; row < rows; row++) {
                    System.arraycopy(y, row * width, want, (row * inputs.length + t) * width, width);
                }
            }
            return want;
        }
    }

    /** Where the host writes and where kernels read: the same on a host engine. */
    private final class Input {
        final StepInput from;
        final StepInput at;
        final List<float[]> vectors = new ArrayList<>();
        final int[] slots;
        final int[] counts;

        Input(int rows, int... widths) {
            Tensor host = fx.arena.hostVisible(DType.F32, StepInput.floats(rows, widths));
            from = StepInput.in(host, rows, widths);
            at = host.isHost() ? from : StepInput.in(fx.zeros((int) host.size()), rows, widths);
            slots = new int[rows];
            counts = new int[rows];
            draw();
        }

        void draw() {
            vectors.clear();
            for (Tensor t : from.vectors()) {
                vectors.add(fx.normal((int) t.size(), 1));
                t.copyFrom(vectors.getLast());
            }
            for (int row = 0; row < slots.length; row++) {
                slots[row] = fx.random.nextInt(1000);
                counts[row] = fx.random.nextInt(4);
            }
            from.slots().copyFrom(slots);
            from.counts().copyFrom(counts);
        }
    }

    @ParameterizedTest(name = "B={0} D={1} state={2} {3} biased={4}")
    @CsvSource({
        "1,96,1,LAYER,true",
        "1,100,17,LAYER,true",
        "1,128,204,LAYER,true",
        "1,512,204,LAYER,true",
        "2,128,204,RESIDUAL,false",
        "3,100,204,RMS,true",
        "8,96,17,LAYER,false",
        "8,128,204,LAYER,true",
        "9,128,204,LAYER,true",
        "5,33,5,RESIDUAL,true",
        "2,640,7,LAYER,true",
        "1,1280,204,LAYER,true",
        "2,40,640,RMS,false",
        "4,7,4,LAYER,true",
        "9,33,5,RESIDUAL,true",
        "13,7,4,RMS,false",
        "33,100,204,RMS,true",
        "64,300,17,LAYER,false",
        "10,640,7,LAYER,true",
        "9,1280,204,LAYER,true",
        "9,40,2048,LAYER,true"
    })
    void tokensAreEncodedInOrderAndNormed(int rows, int width, int state, String norm, boolean biased) {
        int[] widths = {1, state, 1};
        Embedding e = new Embedding(norm(norm), biased, width, widths);
        Input in = new Input(rows, widths);
        EmbedMemory memory =
                EmbedMemory.allocate(fx.arena, rows + 1, widths.length, width).rows(rows);
        for (int step = 0; step < 3; step++) {
            in.draw();
            Tensor x = fx.poisoned(rows, widths.length, width);
            fx.ops.session().embed(fx.stream, e.weights, in.from, in.at, memory, x);
            fx.assertClose("tokens of step " + step, e.expected(rows, in.vectors), x, TOLERANCE);
            assertArrayEquals(in.slots, fx.readInts(in.at.slots()));
            assertArrayEquals(in.counts, fx.readInts(in.at.counts()));
            Tensor again = fx.poisoned(rows, widths.length, width);
            fx.ops.session().embed(fx.stream, e.weights, in.from, in.at, memory, again);
            assertArrayEquals(fx.read(x), fx.read(again), "the same inputs, the same bits");
        }
    }

    @ParameterizedTest(name = "B={0}: {1}, {2}, {3}, {4}, {5}")
    @CsvSource({"2,12,0,0,0,0", "1,40,3,0,0,0", "3,2,30,5,36,0", "2,1,1,1,1,20", "12,12,0,0,0,0", "33,2,30,5,36,0"})
    void anyNumberOfTokensIsEncoded(int rows, int a, int b, int c, int d, int e) {
        int[] widths =
                Arrays.stream(new int[] {a, b, c, d, e}).filter(k -> k > 0).toArray();
        Embedding embedding = new Embedding(LAYER, true, 64, widths);
        Input in = new Input(rows, widths);
        EmbedMemory memory = EmbedMemory.allocate(fx.arena, rows, widths.length, 64);
        Tensor x = fx.poisoned(rows, widths.length, 64);
        fx.ops.session().embed(fx.stream, embedding.weights, in.from, in.at, memory, x);
        fx.assertClose("tokens", embedding.expected(rows, in.vectors), x, TOLERANCE);
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 9})
    void weightsMayBeginAnywhere(int rows) {
        int width = 24;
        int state = 8;
        Embedding e = new Embedding(LAYER, true, width, 1, state, 1);
        float[] more = new float[1 + width * state];
        System.arraycopy(e.w.get(1), 0, more, 1, width * state);
        Tensor shifted = fx.of(more, more.length).view(1, width, state);
        EmbedWeights weights = new EmbedWeights(
                List.of(
                        e.weights.encoders().get(0),
                        new EmbedWeights.Encoder(
                                shifted, e.weights.encoders().get(1).bias()),
                        e.weights.encoders().get(2)),
                LAYER,
                e.weights.normWeight(),
                e.weights.normBias());
        Input in = new Input(rows, 1, state, 1);
        Tensor x = fx.poisoned(rows, 3, width);
        fx.ops.session().embed(fx.stream, weights, in.from, in.at, EmbedMemory.allocate(fx.arena, rows, 3, width), x);
        fx.assertClose("tokens", e.expected(rows, in.vectors), x, TOLERANCE);
    }

    @ParameterizedTest
    @CsvSource({"3,NaN", "3,Infinity", "9,NaN", "9,Infinity"})
    void whatIsNotFiniteStaysWithItsToken(int rows, float wrong) {
        Embedding e = new Embedding(LAYER, true, 96, 1, 17, 1);
        Input in = new Input(rows, 1, 17, 1);
        in.from.vectors().get(1).set(17 + 5, wrong);
        Tensor x = fx.poisoned(rows, 3, 96);
        fx.ops.session().embed(fx.stream, e.weights, in.from, in.at, EmbedMemory.allocate(fx.arena, rows, 3, 96), x);
        float[] got = fx.read(x);
        double[] want = e.expected(rows, in.vectors);
        for (int unit = 0; unit < rows * 3; unit++) {
            float[] token = Arrays.copyOfRange(got, unit * 96, (unit + 1) * 96);
            if (unit == 4) {
                for (float v : token) {
                    assertTrue(Float.isNaN(v), "row 1's second token holds " + v);
                }
            } else {
                double error = Fixture.error(token, Arrays.copyOfRange(want, unit * 96, (unit + 1) * 96));
                assertTrue(error <= TOLERANCE, "token " + unit + ": error " + error + ", seed " + fx.seed);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 9})
    void tokensOfOtherSizesAreRefused(int rows) {
        Embedding e = new Embedding(LAYER, true, 32, 1, 12, 1);
        Input in = new Input(rows, 1, 12, 1);
        EmbedMemory memory = EmbedMemory.allocate(fx.arena, rows, 3, 32);
        Tensor x = fx.of(fx.normal(rows * 3 * 32, 1), rows, 3, 32);
        Tensor small = fx.of(fx.normal(rows * 2 * 32, 1), rows, 2, 32);
        assertRefused(() -> fx.ops.session().embed(fx.stream, e.weights, in.from, in.at, memory, small), small);
        Input narrow = new Input(rows, 1, 11, 1);
        assertRefused(() -> fx.ops.session().embed(fx.stream, e.weights, narrow.from, narrow.at, memory, x), x);
        Input few = new Input(rows, 1, 12);
        assertRefused(() -> fx.ops.session().embed(fx.stream, e.weights, few.from, few.at, memory, x), x);
        EmbedMemory other = EmbedMemory.allocate(fx.arena, rows, 2, 32);
        assertRefused(() -> fx.ops.session().embed(fx.stream, e.weights, in.from, in.at, other, x), x);
        Tensor words = fx.ofInts(new int[rows * 3 * 32], rows, 3, 32);
        assertThrows(
                ShapeMismatchException.class,
                () -> fx.ops.session().embed(fx.stream, e.weights, in.from, in.at, memory, words));
    }

    @Test
    void layersThatDoNotFitTogetherAreRefused() {
        Embedding e = new Embedding(LAYER, true, 32, 1, 12);
        Tensor norm = e.weights.normWeight();
        assertThrows(ShapeMismatchException.class, () -> new EmbedWeights(List.of(), LAYER, norm, null));
        assertThrows(
                ShapeMismatchException.class,
                () -> new EmbedWeights(e.weights.encoders(), new NormSpec(4, 1e-5f, true, false), norm, null));
        assertThrows(
                ShapeMismatchException.class, () -> new EmbedWeights(e.weights.encoders(), LAYER, fx.zeros(33), null));
        StepWeight layer = StepWeight.of(fx.zeros(5, 32));
        assertThrows(ShapeMismatchException.class, () -> new HeadWeights(LAYER, fx.zeros(33), null, layer, null));
        assertThrows(
                ShapeMismatchException.class,
                () -> new HeadWeights(new NormSpec(2, 1e-5f, true, false), norm, null, layer, null));
        Tensor x = fx.zeros(1, 3, 32);
        Tensor part = fx.zeros(1, 32);
        assertThrows(ShapeMismatchException.class, () -> HeadMemory.of(x, 3, part, part, fx.zeros(1, 5)));
        assertThrows(ShapeMismatchException.class, () -> HeadMemory.of(x, -1, part, part, fx.zeros(1, 5)));
        assertThrows(ShapeMismatchException.class, () -> new HeadMemory(x, 1, part, part, fx.zeros(1, 5)));
        assertThrows(
                ShapeMismatchException.class, () -> new EmbedMemory(List.of(part, part, part), fx.zeros(1, 3, 32)));
        assertThrows(ShapeMismatchException.class, () -> new EmbedMemory(List.of(part), fx.zeros(1, 3, 32)));
    }

    private StepWeight stored(DType type, boolean copied, float[] w, int n, int k) {
        Tensor full = fx.of(w, n, k);
        if (type == DType.F32 && !(copied && fx.ops.matmul().packs(type))) {
            return StepWeight.of(full);
        }
        PackedWeight packed = PackedWeight.allocate(fx.arena, type, n, k);
        fx.ops.matmul().pack(fx.stream, full, packed);
        return StepWeight.of(packed);
    }

    private static double[] read(DType type, float[] w, int n, int k) {
        return switch (type) {
            case F32 -> Fixture.doubles(w);
            case BF16 -> ReferenceMatmul.bf16(w);
            default -> ReferenceMatmul.int8(n, k, w);
        };
    }

    /** Of all logits of one dimension. */
    private StepChoice all(int rows, int logits) {
        return new StepChoice(
                fx.ofInts(new int[rows], rows),
                fx.ofInts(new int[] {0, logits}, 1, 2),
                fx.zeros(logits),
                true,
                fx.arena.hostVisible(DType.I32, rows, 1),
                fx.arena.hostVisible(DType.F32, rows, 1));
    }

    @ParameterizedTest(name = "{0} copied={1} B={2} L={3} token={4} D={5} N={6} {7} biased={8}")
    @CsvSource({
        "F32,false,1,3,2,96,1,RESIDUAL,true",
        "F32,true,1,3,2,128,7,LAYER,false",
        "BF16,true,1,3,2,512,274,RESIDUAL,true",
        "I8,true,1,3,2,100,300,RESIDUAL,true",
        "F32,false,2,3,1,100,300,RMS,true",
        "BF16,true,3,3,0,128,7,LAYER,true",
        "I8,true,5,2,1,96,7,RESIDUAL,false",
        "BF16,true,8,3,2,128,300,RESIDUAL,true",
        "F32,false,8,1,0,1280,19,LAYER,true",
        "BF16,true,9,3,2,128,300,RESIDUAL,true",
        "I8,true,1,3,2,1280,9,RESIDUAL,true",
        "BF16,true,4,3,2,1284,9,RESIDUAL,true",
        "F32,false,2,3,2,33,5,LAYER,true",
        "BF16,true,7,3,2,4,8,LAYER,true",
        "BF16,true,33,3,2,512,274,RESIDUAL,true",
        "I8,true,64,3,2,100,300,RMS,true",
        "F32,false,9,1,0,1280,19,LAYER,true",
        "BF16,true,17,2,1,1280,33,RESIDUAL,false",
        "F32,true,12,3,2,33,5,LAYER,true"
    })
    void logitsAreThoseOfTheNormedToken(
            DType type,
            boolean copied,
            int rows,
            int tokens,
            int token,
            int width,
            int logits,
            String norm,
            boolean biased) {
        float[] w = fx.normal(logits * width, 1 / Math.sqrt(width));
        float[] bias = fx.normal(logits, 1);
        float[] normWeight = fx.normal(width, 1);
        float[] normBias = fx.normal(width, 1);
        HeadWeights weights = new HeadWeights(
                norm(norm),
                fx.of(normWeight, width),
                biased ? fx.of(normBias, width) : null,
                stored(type, copied, w, logits, width),
                biased ? fx.of(bias, logits) : null);
        Tensor answers = fx.poisoned(rows, logits);
        StepChoice choice = all(rows, logits);
        Tensor spare = fx.poisoned(rows, width);
        Tensor normed = fx.poisoned(rows, width);
        for (int step = 0; step < 3; step++) {
            float[] values = fx.normal(rows * tokens * width, 1);
            Tensor x = fx.of(values, rows, tokens, width);
            HeadMemory memory = HeadMemory.of(x, token, spare, normed, answers);
            fx.ops.elementwise().fill(fx.stream, Float.NaN, answers);
            fx.ops.session().decide(fx.stream, weights, memory, choice);
            double[] read = new double[rows * width];
            for (int row = 0; row < rows; row++) {
                for (int i = 0; i < width; i++) {
                    read[row * width + i] = values[(row * tokens + token) * width + i];
                }
            }
            double[] y = ReferenceNorm.forward(
                            weights.norm(),
                            read,
                            Fixture.doubles(normWeight),
                            biased ? Fixture.doubles(normBias) : null)
                    .y();
            double[] want = ReferenceMatmul.linear(
                    rows, logits, width, y, read(type, w, logits, width), biased ? Fixture.doubles(bias) : null);
            fx.assertClose("logits of step " + step, want, answers, TOLERANCE);
            assertArrayEquals(values, fx.read(x), "x stays as it is");
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {3, 10})
    void logitsOfARowThatIsNotFiniteAreNoOthers(int rows) {
        HeadWeights weights = new HeadWeights(
                RESIDUAL,
                fx.of(fx.normal(96, 1), 96),
                null,
                StepWeight.of(fx.of(fx.normal(7 * 96, 0.1), 7, 96)),
                fx.of(fx.normal(7, 1), 7));
        float[] values = fx.normal(rows * 3 * 96, 1);
        values[(3 + 2) * 96 + 11] = Float.NaN; // row 1's last token
        values[7] = Float.NaN; // row 0's first, which is not read
        Tensor x = fx.of(values, rows, 3, 96);
        Tensor logits = fx.poisoned(rows, 7);
        HeadMemory memory = HeadMemory.of(x, 2, fx.poisoned(rows, 96), fx.poisoned(rows, 96), logits);
        fx.ops.session().decide(fx.stream, weights, memory, all(rows, 7));
        float[] got = fx.read(logits);
        for (int i = 0; i < got.length; i++) {
            assertEquals(i / 7 == 1, Float.isNaN(got[i]), "logit " + i % 7 + " of row " + i / 7);
        }
    }

    /** Of five numbers. */
    private float[] few(int n) {
        float[] a = new float[n];
        for (int i = 0; i < n; i++) {
            a[i] = fx.random.nextInt(5) - 2;
        }
        return a;
    }

    /** A head whose logits are often equal, rows that each see a column of it, and a slot for each kind of range. */
    private final class Decision {
        final int rows;
        final int dims;
        final int size;
        final int width;
        final float[] w;
        final float[] values;
        final int[][] ranges;
        final HeadWeights weights;
        final Tensor x;
        final HeadMemory memory;
        final Tensor slots;
        final StepChoice choice;
        private float[] logits;
        private int[] chosen;
        private float[] numbers;

        Decision(DType type, int rows, int dims, int size, int width, boolean mean) {
            this(type, rows, dims, size, width, mean, few(dims * size * width));
        }

        Decision(DType type, int rows, int dims, int size, int width, boolean mean, float[] w) {
            this.rows = rows;
            this.dims = dims;
            this.size = size;
            this.width = width;
            this.w = w;
            weights = new HeadWeights(
                    ROOT_MEAN_SQUARE,
                    fx.of(ones(width), width),
                    null,
                    stored(type, true, w, dims * size, width),
                    fx.zeros(dims * size));
            values = fx.normal(size, 1);
            ranges = new int[][] {
                {0, size},
                {size / 3, size / 2 + 1},
                {0, 1},
                {size - 1, size},
                {1, size},
                {0, size - 1},
                {2, 2},
                {size, size},
                {0, 0},
                {-1, size},
                {0, size + 1},
                {size / 2, 0}
            };
            int[] flat = Arrays.stream(ranges).flatMapToInt(Arrays::stream).toArray();
            x = fx.zeros(rows, 2, width);
            memory = HeadMemory.of(
                    x, 1, fx.poisoned(rows, width), fx.poisoned(rows, width), fx.poisoned(rows, dims * size));
            slots = fx.ofInts(new int[rows], rows);
            choice = new StepChoice(
                    slots,
                    fx.ofInts(flat, ranges.length, 2),
                    fx.of(values, size),
                    mean,
                    fx.arena.hostVisible(DType.I32, rows, dims),
                    fx.arena.hostVisible(DType.F32, rows, dims));
        }

        private static float[] ones(int n) {
            float[] a = new float[n];
            Arrays.fill(a, 1);
            return a;
        }

        /** Of rows that see a column each, or of random ones. */
        float[] rows(boolean columns) {
            float[] values = columns ? new float[rows * 2 * width] : fx.normal(rows * 2 * width, 1);
            for (int row = 0; columns && row < rows; row++) {
                values[(row * 2 + 1) * width + row % width] = 1;
            }
            return values;
        }

        void run(float[] rowValues, int... slotOfRow) {
            write(x, fx.of(rowValues, rows, 2, width));
            write(slots, fx.ofInts(slotOfRow, rows));
            choice.chosen().copyFrom(filled(rows * dims));
            choice.numbers().copyFrom(new float[rows * dims]);
            fx.ops.session().decide(fx.stream, weights, memory, choice);
            logits = fx.read(memory.logits());
            chosen = fx.readInts(choice.chosen());
            numbers = fx.read(choice.numbers());
        }

        private static int[] filled(int n) {
            int[] a = new int[n];
            Arrays.fill(a, -7);
            return a;
        }

        private void write(Tensor to, Tensor from) {
            try (Arena host = Arena.ofConfined()) {
                MemorySegment m = host.allocate(to.bytes(), 64);
                backend.download(fx.stream, from, m);
                fx.stream.synchronize();
                backend.upload(fx.stream, to, m);
                fx.stream.synchronize();
            }
        }

        /** What was chosen, and its number, are those of the logits. */
        void assertDecided(int row, int slot) {
            int[] range = ranges[slot];
            for (int dim = 0; dim < dims; dim++) {
                int unit = row * dims + dim;
                int want = range[0] < 0 || range[1] > size || range[0] >= range[1] ? -1 : range[0];
                for (int i = range[0]; want >= 0 && i < range[1]; i++) {
                    float v = logits[unit * size + i];
                    want = !Float.isFinite(v) ? -1 : v > logits[unit * size + want] ? i : want;
                }
                String where = "row " + row + " of slot " + slot + ", dimension " + dim + ", seed " + fx.seed;
                assertEquals(want, chosen[unit], where);
                if (want < 0) {
                    assertTrue(Float.isNaN(numbers[unit]), where + ": " + numbers[unit]);
                } else if (!choice.mean()) {
                    assertEquals(values[want], numbers[unit], where);
                } else {
                    double sum = 0;
                    double all = 0;
                    for (int i = range[0]; i < range[1]; i++) {
                        double e = Math.exp(logits[unit * size + i] - logits[unit * size + want]);
                        all += e;
                        sum += e * values[i];
                    }
                    float mean = (float) (sum / all);
                    assertEquals(mean, numbers[unit], Math.ulp(mean) + 1e-14, where);
                }
            }
        }
    }

    @ParameterizedTest(name = "{0} B={1} A={2} V={3} D={4} mean={5}")
    @CsvSource({
        "F32,1,1,274,32,true",
        "BF16,1,3,274,64,true",
        "F32,1,5,37,16,false",
        "I8,3,4,20,32,true",
        "F32,8,2,274,32,true",
        "BF16,8,1,600,8,false",
        "F32,8,1,600,8,true",
        "F32,5,3,1,4,true",
        "F32,2,2,9,33,true",
        "F32,9,2,274,32,true",
        "BF16,12,1,600,32,false",
        "BF16,33,3,37,16,true",
        "I8,64,1,274,32,true",
        "F32,17,4,1,8,false"
    })
    void theFirstOfTheLargestInARowsRangeIsChosen(DType type, int rows, int dims, int size, int width, boolean mean) {
        Decision d = new Decision(type, rows, dims, size, width, mean);
        for (int turn = 0; turn < d.ranges.length; turn++) {
            int[] slotOfRow = new int[rows];
            for (int row = 0; row < rows; row++) {
                slotOfRow[row] = (row + turn) % d.ranges.length;
            }
            float[] values = d.rows(turn % 2 == 0);
            d.run(values, slotOfRow);
            for (int row = 0; row < rows; row++) {
                d.assertDecided(row, slotOfRow[row]);
            }
            int[] chosen = d.chosen;
            float[] numbers = d.numbers;
            if (turn < 2) {
                double[] y = new double[rows * width];
                for (int row = 0; row < rows; row++) {
                    for (int i = 0; i < width; i++) {
                        y[row * width + i] = values[(row * 2 + 1) * width + i];
                    }
                }
                y = ReferenceNorm.forward(ROOT_MEAN_SQUARE, y, Fixture.doubles(Decision.ones(width)), null)
                        .y();
                double[] want =
                        ReferenceMatmul.linear(rows, dims * size, width, y, read(type, d.w, dims * size, width), null);
                fx.assertClose("logits", want, d.memory.logits(), TOLERANCE);
                d.run(values, slotOfRow);
                assertArrayEquals(chosen, d.chosen, "the same inputs, the same choice");
                assertArrayEquals(numbers, d.numbers, "the same inputs, the same bits");
            }
        }
    }

    @ParameterizedTest(name = "B={0} mean={1}")
    @CsvSource({"1,true", "3,true", "3,false", "8,true", "9,true", "9,false"})
    void whatIsNotFiniteIsNotDecided(int rows, boolean mean) {
        int dims = 3;
        int size = 20;
        int width = 12;
        float[] w = fx.normal(dims * size * width, 1);
        for (int row = 0; row < rows; row++) {
            // Beyond the largest float once the norm has made the row larger; zero for all other rows.
            w[(row % dims * size + row % size) * width + row] = row % 2 == 0 ? 3e38f : -3e38f;
        }
        Decision d = new Decision(DType.F32, rows, dims, size, width, mean, w);
        int bad = 0;
        for (int slot = 0; slot < 6; slot++) {
            int[] slotOfRow = new int[rows];
            Arrays.fill(slotOfRow, slot);
            d.run(d.rows(true), slotOfRow);
            for (int row = 0; row < rows; row++) {
                d.assertDecided(row, slot);
                for (int dim = 0; dim < dims; dim++) {
                    bad += d.chosen[row * dims + dim] < 0 ? 1 : 0;
                    assertTrue(dim == row % dims || d.chosen[row * dims + dim] >= 0, "only where it is: row " + row);
                }
            }
        }
        assertTrue(bad > 0, "some are seen");
        float[] values = d.rows(false);
        w = fx.normal(dims * size * width, 1);
        Decision plain = new Decision(DType.F32, rows, dims, size, width, mean, w);
        values[(rows / 2 * 2 + 1) * width + 5] = rows % 2 == 0 ? Float.NaN : Float.NEGATIVE_INFINITY;
        plain.run(values, new int[rows]);
        for (int row = 0; row < rows; row++) {
            plain.assertDecided(row, 0);
            for (int dim = 0; dim < dims; dim++) {
                assertEquals(row == rows / 2, plain.chosen[row * dims + dim] < 0, "row " + row);
            }
        }
    }

    /** Of many steps, whose inputs and answers take turns: those of the step before would be seen. */
    @ParameterizedTest
    @ValueSource(ints = {1, 3, 9, 20})
    void decisionsOfARecordedStepAreThereWhenItHasBeenWaitedFor(int rows) {
        Decision d = new Decision(DType.F32, rows, 3, 20, 12, true, fx.normal(3 * 20 * 12, 1));
        float[][] inputs = {d.rows(false), d.rows(false)};
        int[][] chosen = new int[2][];
        float[][] numbers = new float[2][];
        for (int turn = 0; turn < 2; turn++) {
            d.run(inputs[turn], new int[rows]);
            chosen[turn] = d.chosen;
            numbers[turn] = d.numbers;
        }
        assertFalse(Arrays.equals(numbers[0], numbers[1]), "answers differ");
        Tensor in = fx.arena.hostVisible(DType.F32, rows, 2, 12);
        try (Replay replay = fx.stream.record(() -> {
            backend.copy(fx.stream, d.x, in);
            fx.ops.session().decide(fx.stream, d.weights, d.memory, d.choice);
        })) {
            long end = System.nanoTime() + MANY_STEPS_NS;
            for (int step = 0; step < 4 || System.nanoTime() - end < 0; step++) {
                in.copyFrom(inputs[step % 2]);
                replay.finish();
                String what = "step " + step + ", seed " + fx.seed;
                assertArrayEquals(chosen[step % 2], d.choice.chosen().segment().toArray(ValueLayout.JAVA_INT), what);
                assertArrayEquals(numbers[step % 2], d.choice.numbers().toFloatArray(), what);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void extremeLogitsAreDecided(boolean mean) {
        float[] w = {-3e38f, 3e38f, 0, -0f, 1e-40f, -1e-40f, 88, 1000, 3e38f, -1000};
        Decision d = new Decision(DType.F32, 1, 1, w.length, 4, mean, halves(w));
        for (int slot = 0; slot < 6; slot++) {
            for (float sign : new float[] {1, -1}) {
                d.run(new float[] {0, 0, 0, 0, sign, 0, 0, 0}, slot);
                d.assertDecided(0, slot);
            }
        }
    }

    /** Rows of four whose first number is half of {@code w}'s, which the norm of such a row doubles. */
    private static float[] halves(float[] w) {
        float[] all = new float[4 * w.length];
        for (int i = 0; i < w.length; i++) {
            all[4 * i] = w[i] / 2;
        }
        return all;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 9})
    void choicesOfOtherSizesAreRefused(int rows) {
        Decision d = new Decision(DType.F32, rows, 2, 10, 8, true);
        d.run(d.rows(false), new int[rows]);
        Tensor numbers = d.choice.numbers();
        Tensor ranges = d.choice.ranges();
        Tensor values = d.choice.values();
        Tensor chosen = d.choice.chosen();
        Tensor slots = d.slots;
        StepChoice wide = new StepChoice(slots, ranges, fx.zeros(11), true, chosen, numbers);
        assertRefused(() -> fx.ops.session().decide(fx.stream, d.weights, d.memory, wide), numbers);
        Tensor one = fx.zeros(rows, 1);
        StepChoice few = new StepChoice(slots, ranges, values, true, fx.ofInts(new int[rows], rows, 1), one);
        assertRefused(() -> fx.ops.session().decide(fx.stream, d.weights, d.memory, few), one);
        int more = rows + 1;
        Tensor moreNumbers = fx.zeros(more, 2);
        StepChoice many = new StepChoice(
                fx.ofInts(new int[more], more),
                ranges,
                values,
                true,
                fx.ofInts(new int[2 * more], more, 2),
                moreNumbers);
        assertRefused(() -> fx.ops.session().decide(fx.stream, d.weights, d.memory, many), moreNumbers);
        for (int slot : new int[] {-1, d.ranges.length}) {
            int[] slotOfRow = new int[rows];
            slotOfRow[rows - 1] = slot;
            Tensor wrong = fx.ofInts(slotOfRow, rows);
            StepChoice missing = new StepChoice(wrong, ranges, values, true, chosen, numbers);
            assertRefused(() -> fx.ops.session().decide(fx.stream, d.weights, d.memory, missing));
        }
        assertThrows(ShapeMismatchException.class, () -> new StepChoice(slots, ranges, values, true, chosen, chosen));
        assertThrows(ShapeMismatchException.class, () -> new StepChoice(slots, ranges, slots, true, chosen, numbers));
        assertThrows(ShapeMismatchException.class, () -> new StepChoice(slots, slots, values, true, chosen, numbers));
        assertThrows(ShapeMismatchException.class, () -> new StepChoice(values, ranges, values, true, chosen, numbers));
        assertThrows(
                ShapeMismatchException.class, () -> new StepChoice(slots, ranges, values, true, chosen, moreNumbers));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 9})
    void logitsOfOtherSizesAreRefused(int rows) {
        HeadWeights weights =
                new HeadWeights(RESIDUAL, fx.zeros(32), null, StepWeight.of(fx.zeros(7, 32)), fx.zeros(7));
        Tensor x = fx.of(fx.normal(rows * 3 * 32, 1), rows, 3, 32);
        Tensor part = fx.zeros(rows, 32);
        Tensor less = fx.zeros(rows, 6);
        StepChoice choice = all(rows, 7);
        assertRefused(
                () -> fx.ops.session().decide(fx.stream, weights, HeadMemory.of(x, 2, part, part, less), choice), less);
        Tensor wide = fx.of(fx.normal(rows * 3 * 64, 1), rows, 3, 64);
        Tensor logits = fx.zeros(rows, 7);
        assertRefused(
                () -> fx.ops
                        .session()
                        .decide(
                                fx.stream,
                                weights,
                                HeadMemory.of(wide, 2, fx.zeros(rows, 64), fx.zeros(rows, 64), logits),
                                choice),
                logits);
        HeadWeights otherBias = new HeadWeights(RESIDUAL, weights.normWeight(), null, weights.weight(), fx.zeros(8));
        assertRefused(
                () -> fx.ops.session().decide(fx.stream, otherBias, HeadMemory.of(x, 2, part, part, logits), choice),
                logits);
    }

    @Test
    void noRowsAreNoWork() {
        Embedding e = new Embedding(LAYER, true, 32, 1, 12, 1);
        Input in = new Input(0, 1, 12, 1);
        EmbedMemory memory = EmbedMemory.allocate(fx.arena, 1, 3, 32).rows(0);
        Tensor x = fx.zeros(0, 3, 32);
        fx.ops.session().embed(fx.stream, e.weights, in.from, in.at, memory, x);
        HeadWeights weights =
                new HeadWeights(RESIDUAL, fx.zeros(32), null, StepWeight.of(fx.zeros(7, 32)), fx.zeros(7));
        Tensor none = fx.zeros(0, 7);
        HeadMemory head = HeadMemory.of(x, 2, fx.zeros(1, 32), fx.zeros(0, 32), none);
        fx.ops.session().decide(fx.stream, weights, head, all(0, 7));
        fx.stream.synchronize();
    }
}
