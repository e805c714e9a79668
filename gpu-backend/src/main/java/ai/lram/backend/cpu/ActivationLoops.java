package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.ONE;
import static ai.lram.backend.cpu.VectorMath.ZERO;

import ai.lram.backend.ops.Activation;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Non-linearities over ranges of elements, input and output each at their own offset. One small loop per activation: where a vector takes
 * one of several ways through a loop body, or the body grows past C2's limit of nodes, the vector is boxed. Loop tails are scalar.
 */
final class ActivationLoops {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private ActivationLoops() {}

    private static float value(Activation act, float x) {
        return switch (act) {
            case NONE -> x;
            case RELU -> Math.max(x, 0f);
            case SILU -> (float) (x / (1 + Math.exp(-x)));
            case GELU -> x * VectorMath.normalCdf(x);
            case SIGMOID -> VectorMath.sigmoid(x);
            case TANH -> VectorMath.tanh(x);
        };
    }

    private static float slope(Activation act, float x) {
        double e = Math.exp(-Math.abs((double) x));
        double sigmoidSlope = e / ((1 + e) * (1 + e));
        return switch (act) {
            case NONE -> x == x ? 1f : x;
            case RELU -> x > 0 ? 1f : x <= 0 ? 0f : x;
            case SILU -> (float) ((x >= 0 ? 1 : e) / (1 + e) + x * sigmoidSlope);
            case GELU -> VectorMath.normalCdf(x) + x * VectorMath.normalDensity(x);
            case SIGMOID -> (float) sigmoidSlope;
            case TANH -> (float) (4 * e * e / ((1 + e * e) * (1 + e * e)));
        };
    }

    /** y = act(x) for {@code n} elements; y may be x. */
    static void value(Activation act, MemorySegment x, long xAt, MemorySegment y, long yAt, int n) {
        int end = n - n % LANES;
        switch (act) {
            case NONE -> valueNone(x, xAt, y, yAt, end);
            case RELU -> valueRelu(x, xAt, y, yAt, end);
            case SILU -> VectorMath.silu(x, xAt, y, yAt, end);
            case GELU -> valueGelu(x, xAt, y, yAt, end);
            case SIGMOID -> valueSigmoid(x, xAt, y, yAt, end);
            case TANH -> valueTanh(x, xAt, y, yAt, end);
        }
        for (int i = end; i < n; i++) {
            float v = x.get(FLOAT, (xAt + i) * 4);
            y.set(FLOAT, (yAt + i) * 4, value(act, v));
        }
    }

    private static void valueNone(MemorySegment x, long xAt, MemorySegment y, long yAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            store(load(x, xAt + i), y, yAt + i);
        }
    }

    private static void valueRelu(MemorySegment x, long xAt, MemorySegment y, long yAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(v.max(ZERO), y, yAt + i);
        }
    }

    private static void valueGelu(MemorySegment x, long xAt, MemorySegment y, long yAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(VectorMath.gelu(v), y, yAt + i);
        }
    }

    private static void valueSigmoid(MemorySegment x, long xAt, MemorySegment y, long yAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(VectorMath.sigmoid(v), y, yAt + i);
        }
    }

    private static void valueTanh(MemorySegment x, long xAt, MemorySegment y, long yAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(VectorMath.tanh(v), y, yAt + i);
        }
    }

    /** d = act'(x) for {@code n} elements. */
    static void slope(Activation act, MemorySegment x, long xAt, MemorySegment d, long dAt, int n) {
        int end = n - n % LANES;
        switch (act) {
            case NONE -> slopeNone(x, xAt, d, dAt, end);
            case RELU -> slopeRelu(x, xAt, d, dAt, end);
            case SILU -> slopeSilu(x, xAt, d, dAt, end);
            case GELU -> slopeGelu(x, xAt, d, dAt, end);
            case SIGMOID -> slopeSigmoid(x, xAt, d, dAt, end);
            case TANH -> slopeTanh(x, xAt, d, dAt, end);
        }
        for (int i = end; i < n; i++) {
            float v = x.get(FLOAT, (xAt + i) * 4);
            d.set(FLOAT, (dAt + i) * 4, slope(act, v));
        }
    }

    private static void slopeNone(MemorySegment x, long xAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(v.blend(ONE, v.compare(VectorOperators.EQ, v)), d, dAt + i);
        }
    }

    private static void slopeRelu(MemorySegment x, long xAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            FloatVector s = v.blend(ONE, v.compare(VectorOperators.GT, ZERO));
            store(s.blend(ZERO, v.compare(VectorOperators.LE, ZERO)), d, dAt + i);
        }
    }

    private static void slopeSilu(MemorySegment x, long xAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            FloatVector e = VectorMath.expMinusAbs(v);
            FloatVector q = ONE.div(e.add(ONE));
            e = e.mul(q);
            FloatVector g = q.blend(e, v.compare(VectorOperators.LT, ZERO));
            store(v.fma(e.mul(q), g), d, dAt + i);
        }
    }

    private static void slopeGelu(MemorySegment x, long xAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            FloatVector b = VectorMath.bell(v);
            store(VectorMath.normalDensity(b).fma(v, VectorMath.normalCdf(v, b)), d, dAt + i);
        }
    }

    private static void slopeSigmoid(MemorySegment x, long xAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(VectorMath.sigmoidSlope(VectorMath.expMinusAbs(v)), d, dAt + i);
        }
    }

    private static void slopeTanh(MemorySegment x, long xAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(VectorMath.sigmoidSlope(VectorMath.expMinusAbs(v.add(v))).mul(4f), d, dAt + i);
        }
    }

    /** y = act(x) and d = act'(x) for {@code n} elements; neither may be x. */
    static void both(
            Activation act, MemorySegment x, long xAt, MemorySegment y, long yAt, MemorySegment d, long dAt, int n) {
        int end = n - n % LANES;
        switch (act) {
            case NONE -> bothNone(x, xAt, y, yAt, d, dAt, end);
            case RELU -> bothRelu(x, xAt, y, yAt, d, dAt, end);
            case SILU -> bothSilu(x, xAt, y, yAt, d, dAt, end);
            case GELU -> bothGelu(x, xAt, y, yAt, d, dAt, end);
            case SIGMOID -> bothSigmoid(x, xAt, y, yAt, d, dAt, end);
            case TANH -> {
                valueTanh(x, xAt, y, yAt, end);
                slopeTanh(x, xAt, d, dAt, end);
            }
        }
        for (int i = end; i < n; i++) {
            float v = x.get(FLOAT, (xAt + i) * 4);
            y.set(FLOAT, (yAt + i) * 4, value(act, v));
            d.set(FLOAT, (dAt + i) * 4, slope(act, v));
        }
    }

    private static void bothNone(
            MemorySegment x, long xAt, MemorySegment y, long yAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(v, y, yAt + i);
            store(v.blend(ONE, v.compare(VectorOperators.EQ, v)), d, dAt + i);
        }
    }

    private static void bothRelu(
            MemorySegment x, long xAt, MemorySegment y, long yAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            store(v.max(ZERO), y, yAt + i);
            FloatVector s = v.blend(ONE, v.compare(VectorOperators.GT, ZERO));
            store(s.blend(ZERO, v.compare(VectorOperators.LE, ZERO)), d, dAt + i);
        }
    }

    private static void bothSilu(
            MemorySegment x, long xAt, MemorySegment y, long yAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            FloatVector e = VectorMath.expMinusAbs(v);
            FloatVector q = ONE.div(e.add(ONE));
            e = e.mul(q);
            FloatVector g = q.blend(e, v.compare(VectorOperators.LT, ZERO));
            store(v.mul(g), y, yAt + i);
            store(v.fma(e.mul(q), g), d, dAt + i);
        }
    }

    private static void bothGelu(
            MemorySegment x, long xAt, MemorySegment y, long yAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            FloatVector b = VectorMath.bell(v);
            FloatVector c = VectorMath.normalCdf(v, b);
            store(v.mul(c), y, yAt + i);
            store(VectorMath.normalDensity(b).fma(v, c), d, dAt + i);
        }
    }

    private static void bothSigmoid(
            MemorySegment x, long xAt, MemorySegment y, long yAt, MemorySegment d, long dAt, int end) {
        for (int i = 0; i < end; i += LANES) {
            FloatVector v = load(x, xAt + i);
            FloatVector e = VectorMath.expMinusAbs(v);
            store(ONE.blend(e, v.compare(VectorOperators.LT, ZERO)).div(e.add(ONE)), y, yAt + i);
            store(VectorMath.sigmoidSlope(e), d, dAt + i);
        }
    }
}
