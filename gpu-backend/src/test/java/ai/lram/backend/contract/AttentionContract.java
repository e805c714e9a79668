package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.reference.NumericGradient;
import ai.lram.backend.reference.ReferenceAttention;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What every engine's causal attention must do. */
public abstract class AttentionContract {
    private static final double TOLERANCE = 1e-6;

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

    @ParameterizedTest(name = "B={0} S={1} NH={2} D={3} scores x {4}")
    @CsvSource({
        "1,1,1,1,1",
        "2,3,2,5,1",
        "1,33,1,16,1",
        "2,65,3,17,1",
        "1,130,2,64,1",
        "1,300,1,33,1",
        "2,150,4,32,1",
        "1,129,1,128,1",
        "1,70,2,24,30",
        "1,257,1,8,1"
    })
    void agreesWithTheReference(int b, int s, int heads, int dim, double spread) {
        ReferenceAttention reference = new ReferenceAttention(b, s, heads, dim);
        int n = b * s * heads * dim;
        float[] q = fx.normal(n, spread);
        float[] k = fx.normal(n, 1);
        float[] v = fx.normal(n, 1);
        float[] dy = fx.normal(n, 1);
        Tensor tq = fx.of(q, b, s, heads, dim);
        Tensor tk = fx.of(k, b, s, heads, dim);
        Tensor tv = fx.of(v, b, s, heads, dim);
        Tensor y = fx.poisoned(b, s, heads, dim);
        Tensor lse = fx.poisoned(b, heads, s);
        fx.ops.attention().causal(fx.stream, tq, tk, tv, y, lse);
        ReferenceAttention.Result want = reference.forward(Fixture.doubles(q), Fixture.doubles(k), Fixture.doubles(v));
        // A score of size x carries an error of about x * 2^-24 into the exponent.
        double tolerance = TOLERANCE * Math.max(1, spread);
        fx.assertClose("y", want.y(), y, tolerance);
        fx.assertClose("lse", want.lse(), lse, TOLERANCE);
        Tensor again = fx.poisoned(b, s, heads, dim);
        fx.ops.attention().causal(fx.stream, tq, tk, tv, again, null);
        assertArrayEquals(fx.read(y), fx.read(again), "y does not depend on whether lse is wanted");

        Tensor dq = fx.poisoned(b, s, heads, dim);
        Tensor dk = fx.poisoned(b, s, heads, dim);
        Tensor dv = fx.poisoned(b, s, heads, dim);
        fx.ops.attention().causalBackward(fx.stream, tq, tk, tv, y, lse, fx.of(dy, b, s, heads, dim), dq, dk, dv);
        ReferenceAttention.Gradients g =
                reference.backward(Fixture.doubles(q), Fixture.doubles(k), Fixture.doubles(v), Fixture.doubles(dy));
        if (s > 1) {
            fx.assertClose("dq", g.dq(), dq, 2 * tolerance);
            fx.assertClose("dk", g.dk(), dk, 2 * tolerance);
        } else {
            for (float d : fx.read(dq)) {
                assertEquals(0, d, 1e-6, "a single token's weight is 1 whatever its query");
            }
        }
        fx.assertClose("dv", g.dv(), dv, tolerance);
    }

    @Test
    void referenceGradientIsTheDerivativeOfTheReference() {
        ReferenceAttention reference = new ReferenceAttention(2, 4, 2, 3);
        int n = 2 * 4 * 2 * 3;
        double[] q = Fixture.doubles(fx.normal(n, 1));
        double[] k = Fixture.doubles(fx.normal(n, 1));
        double[] v = Fixture.doubles(fx.normal(n, 1));
        double[] dy = Fixture.doubles(fx.normal(n, 1));
        ReferenceAttention.Gradients g = reference.backward(q, k, v, dy);
        NumericGradient.assertAgrees(
                "dq",
                g.dq(),
                NumericGradient.of(q, x -> dot(dy, reference.forward(x, k, v).y())),
                1e-8);
        NumericGradient.assertAgrees(
                "dk",
                g.dk(),
                NumericGradient.of(k, x -> dot(dy, reference.forward(q, x, v).y())),
                1e-8);
        NumericGradient.assertAgrees(
                "dv",
                g.dv(),
                NumericGradient.of(v, x -> dot(dy, reference.forward(q, k, x).y())),
                1e-8);
    }

    @Test
    void nanReachesNeitherThePastNorAnotherSequence() {
        int s = 70;
        int heads = 2;
        int dim = 20;
        float[] q = fx.normal(2 * s * heads * dim, 1);
        float[] k = fx.normal(q.length, 1);
        float[] v = fx.normal(q.length, 1);
        int poisoned = 41;
        k[(poisoned * heads + 1) * dim + 3] = Float.NaN;
        v[(poisoned * heads + 1) * dim + 3] = Float.NaN;
        Tensor y = fx.zeros(2, s, heads, dim);
        fx.ops
                .attention()
                .causal(
                        fx.stream,
                        fx.of(q, 2, s, heads, dim),
                        fx.of(k, 2, s, heads, dim),
                        fx.of(v, 2, s, heads, dim),
                        y,
                        null);
        float[] out = fx.read(y);
        for (int i = 0; i < out.length; i++) {
            boolean reached = i / (heads * dim) >= poisoned && i / (heads * dim) < s && i / dim % heads == 1;
            assertEquals(reached, Float.isNaN(out[i]), "element " + i);
        }
    }

    /** Robots with different numbers of new tokens, over a cache that fills and turns. */
    @ParameterizedTest(name = "capacity={0} NH={1} D={2} L={3}")
    @CsvSource({"64,2,16,3", "10,1,5,3", "3,2,33,3", "1,1,7,2", "100,3,80,1", "33,2,64,4"})
    void stepsThroughACacheLikeTheWindowedSequence(int capacity, int heads, int dim, int maxTokens) {
        int slotCount = 4;
        int batch = 3;
        int[] slotOf = {2, 0, 3};
        int s = 50;
        int token = heads * dim;
        float[][] q = new float[batch][];
        float[][] k = new float[batch][];
        float[][] v = new float[batch][];
        double[][] want = new double[batch][];
        for (int b = 0; b < batch; b++) {
            q[b] = fx.normal(s * token, 1);
            k[b] = fx.normal(s * token, 1);
            v[b] = fx.normal(s * token, 1);
            want[b] = new ReferenceAttention(1, s, heads, dim)
                    .forward(Fixture.doubles(q[b]), Fixture.doubles(k[b]), Fixture.doubles(v[b]), capacity)
                    .y();
        }
        Tensor keys = fx.poisoned(slotCount, capacity, heads, dim);
        Tensor values = fx.poisoned(slotCount, capacity, heads, dim);
        Tensor length = fx.ofInts(new int[slotCount], slotCount);
        Tensor slots = fx.ofInts(slotOf, batch);
        int[] done = new int[batch];
        while (done[0] + maxTokens <= s && done[1] + maxTokens <= s && done[2] + maxTokens <= s) {
            int[] counts = fx.random.ints(batch, 0, maxTokens + 1).toArray();
            int n = batch * maxTokens * token;
            float[] stepQ = new float[n];
            float[] stepK = new float[n];
            float[] stepV = new float[n];
            for (int b = 0; b < batch; b++) {
                int at = ((b + 1) * maxTokens - counts[b]) * token;
                System.arraycopy(q[b], done[b] * token, stepQ, at, counts[b] * token);
                System.arraycopy(k[b], done[b] * token, stepK, at, counts[b] * token);
                System.arraycopy(v[b], done[b] * token, stepV, at, counts[b] * token);
            }
            Tensor y = fx.poisoned(batch, maxTokens, heads, dim);
            fx.ops
                    .attention()
                    .cachedStep(
                            fx.stream,
                            slots,
                            fx.ofInts(counts, batch),
                            fx.of(stepQ, batch, maxTokens, heads, dim),
                            fx.of(stepK, batch, maxTokens, heads, dim),
                            fx.of(stepV, batch, maxTokens, heads, dim),
                            keys,
                            values,
                            length,
                            y);
            float[] got = fx.read(y);
            for (int b = 0; b < batch; b++) {
                for (int i = 0; i < maxTokens * token; i++) {
                    float value = got[b * maxTokens * token + i];
                    int fromEnd = maxTokens * token - i;
                    if (fromEnd > counts[b] * token) {
                        assertTrue(Float.isNaN(value), "rows before the new tokens are not written");
                    } else {
                        double expected = want[b][(done[b] + counts[b]) * token - fromEnd];
                        assertEquals(
                                expected,
                                value,
                                2e-6,
                                "session " + b + " after " + done[b] + " tokens, seed " + fx.seed);
                    }
                }
                done[b] += counts[b];
                assertEquals(done[b], fx.readInts(length)[slotOf[b]]);
            }
        }
        assertEquals(0, fx.readInts(length)[1], "a slot that is not named is not touched");
    }

    /** Sessions of very different pasts in one step, in caches that are empty, partly filled, or have turned. */
    @ParameterizedTest(name = "capacity={0} NH={1} D={2} L={3} after {4} and {5} and {6} tokens, scores x {7}")
    @CsvSource({
        "700,2,64,3,0,37,699,1",
        "333,1,64,3,331,332,1000,1",
        "150,3,16,3,149,7,452,30",
        "100,2,256,3,97,64,2000,1",
        "90,1,8,2,89,90,33,1",
        "400,1,64,3,399,0,128,1e18",
        "2,1,64,3,1,2,5,1",
        "1,2,16,3,0,1,7,1",
        "70,1,40,3,69,0,200,1"
    })
    void newTokensSeeAllThatIsCached(
            int capacity, int heads, int dim, int tokens, int first, int second, int third, double spread) {
        int[] lengths = {first, second, third};
        int[] slotOf = {3, 0, 2};
        int[] counts = {tokens, tokens - 1, tokens};
        int pool = 4;
        int batch = 3;
        int token = heads * dim;
        float[] keys = new float[pool * capacity * token];
        float[] values = new float[keys.length];
        Arrays.fill(keys, Float.NaN);
        Arrays.fill(values, Float.NaN);
        int[] length = new int[pool];
        float[] q = fx.normal(batch * tokens * token, spread);
        float[] k = fx.normal(batch * tokens * token, 1);
        float[] v = fx.normal(batch * tokens * token, 1);
        float[] keysAfter = keys.clone();
        float[] valuesAfter = values.clone();
        double[] want = new double[q.length];
        for (int b = 0; b < batch; b++) {
            length[slotOf[b]] = lengths[b];
            int cached = Math.min(lengths[b], capacity);
            int from = slotOf[b] * capacity * token;
            System.arraycopy(fx.normal(cached * token, 1), 0, keys, from, cached * token);
            System.arraycopy(fx.normal(cached * token, 1), 0, values, from, cached * token);
            System.arraycopy(keys, from, keysAfter, from, cached * token);
            System.arraycopy(values, from, valuesAfter, from, cached * token);
            for (int i = 0; i < counts[b]; i++) {
                int row = (b * tokens + tokens - counts[b] + i) * token;
                int to = from + (lengths[b] + i) % capacity * token;
                System.arraycopy(k, row, keysAfter, to, token);
                System.arraycopy(v, row, valuesAfter, to, token);
                int seen = Math.min(lengths[b] + i + 1, capacity);
                for (int h = 0; h < heads; h++) {
                    attend(q, row + h * dim, keysAfter, valuesAfter, from + h * dim, token, dim, seen, want);
                }
            }
        }
        float[] once = null;
        for (int run = 0; run < 2; run++) {
            Tensor atKeys = fx.of(keys, pool, capacity, heads, dim);
            Tensor atValues = fx.of(values, pool, capacity, heads, dim);
            Tensor atLength = fx.ofInts(length, pool);
            Tensor y = fx.poisoned(batch, tokens, heads, dim);
            fx.ops
                    .attention()
                    .cachedStep(
                            fx.stream,
                            fx.ofInts(slotOf, batch),
                            fx.ofInts(counts, batch),
                            fx.of(q, batch, tokens, heads, dim),
                            fx.of(k, batch, tokens, heads, dim),
                            fx.of(v, batch, tokens, heads, dim),
                            atKeys,
                            atValues,
                            atLength,
                            y);
            float[] got = fx.read(y);
            for (int b = 0; b < batch; b++) {
                int from = b * tokens * token;
                int begin = (b * tokens + tokens - counts[b]) * token;
                int end = (b + 1) * tokens * token;
                for (int i = from; i < begin; i++) {
                    assertTrue(Float.isNaN(got[i]), "rows before the new tokens are not written");
                }
                double error = Fixture.error(Arrays.copyOfRange(got, begin, end), Arrays.copyOfRange(want, begin, end));
                double tolerance = spread > 1e9 ? TOLERANCE : 2 * TOLERANCE * Math.max(1, spread);
                assertTrue(error <= tolerance, "row " + b + ": error " + error + ", seed " + fx.seed);
                assertEquals(lengths[b] + counts[b], fx.readInts(atLength)[slotOf[b]]);
            }
            assertEquals(0, fx.readInts(atLength)[1], "a slot that is not named is not touched");
            assertArrayEquals(keysAfter, fx.read(atKeys));
            assertArrayEquals(valuesAfter, fx.read(atValues));
            if (once != null) {
                assertArrayEquals(once, got, "the same step answers the same bits");
            }
            once = got;
        }
    }

    /** One query of one head over the first {@code seen} rows of a cache, into {@code y} where the query stands. */
    private static void attend(
            float[] q, int at, float[] keys, float[] values, int cache, int pitch, int dim, int seen, double[] y) {
        double[] score = new double[seen];
        double top = Double.NEGATIVE_INFINITY;
        for (int n = 0; n < seen; n++) {
            for (int c = 0; c < dim; c++) {
                score[n] += (double) q[at + c] * keys[cache + n * pitch + c] / Math.sqrt(dim);
            }
            top = Math.max(top, score[n]);
        }
        double sum = 0;
        for (int n = 0; n < seen; n++) {
            sum += Math.exp(score[n] - top);
        }
        for (int n = 0; n < seen; n++) {
            for (int c = 0; c < dim; c++) {
                y[at + c] += Math.exp(score[n] - top) / sum * values[cache + n * pitch + c];
            }
        }
    }

    @Test
    void nanReachesNeitherAnotherHeadNorTheTokenBefore() {
        int heads = 2;
        int dim = 16;
        int capacity = 120;
        float[] keys = fx.normal(2 * capacity * heads * dim, 1);
        keys[(80 * heads + 1) * dim + 3] = Float.NaN;
        float[] q = fx.normal(2 * 3 * heads * dim, 1);
        float[] v = fx.normal(q.length, 1);
        v[(2 * 3 * heads - 2) * dim + 5] = Float.NaN; // the second session's last token
        Tensor tq = fx.of(q, 2, 3, heads, dim);
        Tensor y = fx.zeros(2, 3, heads, dim);
        fx.ops
                .attention()
                .cachedStep(
                        fx.stream,
                        fx.ofInts(new int[] {0, 1}, 2),
                        fx.ofInts(new int[] {3, 3}, 2),
                        tq,
                        tq,
                        fx.of(v, 2, 3, heads, dim),
                        fx.of(keys, 2, capacity, heads, dim),
                        fx.of(fx.normal(keys.length, 1), 2, capacity, heads, dim),
                        fx.ofInts(new int[] {100, 100}, 2),
                        y);
        float[] out = fx.read(y);
        for (int i = 0; i < out.length; i++) {
            boolean cached = i < 3 * heads * dim && i / dim % heads == 1;
            boolean brought = i == (2 * 3 * heads - 2) * dim + 5;
            assertEquals(cached || brought, Float.isNaN(out[i]), "element " + i);
        }
    }

    @Test
    void aFullLengthCounterDoesNotOverflow() {
        Tensor keys = fx.zeros(1, 5, 1, 2);
        Tensor values = fx.zeros(1, 5, 1, 2);
        int last = Integer.MAX_VALUE / 2 - 1;
        Tensor length = fx.ofInts(new int[] {last}, 1);
        Tensor one = fx.of(new float[] {1, 2, 3, 4, 5, 6}, 1, 3, 1, 2);
        fx.ops
                .attention()
                .cachedStep(
                        fx.stream,
                        fx.ofInts(new int[1], 1),
                        fx.ofInts(new int[] {3}, 1),
                        one,
                        one,
                        one,
                        keys,
                        values,
                        length,
                        fx.zeros(1, 3, 1, 2));
        int after = fx.readInts(length)[0];
        assertEquals((last + 3) % 5, after % 5);
        assertTrue(after >= 5);
        assertEquals(5, fx.read(keys)[(last + 2) % 5 * 2]);
    }

    @Test
    void refusesShapesThatDoNotBelongTogether() {
        Tensor q = fx.zeros(2, 3, 2, 4);
        Tensor small = fx.zeros(2, 3, 2, 3);
        Tensor y = fx.poisoned(2, 3, 2, 4);
        Tensor lse = fx.poisoned(2, 2, 3);
        var attention = fx.ops.attention();
        assertThrows(ShapeMismatchException.class, () -> attention.causal(fx.stream, q, small, q, y, lse));
        assertThrows(ShapeMismatchException.class, () -> attention.causal(fx.stream, q, q, small, y, lse));
        assertThrows(ShapeMismatchException.class, () -> attention.causal(fx.stream, q, q, q, small, lse));
        assertThrows(ShapeMismatchException.class, () -> attention.causal(fx.stream, q, q, q, y, fx.zeros(2, 2, 2)));
        assertThrows(
                ShapeMismatchException.class, () -> attention.causalBackward(fx.stream, q, q, q, q, null, q, y, y, y));
        assertThrows(
                ShapeMismatchException.class,
                () -> attention.causalBackward(fx.stream, q, q, q, q, fx.zeros(12), q, y, y, small));
        Tensor keys = fx.poisoned(2, 5, 2, 4);
        Tensor length = fx.ofInts(new int[2], 2);
        Tensor slots = fx.ofInts(new int[] {0, 1}, 2);
        Tensor counts = fx.ofInts(new int[] {3, 1}, 2);
        assertThrows(
                ShapeMismatchException.class,
                () -> attention.cachedStep(fx.stream, slots, counts, q, q, q, fx.zeros(2, 5, 2, 3), keys, length, y));
        assertThrows(
                ShapeMismatchException.class,
                () -> attention.cachedStep(fx.stream, slots, counts, q, q, q, keys, fx.zeros(2, 4, 2, 4), length, y));
        assertThrows(
                ShapeMismatchException.class,
                () -> attention.cachedStep(fx.stream, slots, fx.ofInts(new int[1], 1), q, q, q, keys, keys, length, y));
        for (Tensor t : new Tensor[] {y, lse, keys}) {
            for (float x : fx.read(t)) {
                assertTrue(Float.isNaN(x));
            }
        }
        assertArrayEquals(new int[2], fx.readInts(length));
    }

    private static double dot(double[] a, double[] b) {
        double s = 0;
        for (int i = 0; i < a.length; i++) {
            s += a[i] * b[i];
        }
        return s;
    }
}
