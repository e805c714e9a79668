package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.ComposedSteps;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.StepWeight;
import ai.lram.backend.ops.TransformerBlockMemory;
import ai.lram.backend.ops.TransformerBlockWeights;
import ai.lram.backend.ops.TransformerLayer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Transformer blocks of the control step answer like the kernels they are put together from. */
public abstract class TransformerStepContract extends KernelContract {
    private static final NormSpec LAYER = new NormSpec(1, 1e-5f, true, false);
    private static final NormSpec ROOT_MEAN_SQUARE = new NormSpec(1, 1e-5f, false, true);

    private Tensor drawn(double scale, int... shape) {
        return fx.of(fx.normal(Math.toIntExact(Tensor.sizeOf(shape)), scale), shape);
    }

    private StepWeight weight(DType type, int n, int k) {
        return StepWeight.of(drawn(1 / Math.sqrt(k), n, k), type, fx.arena, fx.ops.matmul(), fx.stream);
    }

    private TransformerBlockWeights weights(DType type, int width, int inner, NormSpec norm, boolean biased) {
        return new TransformerBlockWeights(
                norm,
                drawn(1, width),
                biased ? drawn(1, width) : null,
                weight(type, width, width),
                biased ? drawn(1, width) : null,
                weight(type, width, width),
                biased ? drawn(1, width) : null,
                weight(type, width, width),
                biased ? drawn(1, width) : null,
                weight(type, width, width),
                biased ? drawn(1, width) : null,
                norm,
                drawn(1, width),
                biased ? drawn(1, width) : null,
                weight(type, inner, width),
                biased ? drawn(1, inner) : null,
                weight(type, width, inner),
                biased ? drawn(1, width) : null);
    }

    private TransformerLayer layer(TransformerBlockWeights w, int pool, int capacity, int heads) {
        int dim = w.width() / heads;
        return new TransformerLayer(
                w,
                fx.zeros(pool, capacity, heads, dim),
                fx.zeros(pool, capacity, heads, dim),
                fx.ofInts(new int[pool], pool));
    }

    @ParameterizedTest(name = "{0} B={1} L={2} D={3} NH={4} F={5} layers={6} steps={7} {8}")
    @CsvSource({
        "BF16,1,3,32,4,64,2,10,LAYER",
        "BF16,3,3,264,33,520,1,2,LAYER",
        "BF16,2,3,64,4,128,1,3,LAYER",
        "BF16,4,3,64,4,128,1,2,RMS",
        "F32,1,1,32,4,64,2,5,LAYER",
        "I8,1,3,128,2,512,2,4,RMS",
        "F32,1,3,40,5,72,2,9,LAYER",
        "BF16,1,3,64,4,2056,2,2,LAYER",
        "BF16,9,3,64,4,128,1,2,LAYER",
        "F32,1,2,36,3,70,2,9,RMS"
    })
    void blocksAnswerLikeTheirParts(
            DType type, int batch, int tokens, int width, int heads, int inner, int layers, int steps, String norm) {
        int pool = batch + 2;
        int capacity = 20;
        List<TransformerLayer> fused = new ArrayList<>();
        List<TransformerLayer> parts = new ArrayList<>();
        for (int l = 0; l < layers; l++) {
            TransformerBlockWeights w =
                    weights(type, width, inner, norm.equals("RMS") ? ROOT_MEAN_SQUARE : LAYER, l % 2 == 0);
            fused.add(layer(w, pool, capacity, heads));
            parts.add(layer(w, pool, capacity, heads));
        }
        TransformerBlockMemory memory = TransformerBlockMemory.allocate(
                        fx.arena, batch + 1, tokens, width, heads, inner)
                .rows(batch);
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
                begun[slots[b]] = true;
            }
            float[] x = fx.normal(batch * tokens * width, 1);
            Tensor got = fx.of(x, batch, tokens, width);
            Tensor want = fx.of(x, batch, tokens, width);
            Tensor ids = fx.ofInts(slots, batch);
            Tensor news = fx.ofInts(counts, batch);
            fx.ops.attention().transformerBlocks(fx.stream, fused, ids, news, memory, got);
            for (TransformerLayer l : parts) {
                ComposedSteps.transformerBlock(fx.ops, fx.stream, l, ids, news, memory, want);
            }
            compare("x of step " + step, counts, tokens * width, width, fx.read(got), fx.read(want));
        }
        for (int l = 0; l < layers; l++) {
            assertArrayEquals(
                    fx.readInts(parts.get(l).length()), fx.readInts(fused.get(l).length()));
            fx.assertClose(
                    "keys",
                    Fixture.doubles(fx.read(parts.get(l).keys())),
                    fused.get(l).keys(),
                    1e-5);
            fx.assertClose(
                    "values",
                    Fixture.doubles(fx.read(parts.get(l).values())),
                    fused.get(l).values(),
                    1e-5);
        }
    }

    private void compare(String name, int[] counts, int row, int token, float[] got, float[] want) {
        for (int b = 0; b < counts.length; b++) {
            int from = (b + 1) * row - counts[b] * token;
            int to = (b + 1) * row;
            if (from < to) {
                double error = Fixture.error(
                        Arrays.copyOfRange(got, from, to), Fixture.doubles(Arrays.copyOfRange(want, from, to)));
                assertTrue(error < 1e-5, name + ", row " + b + ": error " + error + ", seed " + fx.seed);
            }
        }
    }

    @ParameterizedTest(name = "slot {0}, count {1}")
    @CsvSource({"4,3", "-1,3", "0,3", "2,4", "2,-1"})
    void aWrongRowChangesNoCache(int slot, int count) {
        TransformerBlockWeights w = weights(DType.BF16, 32, 64, LAYER, true);
        List<TransformerLayer> layers = List.of(layer(w, 4, 50, 4), layer(w, 4, 50, 4));
        TransformerBlockMemory memory = TransformerBlockMemory.allocate(fx.arena, 2, 3, 32, 4, 64);
        Tensor slots = fx.ofInts(new int[] {0, slot}, 2);
        Tensor counts = fx.ofInts(new int[] {3, count}, 2);
        Tensor x = drawn(1, 2, 3, 32);
        boolean host =
                x.isHost(); // such an engine looks at a row's slot before it is used, and two rows may share one there
        Fixture.skipUnless(!(host && slot == 0), "host engines do not look for a slot that is named twice");
        assertThrows(ShapeMismatchException.class, () -> {
            fx.ops.attention().transformerBlocks(fx.stream, layers, slots, counts, memory, x);
            fx.stream.synchronize();
        });
        for (TransformerLayer l : layers) {
            assertArrayEquals(new int[4], fx.readInts(l.length()));
            assertArrayEquals(new float[(int) l.keys().size()], fx.read(l.keys()));
            assertArrayEquals(new float[(int) l.values().size()], fx.read(l.values()));
        }
    }

    @Test
    void refusesWhatDoesNotBelongTogether() {
        TransformerBlockWeights w = weights(DType.BF16, 32, 64, LAYER, true);
        TransformerBlockWeights other = weights(DType.BF16, 40, 64, LAYER, true);
        TransformerBlockMemory memory = TransformerBlockMemory.allocate(fx.arena, 1, 3, 32, 4, 64);
        Tensor slots = fx.ofInts(new int[] {0}, 1);
        Tensor counts = fx.ofInts(new int[] {3}, 1);
        Tensor x = drawn(1, 1, 3, 32);
        var attention = fx.ops.attention();
        List<TransformerLayer> good = List.of(layer(w, 2, 9, 4));
        assertThrows(
                ShapeMismatchException.class,
                () -> attention.transformerBlocks(fx.stream, List.of(layer(w, 2, 9, 8)), slots, counts, memory, x));
        assertThrows(
                ShapeMismatchException.class,
                () -> attention.transformerBlocks(fx.stream, List.of(layer(other, 2, 9, 5)), slots, counts, memory, x));
        assertThrows(
                ShapeMismatchException.class,
                () -> attention.transformerBlocks(fx.stream, good, fx.ofInts(new int[] {0, 1}, 2), counts, memory, x));
        assertThrows(
                ShapeMismatchException.class,
                () -> new TransformerBlockWeights(
                        LAYER,
                        w.normWeight(),
                        null,
                        w.q(),
                        null,
                        w.k(),
                        null,
                        other.v(),
                        null,
                        w.out(),
                        null,
                        LAYER,
                        w.innerNormWeight(),
                        null,
                        w.up(),
                        null,
                        w.down(),
                        null));
    }

    @Test
    void noRowsAreNoWork() {
        TransformerBlockWeights w = weights(DType.F32, 32, 64, LAYER, true);
        List<TransformerLayer> layers = List.of(layer(w, 3, 9, 4));
        TransformerBlockMemory memory = TransformerBlockMemory.allocate(fx.arena, 1, 3, 32, 4, 64);
        Tensor none = fx.ofInts(new int[0], 0);
        fx.ops.attention().transformerBlocks(fx.stream, layers, none, none, memory.rows(0), fx.zeros(0, 3, 32));
        fx.stream.synchronize();
        assertArrayEquals(new int[3], fx.readInts(layers.getFirst().length()));
    }
}
