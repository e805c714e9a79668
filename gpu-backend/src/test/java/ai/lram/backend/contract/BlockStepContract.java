package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.ComposedSteps;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.StepWeight;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.BiFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A whole mLSTM block of the control step answers like the kernels it is put together from. */
public abstract class BlockStepContract extends KernelContract {
    private static final int L = 3;
    private static final int TAPS = 4;

    /** Of a row's largest number. */
    private static final double FULL_STATE = 2e-5;

    private static final double NARROW_STATE = 5e-4;

    /** Of what {@link WholeState} and a history hold. */
    private static final double STATES = 1e-4;

    private Tensor drawn(double scale, int... shape) {
        return fx.of(fx.normal(Math.toIntExact(Tensor.sizeOf(shape)), scale), shape);
    }

    /** In fp32 as it is, or in the engine's order where it has one; in bf16 with what the kernels of many sessions read. */
    private StepWeight weight(DType type, boolean copied, int n, int k) {
        return weight(type, copied, drawn(1 / Math.sqrt(k), n, k));
    }

    private StepWeight weight(DType type, boolean copied, Tensor full) {
        if (type == DType.BF16 && fx.ops.session().readsFp16(DType.F32, 64)) {
            return StepWeight.copyTwice(full, fx.arena, fx.ops.matmul(), fx.stream);
        }
        return once(type, copied, full);
    }

    private StepWeight once(DType type, boolean copied, Tensor full) {
        if (type == DType.F32 && !(copied && fx.ops.matmul().packs(type))) {
            return StepWeight.of(full);
        }
        return StepWeight.copy(full, type, fx.arena, fx.ops.matmul(), fx.stream);
    }

    private MlstmBlockWeights weights(DType type, boolean copied, int width, int inner, int heads, int group) {
        return weights((n, k) -> weight(type, copied, n, k), width, inner, heads, group);
    }

    /** @param large draws a matrix (n, k) */
    private MlstmBlockWeights weights(
            BiFunction<Integer, Integer, StepWeight> large, int width, int inner, int heads, int group) {
        int groups = inner / group;
        return new MlstmBlockWeights(
                new NormSpec(1, 1e-5f, true, true),
                drawn(0.2, width),
                large.apply(inner, width),
                large.apply(inner, width),
                drawn(0.5, inner, TAPS),
                drawn(0.1, inner),
                drawn(0.5, groups, group, group),
                drawn(0.5, groups, group, group),
                drawn(0.5, groups, group, group),
                drawn(0.05, heads, 3 * inner),
                drawn(1, heads),
                drawn(0.05, heads, 3 * inner),
                fx.of(fill(heads, 3), heads),
                MlstmSpec.exponential(),
                new NormSpec(heads, 1e-5f, true, true),
                drawn(0.2, inner),
                drawn(1, inner),
                large.apply(width, inner));
    }

    private static float[] fill(int n, float v) {
        float[] a = new float[n];
        Arrays.fill(a, v);
        return a;
    }

    private MlstmBlockState state(int slots, int inner, int heads, FoldSchedule schedule) {
        return state(slots, inner, heads, schedule, 1);
    }

    private MlstmBlockState state(int slots, int inner, int heads, FoldSchedule schedule, int layer) {
        return state(DType.F32, slots, inner, heads, schedule, layer);
    }

    private MlstmBlockState state(DType type, int slots, int inner, int heads, FoldSchedule schedule, int layer) {
        int d = inner / heads;
        int r = schedule.capacity();
        MlstmSlots s = new MlstmSlots(
                fx.arena.allocate(type, slots, heads, d, d),
                fx.zeros(slots, heads, d),
                fx.zeros(slots, heads),
                fx.arena.allocate(type, slots, heads, r, d),
                fx.arena.allocate(type, slots, heads, r, d),
                fx.zeros(slots, heads, r),
                fx.zeros(slots, heads, r),
                fx.ofInts(new int[slots * heads], slots, heads),
                fx.ofInts(new int[slots * heads], slots, heads));
        return new MlstmBlockState(s, fx.zeros(slots, TAPS - 1, inner), schedule, layer);
    }

    @ParameterizedTest(name = "{0} copied={1} batch={2} D={3} I={4} NH={5} group={6} steps={7}")
    @CsvSource({
        "F32,false,1,64,128,2,4,40",
        "BF16,true,1,64,256,2,4,30",
        "I8,true,3,48,256,4,4,30",
        "F32,false,5,80,384,3,4,25",
        "BF16,true,2,512,1024,4,4,6",
        "F32,false,1,192,384,4,4,25",
        "F32,true,1,192,384,4,4,25",
        "BF16,true,8,160,320,4,4,12",
        "BF16,true,2,40,160,2,4,25",
        "I8,true,1,20,48,3,4,25",
        "F32,true,2,24,40,2,5,20",
        "F32,true,1,36,112,1,4,25",
        "BF16,true,2,32,48,3,4,20",
        "BF16,true,9,64,128,2,4,20",
        "BF16,true,13,80,160,4,4,16",
        "BF16,true,33,48,192,3,4,9",
        "BF16,true,9,640,1312,4,4,3",
        "BF16,true,9,24,1040,2,4,3",
        "BF16,true,10,40,160,10,4,9",
        "I8,true,9,48,96,2,4,9",
        "F32,false,10,48,96,2,4,9"
    })
    void aBlockAnswersLikeItsParts(
            DType type, boolean copied, int batch, int width, int inner, int heads, int group, int steps) {
        FoldSchedule schedule = new FoldSchedule(12, 9, 3);
        compareWithParts(type, copied, batch, L, width, inner, heads, group, steps, batch + 2, schedule);
    }

    /** Where an engine folds by the schedule, more tokens than a block of a grid has room for. */
    @ParameterizedTest(name = "{0} D={1} I={2} NH={3} steps={4}")
    @CsvSource({"BF16,64,640,1,50"})
    void aLongRingAnswersLikeItsParts(DType type, int width, int inner, int heads, int steps) {
        compareWithParts(type, true, 1, L, width, inner, heads, 4, steps, 1, new FoldSchedule(129, 120, 1));
    }

    @ParameterizedTest(name = "{0} batch={1} L={2}")
    @CsvSource({"BF16,25,1", "BF16,14,2", "BF16,2,1", "F32,3,2"})
    void aBlockOfFewerTokensAnswersLikeItsParts(DType type, int batch, int tokens) {
        compareWithParts(type, true, batch, tokens, 48, 96, 2, 4, 14, batch + 2, new FoldSchedule(12, 9, 3));
    }

    /**
     * A matrix state in bf16, on engines that have it; others say so and do nothing. Both forms fold when the schedule says so, which has one phase,
     * and round, and their sums differ in fp32: an element in thousands then lies on the other side of the middle between two bf16 numbers. No
     * weight is in fp16, in which many sessions of such a state round x.
     */
    @ParameterizedTest(name = "{0} batch={1} D={2} I={3} NH={4} steps={5}")
    @CsvSource({
        "BF16,1,64,128,2,20",
        "BF16,3,80,160,4,12",
        "BF16,8,160,320,4,9",
        "BF16,33,48,192,3,9",
        "F32,2,24,40,2,9",
        "I8,9,48,96,2,9"
    })
    void aBlockWithAStateInBf16AnswersLikeItsParts(DType type, int batch, int width, int inner, int heads, int steps) {
        FoldSchedule schedule = new FoldSchedule(12, 9, 1);
        MlstmBlockState fused = state(DType.BF16, batch + 2, inner, heads, schedule, 1);
        MlstmBlockState parts = state(DType.BF16, batch + 2, inner, heads, schedule, 1);
        MlstmBlockWeights w =
                positive(weights((n, k) -> once(type, true, drawn(1 / Math.sqrt(k), n, k)), width, inner, heads, 4));
        try {
            fx.ops.session().mlstmReset(fx.stream, fused.slots(), 0);
        } catch (UnsupportedKernelException e) {
            float[] values = fx.normal(batch * L * width, 1);
            Tensor x = fx.of(values, batch, L, width);
            MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, batch, L, width, inner, heads);
            Tensor ids = fx.ofInts(range(batch), batch);
            assertThrows(
                    UnsupportedKernelException.class,
                    () -> fx.ops.session().mlstmBlock(fx.stream, w, fused, ids, ids, memory, x));
            assertArrayEquals(values, fx.read(x));
            return;
        }
        compareWithParts(w, fused, parts, batch, L, steps, NARROW_STATE);
        assertArrayEquals(
                fx.readInts(parts.slots().ringLength()),
                fx.readInts(fused.slots().ringLength()));
        assertArrayEquals(
                fx.readInts(parts.slots().folded()), fx.readInts(fused.slots().folded()));
        float[] got = fx.read(fused.slots().matC());
        float[] want = fx.read(parts.slots().matC());
        int head = inner / heads * (inner / heads);
        int others = 0;
        for (int from = 0; from < got.length; from += head) {
            float largest = 0;
            for (int i = from; i < from + head; i++) {
                largest = Math.max(largest, Math.abs(want[i]));
            }
            for (int i = from; i < from + head; i++) {
                float difference = Math.abs(got[i] - want[i]);
                assertTrue(difference <= largest / 128, "more than the last place, seed " + fx.seed);
                others += difference == 0 ? 0 : 1;
            }
        }
        System.out.printf("bf16 state of %s blocks, %d rows: %d of %d differ%n", type, batch, others, got.length);
        assertTrue(others <= got.length / 300, others + " of " + got.length + " differ, seed " + fx.seed);
    }

    /** In columns from a millionth on, with a row of zeros and one that is small as a whole. */
    private StepWeight uneven(DType type, int n, int k) {
        float[] w = fx.normal(n * k, 2 / Math.sqrt(k));
        for (int i = 0; i < w.length; i++) {
            w[i] *= i / k == 1 ? 0 : (float) Math.pow(10, (i / k == 2 ? -9 : 0) - 6 * fx.random.nextDouble());
        }
        return weight(type, true, fx.of(w, n, k));
    }

    /** Sessions of very different sizes, and one that is broken, in one batch: each answers as it would alone. */
    @ParameterizedTest(name = "{0} batch={1} D={2} I={3} NH={4}")
    @CsvSource({"BF16,7,48,96,2", "BF16,14,48,192,3", "I8,9,48,96,2", "F32,7,24,48,2"})
    void sessionsOfAnySizeShareABatch(DType type, int batch, int width, int inner, int heads) {
        MlstmBlockWeights w = weights((n, k) -> uneven(type, n, k), width, inner, heads, 4);
        FoldSchedule schedule = new FoldSchedule(6, 6, 1);
        MlstmBlockState fused = state(batch, inner, heads, schedule);
        MlstmBlockState parts = state(batch, inner, heads, schedule);
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, batch, L, width, inner, heads);
        int[] counts = new int[batch];
        Arrays.fill(counts, L);
        Tensor ids = fx.ofInts(range(batch), batch);
        Tensor news = fx.ofInts(counts, batch);
        int row = L * width;
        for (int step = 0; step < 4; step++) {
            float[] x = fx.normal(batch * row, 1);
            for (int i = 0; i < x.length; i++) {
                x[i] *= (float)
                        switch (i / row % 7) {
                            case 0 -> 1e12;
                            case 1 -> 1e-12;
                            case 2 -> Math.pow(10, -6 + 10 * fx.random.nextDouble());
                            case 3 -> 0;
                            case 4 -> Float.NaN;
                            case 5 -> i % row == 1 ? Float.POSITIVE_INFINITY : 1;
                            default -> 1;
                        };
            }
            Tensor got = fx.of(x, batch, L, width);
            Tensor want = fx.of(x, batch, L, width);
            fx.ops.session().mlstmBlock(fx.stream, w, fused, ids, news, memory, got);
            ComposedSteps.mlstmBlock(fx.ops, fx.stream, w, parts, ids, news, memory, want);
            float[] is = fx.read(got);
            float[] meant = fx.read(want);
            for (int b = 0; b < batch; b++) {
                float[] own = Arrays.copyOfRange(is, b * row, (b + 1) * row);
                float[] alone = Arrays.copyOfRange(meant, b * row, (b + 1) * row);
                String name = "row " + b + " of step " + step + ", seed " + fx.seed;
                switch (b % 7) {
                    case 3 -> assertArrayEquals(new float[row], own, name);
                    case 4, 5 -> {
                        for (int at = 3; at < row; at += width) {
                            assertTrue(Float.isNaN(own[at]) && Float.isNaN(alone[at]), name + ": " + own[at]);
                        }
                    }
                    default -> {
                        double error = Fixture.error(own, Fixture.doubles(alone));
                        assertTrue(error < FULL_STATE, name + ": error " + error);
                    }
                }
            }
        }
    }

    private static int[] range(int n) {
        int[] a = new int[n];
        Arrays.setAll(a, i -> i);
        return a;
    }

    private void compareWithParts(
            DType type,
            boolean copied,
            int batch,
            int tokens,
            int width,
            int inner,
            int heads,
            int group,
            int steps,
            int pool,
            FoldSchedule schedule) {
        MlstmBlockWeights w = weights(type, copied, width, inner, heads, group);
        MlstmBlockState fused = state(pool, inner, heads, schedule);
        MlstmBlockState parts = state(pool, inner, heads, schedule);
        compareWithParts(w, fused, parts, batch, tokens, steps, FULL_STATE);
        compareStates("state", w, fused, parts);
    }

    private void compareWithParts(
            MlstmBlockWeights w,
            MlstmBlockState fused,
            MlstmBlockState parts,
            int batch,
            int tokens,
            int steps,
            double limit) {
        int pool = parts.slots().matC().dim(0);
        int width = w.width();
        int inner = Math.toIntExact(w.inner());
        int heads = w.heads();
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, batch, tokens, width, inner, heads);
        boolean[] begun = new boolean[pool];
        for (int step = 0; step < steps; step++) {
            int[] slots = new int[batch];
            int[] counts = new int[batch];
            int first = fx.random.nextInt(pool);
            for (int b = 0; b < batch; b++) {
                slots[b] = (first + b) % pool;
                counts[b] = begun[slots[b]]
                        ? fx.random.nextInt(8) == 0 ? fx.random.nextInt(tokens + 1) : tokens
                        : Math.max(1, tokens - 1);
                begun[slots[b]] |= counts[b] > 0;
            }
            float[] x = fx.normal(batch * tokens * width, 1);
            Tensor got = fx.of(x, batch, tokens, width);
            Tensor want = fx.of(x, batch, tokens, width);
            Tensor ids = fx.ofInts(slots, batch);
            Tensor news = fx.ofInts(counts, batch);
            fx.ops.session().mlstmBlock(fx.stream, w, fused, ids, news, memory, got);
            ComposedSteps.mlstmBlock(fx.ops, fx.stream, w, parts, ids, news, memory, want);
            compare("x of step " + step, counts, tokens, width, fx.read(got), fx.read(want), limit);
        }
    }

    /** Whatever part of them lies in rings. */
    private void compareStates(String name, MlstmBlockWeights w, MlstmBlockState got, MlstmBlockState want) {
        WholeState whole = WholeState.of(fx, w.cell(), got.slots());
        WholeState meant = WholeState.of(fx, w.cell(), want.slots());
        double error = whole.error(meant);
        assertTrue(
                error < STATES,
                () -> name + " differs by " + error + " at " + whole.worst(meant) + ", seed " + fx.seed);
        double past = Fixture.error(fx.read(got.history()), Fixture.doubles(fx.read(want.history())));
        assertTrue(past < STATES, () -> name + "'s history differs by " + past + ", seed " + fx.seed);
    }

    /** Rounding of a hundred steps, of which one form keeps the state after each and the other after some. */
    @ParameterizedTest(name = "{0} D={1} I={2} NH={3}")
    @CsvSource({"F32,64,128,2", "BF16,48,96,2", "F32,24,40,2"})
    void aLongSessionAnswersLikeItsParts(DType type, int width, int inner, int heads) {
        compareWithParts(type, true, 1, L, width, inner, heads, 4, 100, 1, new FoldSchedule(12, 9, 3));
    }

    /** Advances sessions by a step: one form of {@link ai.lram.backend.ops.SessionOps#mlstmBlocks}. */
    private interface Form {
        void step(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x);
    }

    private void together(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x) {
        fx.ops.session().mlstmBlocks(fx.stream, layers, slots, counts, memory, x);
    }

    private void oneByOne(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x) {
        for (MlstmLayer l : layers) {
            fx.ops.session().mlstmBlock(fx.stream, l.weights(), l.state(), slots, counts, memory, x);
        }
    }

    private void inParts(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x) {
        for (MlstmLayer l : layers) {
            ComposedSteps.mlstmBlock(fx.ops, fx.stream, l.weights(), l.state(), slots, counts, memory, x);
        }
    }

    private List<MlstmLayer> layers(List<MlstmBlockWeights> weights, int pool, FoldSchedule schedule) {
        List<MlstmLayer> layers = new ArrayList<>();
        for (MlstmBlockWeights w : weights) {
            layers.add(new MlstmLayer(w, state(pool, w.inner(), w.heads(), schedule, layers.size())));
        }
        return layers;
    }

    private List<MlstmBlockWeights> weights(DType type, int width, int inner, int heads, int blocks) {
        List<MlstmBlockWeights> weights = new ArrayList<>();
        for (int l = 0; l < blocks; l++) {
            weights.add(weights(type, true, width, inner, heads, 4));
        }
        return weights;
    }

    private void compareStates(List<MlstmLayer> got, List<MlstmLayer> want) {
        for (int l = 0; l < got.size(); l++) {
            compareStates(
                    "state of block " + l,
                    got.get(l).weights(),
                    got.get(l).state(),
                    want.get(l).state());
        }
    }

    @ParameterizedTest(name = "{0} batch={1} D={2} I={3} NH={4} blocks={5} steps={6} stagger={7}")
    @CsvSource({
        "F32,1,64,128,2,3,16,3",
        "BF16,1,64,128,2,4,18,1",
        "BF16,1,512,1024,4,2,12,3",
        "I8,3,48,128,4,5,6,3",
        "BF16,1,48,64,2,34,3,3",
        "F32,2,24,40,2,2,20,3",
        "BF16,9,48,96,2,5,12,3"
    })
    void aRunOfBlocksAnswersLikeOneAfterTheOther(
            DType type, int batch, int width, int inner, int heads, int blocks, int steps, int stagger) {
        compareRuns(weights(type, width, inner, heads, blocks), batch, steps, stagger, this::oneByOne);
    }

    @ParameterizedTest(name = "batch={0} D={1} I={2} NH={3} blocks={4} steps={5}")
    @CsvSource({"1,128,256,4,3,16", "5,128,256,4,3,9", "2,256,512,2,2,6", "1,512,1024,4,2,5"})
    void aRunOfBlocksAnswersLikeItsParts(int batch, int width, int inner, int heads, int blocks, int steps) {
        List<MlstmBlockWeights> weights = weights(DType.BF16, width, inner, heads, blocks).stream()
                .map(this::positive)
                .toList();
        compareRuns(weights, batch, steps, 3, this::inParts);
    }

    private void compareRuns(List<MlstmBlockWeights> weights, int batch, int steps, int stagger, Form other) {
        int width = weights.getFirst().width();
        int inner = weights.getFirst().inner();
        int heads = weights.getFirst().heads();
        int pool = batch + 2;
        FoldSchedule schedule = new FoldSchedule(15, 12, stagger);
        List<MlstmLayer> run = layers(weights, pool, schedule);
        List<MlstmLayer> single = layers(weights, pool, schedule);
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, batch, L, width, inner, heads);
        for (int step = 0; step < steps; step++) {
            int[] slots = new int[batch];
            int[] counts = new int[batch];
            for (int b = 0; b < batch; b++) {
                slots[b] = (step + b) % pool;
                counts[b] = fx.random.nextInt(L + 1);
            }
            float[] x = fx.normal(batch * L * width, 1);
            Tensor got = fx.of(x, batch, L, width);
            Tensor want = fx.of(x, batch, L, width);
            Tensor ids = fx.ofInts(slots, batch);
            Tensor news = fx.ofInts(counts, batch);
            together(run, ids, news, memory, got);
            other.step(single, ids, news, memory, want);
            compare("x of step " + step, counts, L, width, fx.read(got), fx.read(want), FULL_STATE);
        }
        compareStates(run, single);
    }

    /** With queries and keys that are positive, but for a few small ones: no normaliser cancels to nothing, whatever the gates. */
    private MlstmBlockWeights positive(MlstmBlockWeights w) {
        int inner = w.inner();
        Tensor bias = fx.of(fill(inner, 2), inner);
        return with(w, bias, magnitudes(w.q()), magnitudes(w.k()), w.inputGateBias(), w.forgetGateBias());
    }

    private Tensor magnitudes(Tensor t) {
        float[] a = fx.read(t);
        for (int i = 0; i < a.length; i++) {
            a[i] = Math.abs(a[i]);
        }
        return fx.of(a, t.dim(0), t.dim(1), t.dim(2));
    }

    /** With each gate about one of -30, 0 and 30. */
    private MlstmBlockWeights extreme(MlstmBlockWeights w) {
        Tensor[] biases = new Tensor[2];
        for (int gate = 0; gate < 2; gate++) {
            float[] a = new float[w.heads()];
            for (int head = 0; head < a.length; head++) {
                a[head] = 30 * (fx.random.nextInt(3) - 1);
            }
            biases[gate] = fx.of(a, a.length);
        }
        return with(w, w.convBias(), w.q(), w.k(), biases[0], biases[1]);
    }

    private static MlstmBlockWeights with(
            MlstmBlockWeights w, Tensor convBias, Tensor q, Tensor k, Tensor inputGateBias, Tensor forgetGateBias) {
        return new MlstmBlockWeights(
                w.norm(),
                w.normWeight(),
                w.upU(),
                w.upZ(),
                w.conv(),
                convBias,
                q,
                k,
                w.v(),
                w.inputGate(),
                inputGateBias,
                w.forgetGate(),
                forgetGateBias,
                w.cell(),
                w.headNorm(),
                w.headNormWeight(),
                w.skip(),
                w.down());
    }

    private List<MlstmLayer> extreme(List<MlstmLayer> layers) {
        return layers.stream()
                .map(l -> new MlstmLayer(extreme(l.weights()), l.state()))
                .toList();
    }

    /** The same layers with other states. */
    private static List<MlstmLayer> over(List<MlstmLayer> states, List<MlstmLayer> weights) {
        List<MlstmLayer> all = new ArrayList<>();
        for (int l = 0; l < states.size(); l++) {
            all.add(new MlstmLayer(weights.get(l).weights(), states.get(l).state()));
        }
        return all;
    }

    /** One session's steps are taken by kernels that keep a ring and by those of a whole block in turn, a step of either or several. */
    @ParameterizedTest(name = "{0} batch={1} D={2} I={3} NH={4} blocks={5} steps={6} first={7} period={8}")
    @CsvSource({
        "F32,1,64,128,2,1,24,24,21",
        "BF16,1,64,128,2,3,20,24,21",
        "BF16,3,80,160,4,2,14,15,12",
        "F32,2,24,40,2,2,24,24,21",
        "I8,3,48,128,4,2,12,15,12",
        "BF16,8,160,320,4,1,10,15,12"
    })
    void aRingThatOtherKernelsLeftIsFolded(
            DType type, int batch, int width, int inner, int heads, int blocks, int steps, int first, int period) {
        int pool = batch + 1;
        FoldSchedule schedule = new FoldSchedule(first, period, 3);
        List<MlstmBlockWeights> weights = weights(type, width, inner, heads, blocks).stream()
                .map(this::positive)
                .toList();
        List<MlstmLayer> mixed = layers(weights, pool, schedule);
        List<MlstmLayer> parts = layers(weights, pool, schedule);
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, batch, L, width, inner, heads);
        boolean whole = false;
        int left = 0;
        for (int step = 0; step < steps; step++) {
            if (left == 0) {
                whole = !whole;
                left = 1 + fx.random.nextInt(whole ? 3 : first / 3);
            }
            left--;
            int[] slots = MlstmSessions.distinct(fx, pool, batch);
            int[] counts = new int[batch];
            Arrays.setAll(counts, b -> fx.random.nextInt(3) == 0 ? fx.random.nextInt(L + 1) : L);
            float[] x = fx.normal(batch * L * width, 1);
            Tensor got = fx.of(x, batch, L, width);
            Tensor want = fx.of(x, batch, L, width);
            Tensor ids = fx.ofInts(slots, batch);
            Tensor news = fx.ofInts(counts, batch);
            List<MlstmLayer> layers = fx.random.nextInt(4) == 0 ? extreme(parts) : parts;
            Form form = !whole ? this::inParts : fx.random.nextBoolean() ? this::together : this::oneByOne;
            form.step(over(mixed, layers), ids, news, memory, got);
            inParts(layers, ids, news, memory, want);
            String name = "x of step " + step + (whole ? ", whole" : ", in parts");
            compare(name, counts, L, width, fx.read(got), fx.read(want), FULL_STATE);
        }
        compareStates(mixed, parts);
    }

    @ParameterizedTest(name = "{0} batch={1} D={2} I={3} NH={4} blocks={5} L={6}")
    @CsvSource({
        "BF16,2,64,128,2,2,3",
        "BF16,5,80,160,4,2,3",
        "BF16,13,48,96,2,2,3",
        "F32,3,24,36,3,2,3",
        "I8,4,48,128,4,2,3",
        "BF16,4,64,128,2,2,1",
        "F32,5,48,96,2,2,2"
    })
    void theOrderOfABatchChangesNoBit(DType type, int batch, int width, int inner, int heads, int blocks, int tokens) {
        FoldSchedule schedule = new FoldSchedule(12, 9, 2);
        List<MlstmBlockWeights> weights = weights(type, width, inner, heads, blocks);
        List<List<MlstmLayer>> runs =
                List.of(layers(weights, batch + 1, schedule), layers(weights, batch + 1, schedule));
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, batch, tokens, width, inner, heads);
        int row = tokens * width;
        for (int step = 0; step < 9; step++) {
            int[] slots = MlstmSessions.distinct(fx, batch + 1, batch);
            int[] order = MlstmSessions.distinct(fx, batch, batch);
            int[] counts = new int[batch];
            Arrays.setAll(counts, b -> fx.random.nextInt(3) == 0 ? fx.random.nextInt(tokens + 1) : tokens);
            float[] x = fx.normal(batch * row, 1);
            float[] permuted = new float[x.length];
            for (int b = 0; b < batch; b++) {
                System.arraycopy(x, order[b] * row, permuted, b * row, row);
            }
            Tensor first = fx.of(x, batch, tokens, width);
            Tensor second = fx.of(permuted, batch, tokens, width);
            together(runs.get(0), fx.ofInts(slots, batch), fx.ofInts(counts, batch), memory, first);
            Tensor ids = fx.ofInts(permuted(slots, order), batch);
            together(runs.get(1), ids, fx.ofInts(permuted(counts, order), batch), memory, second);
            float[] want = fx.read(first);
            float[] got = fx.read(second);
            for (int b = 0; b < batch; b++) {
                int old = (tokens - counts[order[b]]) * width; // rows that may hold anything
                assertArrayEquals(
                        Arrays.copyOfRange(want, order[b] * row + old, (order[b] + 1) * row),
                        Arrays.copyOfRange(got, b * row + old, (b + 1) * row),
                        "row " + order[b] + " in place " + b + " of step " + step + ", seed " + fx.seed);
            }
        }
        for (int l = 0; l < blocks; l++) {
            List<Tensor> want = kept(runs.get(0).get(l).state());
            List<Tensor> got = kept(runs.get(1).get(l).state());
            for (int part = 0; part < want.size(); part++) {
                assertArrayEquals(fx.read(want.get(part)), fx.read(got.get(part)), "part " + part + " of block " + l);
            }
        }
    }

    private static int[] permuted(int[] a, int[] order) {
        return Arrays.stream(order).map(from -> a[from]).toArray();
    }

    private static List<Tensor> kept(MlstmBlockState state) {
        MlstmSlots s = state.slots();
        return List.of(s.matC(), s.vecN(), s.scaM(), s.ringK(), s.ringV(), s.ringI(), s.ringF(), state.history());
    }

    @ParameterizedTest(name = "slots {0} {1}, counts {2} {3}")
    @CsvSource({"0,7,3,3", "-1,1,3,3", "1,1,3,3", "0,1,4,3", "0,1,3,-1"})
    void aWrongSlotOrCountIsRefusedAndChangesNothing(int slotA, int slotB, int countA, int countB) {
        FoldSchedule schedule = new FoldSchedule(12, 9, 3);
        MlstmBlockWeights w = weights(DType.F32, false, 32, 64, 2, 4);
        List<MlstmLayer> layers = List.of(
                new MlstmLayer(w, state(3, 64, 2, schedule, 0)), new MlstmLayer(w, state(3, 64, 2, schedule, 1)));
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, 2, L, 32, 64, 2);
        Tensor slots = fx.ofInts(new int[] {slotA, slotB}, 2);
        Tensor counts = fx.ofInts(new int[] {countA, countB}, 2);
        float[] values = fx.normal(2 * L * 32, 1);
        Tensor x = fx.of(values, 2, L, 32);
        assertThrows(ShapeMismatchException.class, () -> {
            fx.ops.session().mlstmBlocks(fx.stream, layers, slots, counts, memory, x);
            fx.stream.synchronize();
        });
        assertThrows(ShapeMismatchException.class, () -> {
            fx.ops.session().mlstmBlock(fx.stream, w, layers.getFirst().state(), slots, counts, memory, x);
            fx.stream.synchronize();
        });
        assertArrayEquals(values, fx.read(x));
        for (MlstmLayer l : layers) {
            assertArrayEquals(new int[6], fx.readInts(l.state().slots().ringLength()));
        }
    }

    @ParameterizedTest(name = "slot {0}, count {1} among many")
    @CsvSource({"12,3", "-1,3", "5,3", "2,4", "2,-1"})
    void aWrongRowAmongManyChangesNothing(int slot, int count) {
        int batch = 11;
        FoldSchedule schedule = new FoldSchedule(12, 9, 3);
        MlstmBlockWeights w = weights(DType.BF16, true, 32, 64, 2, 4);
        List<MlstmLayer> layers = List.of(
                new MlstmLayer(w, state(12, 64, 2, schedule, 0)), new MlstmLayer(w, state(12, 64, 2, schedule, 1)));
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, batch, L, 32, 64, 2);
        int[] ids = new int[batch];
        int[] news = new int[batch];
        for (int b = 0; b < batch; b++) {
            ids[b] = b;
            news[b] = L;
        }
        ids[2] = slot;
        news[2] = count;
        Tensor slots = fx.ofInts(ids, batch);
        Tensor counts = fx.ofInts(news, batch);
        float[] values = fx.normal(batch * L * 32, 1);
        Tensor x = fx.of(values, batch, L, 32);
        assertThrows(ShapeMismatchException.class, () -> {
            fx.ops.session().mlstmBlocks(fx.stream, layers, slots, counts, memory, x);
            fx.stream.synchronize();
        });
        assertThrows(ShapeMismatchException.class, () -> {
            fx.ops.session().mlstmBlock(fx.stream, w, layers.getFirst().state(), slots, counts, memory, x);
            fx.stream.synchronize();
        });
        assertArrayEquals(values, fx.read(x));
        for (MlstmLayer l : layers) {
            assertArrayEquals(new int[24], fx.readInts(l.state().slots().ringLength()));
            for (float past : fx.read(l.state().history())) {
                assertEquals(0f, past);
            }
        }
    }

    @Test
    void noRowsAreNoWork() {
        MlstmBlockWeights w = weights(DType.F32, false, 32, 64, 2, 4);
        MlstmBlockState state = state(3, 64, 2, new FoldSchedule(12, 9, 3), 0);
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, 1, L, 32, 64, 2);
        Tensor none = fx.ofInts(new int[0], 0);
        fx.ops.session().mlstmBlock(fx.stream, w, state, none, none, memory.rows(0), fx.zeros(0, L, 32));
        List<MlstmLayer> run = List.of(new MlstmLayer(w, state));
        fx.ops.session().mlstmBlocks(fx.stream, run, none, none, memory.rows(0), fx.zeros(0, L, 32));
        fx.stream.synchronize();
        assertArrayEquals(new int[6], fx.readInts(state.slots().ringLength()));
    }

    private void compare(String name, int[] counts, int tokens, int width, float[] got, float[] want, double limit) {
        for (int b = 0; b < counts.length; b++) {
            int from = (b * tokens + tokens - counts[b]) * width;
            int to = (b + 1) * tokens * width;
            if (from < to) {
                double error = Fixture.error(
                        Arrays.copyOfRange(got, from, to), Fixture.doubles(Arrays.copyOfRange(want, from, to)));
                assertTrue(error < limit, name + ", row " + b + ": error " + error + ", seed " + fx.seed);
            }
        }
    }
}
