package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.reference.ReferenceElementwise;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.function.Consumer;
import java.util.function.DoubleUnaryOperator;
import java.util.function.UnaryOperator;
import jdk.incubator.vector.FloatVector;
import org.junit.jupiter.api.Test;

class VectorMathTest {
    private static final int POINTS = 200_000;
    private static final MemorySegment LOOP = Arena.ofAuto().allocate(8L * LANES, 64);

    private static float[] apply(UnaryOperator<FloatVector> f, float... x) {
        float[] y = new float[x.length];
        float[] lanes = new float[LANES];
        for (int i = 0; i < x.length; i += LANES) {
            int n = Math.min(LANES, x.length - i);
            System.arraycopy(x, i, lanes, 0, n);
            f.apply(FloatVector.fromArray(F, lanes, 0)).intoArray(lanes, 0);
            System.arraycopy(lanes, 0, y, i, n);
        }
        return y;
    }

    /** Evenly spaced points, then points spread evenly over the exponents of both signs that lie within the range. */
    private static float[] points(double from, double to) {
        float[] x = new float[2 * POINTS];
        double largest = Math.max(Math.abs(from), Math.abs(to));
        for (int i = 0; i < POINTS; i++) {
            x[i] = (float) (from + (to - from) * i / (POINTS - 1));
            double small = largest * StrictMath.pow(2, -60.0 * i / POINTS);
            x[POINTS + i] = (float) Math.clamp(i % 2 == 0 ? small : -small, from, to);
        }
        return x;
    }

    /** Largest error in units of the last place of the exact result. */
    private static double worstUlps(UnaryOperator<FloatVector> f, DoubleUnaryOperator exact, double from, double to) {
        float[] x = points(from, to);
        float[] y = apply(f, x);
        double worst = 0;
        for (int i = 0; i < x.length; i++) {
            double want = exact.applyAsDouble(x[i]);
            worst = Math.max(
                    worst, Math.abs(y[i] - want) / Math.max(Math.ulp((float) want), Float.MIN_NORMAL * 0x1p-23));
        }
        return worst;
    }

    private static void assertUlps(String name, double limit, double worst) {
        assertTrue(worst <= limit, name + ": " + worst + " units of the last place, allowed " + limit);
    }

    private static double sigmoid(double x) {
        return 1 / (1 + StrictMath.exp(-x));
    }

    private static FloatVector silu(FloatVector x) {
        VectorMath.store(x, LOOP, 0);
        VectorMath.silu(LOOP, 0, LOOP, 0, LANES);
        return VectorMath.load(LOOP, 0);
    }

    private static FloatVector expTimes(FloatVector x) {
        float[] lanes = new float[LANES];
        x.intoArray(lanes, 0);
        VectorMath.store(FloatVector.broadcast(F, 0.5f), LOOP, 0);
        VectorMath.expTimes(lanes, 0, LANES, 4f, LOOP);
        return FloatVector.fromArray(F, lanes, 0);
    }

    @Test
    void loopsAnswerLikeTheFunctionsTheySpellOut() {
        float[] x = {-1000f, -87.4f, -87.3f, -1f, 0f, 1f, 80f, 88.8f, Float.POSITIVE_INFINITY, Float.NaN};
        float[] exp = apply(VectorMath::exp, x);
        float[] times = apply(VectorMathTest::expTimes, x);
        for (int i = 0; i < x.length; i++) {
            assertEquals(2 * exp[i], times[i], "e^" + x[i]);
        }
    }

    /** A loop over a vector in place. */
    private static UnaryOperator<FloatVector> inPlace(Consumer<MemorySegment> loop) {
        return x -> {
            VectorMath.store(x, LOOP, 0);
            loop.accept(LOOP);
            return VectorMath.load(LOOP, 0);
        };
    }

    private static FloatVector addLogSigmoid(FloatVector x) {
        VectorMath.store(x, LOOP, 0);
        VectorMath.store(FloatVector.broadcast(F, 0.5f), LOOP, LANES);
        VectorMath.addLogSigmoid(LOOP, 0, 4L * LANES, LANES);
        return VectorMath.load(LOOP, 0);
    }

    @Test
    void loopsInPlaceAreTheFunctionsTheySpellOutToTheBit() {
        float[] x = points(-100, 100);
        float[] special = {-1000f, -87.4f, -0f, 0f, 0.2f, 88.8f, Float.POSITIVE_INFINITY, -1f / 0f, Float.NaN};
        System.arraycopy(special, 0, x, 0, special.length);
        assertArrayEquals(apply(VectorMath::sigmoid, x), apply(inPlace(m -> VectorMath.sigmoid(m, 0, LANES)), x));
        assertArrayEquals(apply(VectorMath::tanh, x), apply(inPlace(m -> VectorMath.tanh(m, 0, LANES)), x));
        assertArrayEquals(
                apply(v -> VectorMath.exp(v).min(1f), x), apply(inPlace(m -> VectorMath.expAtMostOne(m, 0, LANES)), x));
        assertArrayEquals(apply(v -> VectorMath.logSigmoid(v).add(0.5f), x), apply(VectorMathTest::addLogSigmoid, x));
    }

    @Test
    void expIsAccurateOverItsWholeRange() {
        assertUlps("exp", 1.5, worstUlps(VectorMath::exp, StrictMath::exp, -87.3, 88.72));
    }

    @Test
    void sigmoidAndSiluAreAccurate() {
        assertUlps("sigmoid", 3, worstUlps(VectorMath::sigmoid, VectorMathTest::sigmoid, -87, 87));
        assertUlps("silu", 3, worstUlps(VectorMathTest::silu, x -> x * sigmoid(x), -80, 1e4));
    }

    @Test
    void tanhIsAccurateDownToTheSmallestArguments() {
        assertUlps("tanh", 2, worstUlps(VectorMath::tanh, StrictMath::tanh, -20, 20));
    }

    @Test
    void logIsAccurateIncludingSubnormals() {
        assertUlps("log", 2.5, worstUlps(VectorMath::log, StrictMath::log, 1e-12, 30));
        assertUlps("log far out", 2.5, worstUlps(VectorMath::log, StrictMath::log, 1, Float.MAX_VALUE));
        for (float x : new float[] {Float.MIN_VALUE, 1e-44f, 1e-40f, Float.MIN_NORMAL}) {
            assertEquals(StrictMath.log(x), apply(VectorMath::log, x)[0], 1e-5);
        }
    }

    @Test
    void logOfOnePlusIsAccurateOnTheUnitInterval() {
        assertUlps("log1p", 2, worstUlps(VectorMath::log1pUnit, StrictMath::log1p, 0, 1));
    }

    @Test
    void logSigmoidNeitherOverflowsNorCancels() {
        DoubleUnaryOperator exact = x -> Math.min(x, 0) - StrictMath.log1p(StrictMath.exp(-Math.abs(x)));
        assertUlps("logSigmoid", 3, worstUlps(VectorMath::logSigmoid, exact, -1000, 80));
    }

    @Test
    void geluAgreesWithItsDefinition() {
        float[] x = points(-30, 30);
        float[] y = apply(VectorMath::gelu, x);
        float[] cdf = apply(v -> VectorMath.normalCdf(v, VectorMath.bell(v)), x);
        for (int i = 0; i < x.length; i++) {
            double want = ReferenceElementwise.normalCdf(x[i]);
            assertEquals(want, cdf[i], 6e-7 * Math.max(want, 0.1), "normalCdf(" + x[i] + ")");
            assertEquals(x[i] * want, y[i], 6e-7 * Math.max(Math.abs(x[i] * want), 0.1), "gelu(" + x[i] + ")");
        }
    }

    @Test
    void infinitiesAndNanFollowTheDefinitions() {
        float inf = Float.POSITIVE_INFINITY;
        assertEquals(0f, apply(VectorMath::exp, -inf)[0]);
        assertEquals(0f, apply(VectorMath::exp, -1000f)[0]);
        assertEquals(inf, apply(VectorMath::exp, inf)[0]);
        assertEquals(inf, apply(VectorMath::exp, 89f)[0]);
        assertEquals(1f, apply(VectorMath::exp, -0f)[0]);
        assertEquals(0f, apply(VectorMath::sigmoid, -inf)[0], 1e-37f);
        assertEquals(1f, apply(VectorMath::sigmoid, inf)[0]);
        assertEquals(-1f, apply(VectorMath::tanh, -inf)[0]);
        assertEquals(1f, apply(VectorMath::tanh, inf)[0]);
        assertEquals(-inf, apply(VectorMath::log, 0f)[0]);
        assertEquals(-inf, apply(VectorMath::log, -0f)[0]);
        assertEquals(inf, apply(VectorMath::log, inf)[0]);
        assertTrue(Float.isNaN(apply(VectorMath::log, -1f)[0]));
        assertEquals(inf, apply(VectorMath::gelu, inf)[0]);
        assertEquals(-inf, apply(VectorMath::logSigmoid, -inf)[0]);
        assertEquals(0f, apply(VectorMath::logSigmoid, inf)[0]);
    }

    @Test
    void everyNanStaysNan() {
        float[] nans = {
            Float.NaN,
            Float.intBitsToFloat(0x7FC01234),
            Float.intBitsToFloat(0xFFC00001),
            Float.intBitsToFloat(0x7F800001)
        };
        for (float x : nans) {
            assertTrue(Float.isNaN(apply(VectorMath::exp, x)[0]));
            assertTrue(Float.isNaN(apply(VectorMath::sigmoid, x)[0]));
            assertTrue(Float.isNaN(apply(VectorMathTest::silu, x)[0]));
            assertTrue(Float.isNaN(apply(VectorMath::tanh, x)[0]));
            assertTrue(Float.isNaN(apply(VectorMath::log, x)[0]));
            assertTrue(Float.isNaN(apply(VectorMath::logSigmoid, x)[0]));
            assertTrue(Float.isNaN(apply(VectorMath::gelu, x)[0]));
        }
    }

    @Test
    void sumAddsAllLanesInOneOrder() {
        float[] x = new float[LANES];
        for (int i = 0; i < LANES; i++) {
            x[i] = 1f / (i + 3);
        }
        float[] t = x.clone();
        for (int half = LANES / 2; half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                t[i] += t[i + half];
            }
        }
        assertEquals(t[0], VectorMath.sum(FloatVector.fromArray(F, x, 0)));
    }
}
