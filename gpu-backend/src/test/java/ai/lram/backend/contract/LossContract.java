package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.reference.NumericGradient;
import ai.lram.backend.reference.ReferenceLoss;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every engine's losses must do. */
public abstract class LossContract {
    private static final double TOLERANCE = 5e-7;

    private Backend backend;
    private Fixture fx;

    protected abstract Backend openBackend();

    @BeforeEach
    void open() {
        backend = openBackend();
        fx = new Fixture(backend);
    }

    @AfterEach
    void close() {
        fx.close();
        backend.close();
    }

    private int[] ids(int rows, int width) {
        return fx.random.ints(rows, 0, width).toArray();
    }

    private float[] mask(int rows) {
        float[] m = new float[rows];
        for (int i = 0; i < rows; i++) {
            m[i] = fx.random.nextInt(3) == 0 ? 0 : 1;
        }
        m[rows / 2] = 1;
        return m;
    }

    @ParameterizedTest(name = "M={0} V={1} logits x {2}")
    @CsvSource({"1,1,1", "3,2,1", "7,15,3", "5,16,1", "65,17,1", "300,274,2", "129,256,10", "4,3001,1", "2,40,60"})
    void agreesWithTheReference(int rows, int width, double spread) {
        float[] x = fx.normal(rows * width, spread);
        int[] target = ids(rows, width);
        float[] mask = mask(rows);
        for (int i = 0; i < rows; i += 2) {
            x[i * width + target[i]] += 2 * (float) spread;
        }
        ReferenceLoss.Result want = ReferenceLoss.crossEntropy(
                Fixture.doubles(x), ReferenceLoss.oneHot(target, width), target, Fixture.doubles(mask), width, 2.5);
        Tensor d = fx.poisoned(rows, width);
        Tensor stats = fx.poisoned(3);
        fx.ops
                .loss()
                .crossEntropy(
                        fx.stream, fx.of(x, rows, width), fx.ofInts(target, rows), fx.of(mask, rows), 2.5f, d, stats);
        assertStats(want.stats(), stats);
        assertGradient(want, 2.5, d);
        Tensor again = fx.poisoned(3);
        fx.ops
                .loss()
                .crossEntropy(
                        fx.stream,
                        fx.of(x, rows, width),
                        fx.ofInts(target, rows),
                        fx.of(mask, rows),
                        2.5f,
                        null,
                        again);
        assertArrayEquals(fx.read(stats), fx.read(again), "the loss does not depend on whether a gradient is wanted");
    }

    /** Softmax minus one-hot is as exact as its largest term, not as its difference. */
    private void assertGradient(ReferenceLoss.Result want, double gradScale, Tensor d) {
        double term = gradScale / want.stats()[1];
        double scale = Arrays.stream(want.dlogits()).map(Math::abs).max().orElseThrow();
        fx.assertClose("dlogits", want.dlogits(), d, TOLERANCE * Math.max(1, term / scale));
    }

    private void assertStats(double[] want, Tensor stats) {
        float[] got = fx.read(stats);
        for (int i = 0; i < 3; i++) {
            assertEquals(
                    want[i], got[i], 1e-6 * Math.max(1e-3, Math.abs(want[i])), "stats[" + i + "], seed " + fx.seed);
        }
    }

    @ParameterizedTest(name = "V={0} first={1} bins={2} sigma={3}")
    @CsvSource({"274,18,256,0.75", "274,0,256,3", "20,3,9,0.1", "17,16,1,2", "64,0,64,30", "33,5,20,0.001"})
    void softBinsAgreeWithTheReference(int width, int first, int bins, float sigma) {
        float[] edge = {
            first,
            first + bins,
            first + bins - 0.001f,
            first - 1 * sigma,
            first - 7.5f * sigma,
            first - 9 * sigma,
            first + bins + 3 * sigma,
            first + bins + 7.9f * sigma,
            first + bins + 20 * sigma,
            -1e30f,
            1e30f,
            first + 0.5f,
            first + bins / 2
        };
        int rows = 70;
        float[] target = new float[rows];
        for (int i = 0; i < rows; i++) {
            target[i] = i < edge.length ? edge[i] : first + fx.random.nextFloat() * bins;
        }
        float[] x = fx.normal(rows * width, 2);
        float[] mask = mask(rows);
        Arrays.fill(mask, 0, edge.length, 1);
        int[] bin = new int[rows];
        for (int i = 0; i < rows; i++) {
            bin[i] = (int) Math.max(first, Math.min(first + bins - 1, Math.floor(target[i])));
        }
        double[] p = ReferenceLoss.softBins(Fixture.doubles(target), width, first, bins, sigma);
        ReferenceLoss.Result want =
                ReferenceLoss.crossEntropy(Fixture.doubles(x), p, bin, Fixture.doubles(mask), width, 1);
        Tensor d = fx.poisoned(rows, width);
        Tensor stats = fx.poisoned(3);
        fx.ops
                .loss()
                .crossEntropySoftBins(
                        fx.stream,
                        fx.of(x, rows, width),
                        fx.of(target, rows),
                        fx.of(mask, rows),
                        first,
                        bins,
                        sigma,
                        1,
                        d,
                        stats);
        assertStats(want.stats(), stats);
        assertGradient(want, 1, d);
    }

    @Test
    void referenceGradientIsTheDerivativeOfTheReference() {
        int rows = 4;
        int width = 6;
        double[] x = Fixture.doubles(fx.normal(rows * width, 1));
        double[] p = ReferenceLoss.softBins(new double[] {1.3, 2.9, -4, 5.5}, width, 1, 4, 0.8);
        double[] mask = {1, 0, 1, 1};
        int[] bins = new int[rows];
        double[] g = ReferenceLoss.crossEntropy(x, p, bins, mask, width, 1).dlogits();
        NumericGradient.assertAgrees(
                "dlogits",
                g,
                NumericGradient.of(x, v -> ReferenceLoss.crossEntropy(v, p, bins, mask, width, 1)
                        .stats()[0]),
                1e-9);
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void partsOfABatchAddUpToIt(boolean soft) {
        int rows = 37;
        int cut = 11;
        int width = 21;
        float[] x = fx.normal(rows * width, 2);
        int[] ids = ids(rows, width);
        float[] positions = new float[rows];
        for (int i = 0; i < rows; i++) {
            positions[i] = ids[i] + 0.3f;
        }
        float[] mask = mask(rows);
        Tensor logits = fx.of(x, rows, width);
        Tensor targets = soft ? fx.of(positions, rows) : fx.ofInts(ids, rows);
        Tensor whole = fx.of(mask, rows);
        Tensor d = fx.poisoned(rows, width);
        Tensor want = fx.poisoned(rows, width);
        float[] stats = loss(soft, logits, targets, whole, whole, want);
        float[] first =
                loss(soft, part(logits, 0, cut), part(targets, 0, cut), part(whole, 0, cut), whole, part(d, 0, cut));
        float[] second = loss(
                soft,
                part(logits, cut, rows),
                part(targets, cut, rows),
                part(whole, cut, rows),
                whole,
                part(d, cut, rows));
        assertArrayEquals(fx.read(want), fx.read(d), "the gradient of a row is that of the whole batch");
        for (int i : new int[] {0, 2}) {
            assertEquals(stats[i], first[i] + second[i], 1e-6 * Math.max(1, stats[i]), "stats[" + i + "]");
        }
        assertEquals(stats[1], first[1]);
        assertEquals(stats[1], second[1]);
    }

    private static Tensor part(Tensor t, int from, int to) {
        return t.slice(from, to - from);
    }

    private float[] loss(boolean soft, Tensor logits, Tensor targets, Tensor mask, Tensor whole, Tensor d) {
        Tensor stats = fx.poisoned(3);
        if (soft) {
            fx.ops.loss().crossEntropySoftBins(fx.stream, logits, targets, mask, whole, 1, 20, 1, 2, d, stats);
        } else {
            fx.ops.loss().crossEntropy(fx.stream, logits, targets, mask, whole, 2, d, stats);
        }
        return fx.read(stats);
    }

    @Test
    void maskedRowsAreNotReadNotEvenTheirNans() {
        int width = 21;
        float[] x = fx.normal(3 * width, 1);
        Arrays.fill(x, width, 2 * width, Float.NaN);
        float[] mask = {1, 0, 1};
        for (boolean soft : new boolean[] {false, true}) {
            Tensor d = fx.poisoned(3, width);
            Tensor stats = fx.poisoned(3);
            if (soft) {
                fx.ops
                        .loss()
                        .crossEntropySoftBins(
                                fx.stream,
                                fx.of(x, 3, width),
                                fx.of(new float[] {4, Float.NaN, 2}, 3),
                                fx.of(mask, 3),
                                1,
                                20,
                                1,
                                1,
                                d,
                                stats);
            } else {
                fx.ops
                        .loss()
                        .crossEntropy(
                                fx.stream,
                                fx.of(x, 3, width),
                                fx.ofInts(new int[] {4, -1, 2}, 3),
                                fx.of(mask, 3),
                                1,
                                d,
                                stats);
            }
            float[] g = fx.read(d);
            for (int i = 0; i < g.length; i++) {
                assertTrue(
                        i / width == 1 ? g[i] == 0 : Float.isFinite(g[i]) && g[i] != 0,
                        "gradient " + i + " is " + g[i]);
            }
            assertTrue(Float.isFinite(fx.read(stats)[0]));
            assertEquals(2, fx.read(stats)[1]);
        }
    }

    @Test
    void nanInACountedRowShowsInTheLossAndStaysInItsRow() {
        int width = 18;
        float[] x = fx.normal(3 * width, 1);
        x[width + 17] = Float.NaN;
        Tensor d = fx.poisoned(3, width);
        Tensor stats = fx.poisoned(3);
        fx.ops
                .loss()
                .crossEntropy(
                        fx.stream,
                        fx.of(x, 3, width),
                        fx.ofInts(new int[] {4, 3, 2}, 3),
                        fx.of(new float[] {1, 1, 1}, 3),
                        1,
                        d,
                        stats);
        assertTrue(Float.isNaN(fx.read(stats)[0]));
        float[] g = fx.read(d);
        for (int i = 0; i < g.length; i++) {
            assertEquals(i / width == 1, Float.isNaN(g[i]), "gradient " + i);
        }
    }

    @Test
    void argmaxIsTheFirstMaximum() {
        int width = 40;
        float[] x = new float[2 * width];
        x[7] = 3;
        x[30] = 3;
        x[width + 7] = 3;
        x[width + 30] = 3;
        Tensor stats = fx.poisoned(3);
        fx.ops
                .loss()
                .crossEntropy(
                        fx.stream,
                        fx.of(x, 2, width),
                        fx.ofInts(new int[] {7, 30}, 2),
                        fx.of(new float[] {1, 1}, 2),
                        1,
                        null,
                        stats);
        assertEquals(0.5f, fx.read(stats)[2]);
    }

    @Test
    void noCountedRowGivesZeroLossAndGradient() {
        Tensor d = fx.poisoned(2, 5);
        Tensor stats = fx.poisoned(3);
        fx.ops.loss().crossEntropy(fx.stream, fx.zeros(2, 5), fx.ofInts(new int[2], 2), fx.zeros(2), 1, d, stats);
        assertArrayEquals(new float[10], fx.read(d));
        assertArrayEquals(new float[3], fx.read(stats));
    }

    @Test
    void impossibleClassesHaveNoProbability() {
        float[] x = fx.normal(20, 1);
        x[3] = Float.NEGATIVE_INFINITY;
        x[18] = Float.NEGATIVE_INFINITY;
        Tensor d = fx.poisoned(1, 20);
        Tensor stats = fx.poisoned(3);
        fx.ops
                .loss()
                .crossEntropy(
                        fx.stream,
                        fx.of(x, 1, 20),
                        fx.ofInts(new int[] {5}, 1),
                        fx.of(new float[] {1}, 1),
                        1,
                        d,
                        stats);
        assertEquals(0, fx.read(d)[3]);
        assertEquals(0, fx.read(d)[18]);
        assertTrue(Float.isFinite(fx.read(stats)[0]));
    }

    @Test
    void refusesShapesThatDoNotBelongTogether() {
        Tensor x = fx.zeros(3, 8);
        Tensor target = fx.ofInts(new int[3], 3);
        Tensor mask = fx.zeros(3);
        Tensor d = fx.poisoned(3, 8);
        Tensor stats = fx.poisoned(3);
        var loss = fx.ops.loss();
        assertThrows(
                ShapeMismatchException.class,
                () -> loss.crossEntropy(fx.stream, x, fx.ofInts(new int[2], 2), mask, 1, d, stats));
        assertThrows(
                ShapeMismatchException.class, () -> loss.crossEntropy(fx.stream, x, fx.zeros(3), mask, 1, d, stats));
        assertThrows(
                ShapeMismatchException.class, () -> loss.crossEntropy(fx.stream, x, target, fx.zeros(4), 1, d, stats));
        assertThrows(
                ShapeMismatchException.class,
                () -> loss.crossEntropy(fx.stream, x, target, mask, 1, fx.zeros(3, 7), stats));
        assertThrows(
                ShapeMismatchException.class, () -> loss.crossEntropy(fx.stream, x, target, mask, 1, d, fx.zeros(2)));
        assertThrows(
                ShapeMismatchException.class,
                () -> loss.crossEntropySoftBins(fx.stream, x, mask, mask, 1, 8, 1, 1, d, stats),
                "the last bin does not exist");
        assertThrows(
                ShapeMismatchException.class,
                () -> loss.crossEntropySoftBins(fx.stream, x, mask, mask, 1, 0, 1, 1, d, stats),
                "no bins");
        assertThrows(
                ShapeMismatchException.class,
                () -> loss.crossEntropySoftBins(fx.stream, x, mask, mask, 1, 2, 0, 1, d, stats),
                "sigma 0");
        for (Tensor t : new Tensor[] {d, stats}) {
            for (float v : fx.read(t)) {
                assertTrue(Float.isNaN(v));
            }
        }
    }
}
