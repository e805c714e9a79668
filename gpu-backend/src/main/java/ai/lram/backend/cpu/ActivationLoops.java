package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.ONE;
import static ai.lram.backend.cpu.VectorMath.ZERO;

import ai.lram.backend.ops.Activation;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Non-linearities over ranges of elements, input and output each at their own offset. One small loop per activation: where a vector takes
 * one of several ways through a loop body, or the body grows past C2's limit of nodes, the vector is boxed. What is left of a range goes
 * through the same loop, as part of a vector: an element's result does not depend on where it lies.
 */
final class ActivationLoops {
    private ActivationLoops() {}

    /** y = act(x) for {@code n} elements; y may be x. */
    static void value(Activation act, MemorySegment x, long xAt, MemorySegment y, long yAt, int n) {
        each(ActivationLoops::values, act, x, xAt, y, yAt, n);
    }

    /** Loops over whole vectors. */
    private interface Vectors {
        void run(Activation act, MemorySegment x, long xAt, MemorySegment y, long yAt, int end);
    }

    private static void each(
            Vectors loops, Activation act, MemorySegment x, long xAt, MemorySegment y, long yAt, int n) {
        int rest = n % LANES;
        int end = n - rest;
        loops.run(act, x, xAt, y, yAt, end);
        if (rest != 0) {
            MemorySegment own = Staging.own().rest;
            MemorySegment.copy(x, 4 * (xAt + end), own, 0, 4L * rest);
            loops.run(act, own, 0, own, 0, LANES);
            MemorySegment.copy(own, 0, y, 4 * (yAt + end), 4L * rest);
        }
    }

    private static void values(Activation act, MemorySegment x, long xAt, MemorySegment y, long yAt, int end) {
        switch (act) {
            case NONE -> valueNone(x, xAt, y, yAt, end);
            case RELU -> valueRelu(x, xAt, y, yAt, end);
            case SILU -> VectorMath.silu(x, xAt, y, yAt, end);
            case GELU -> valueGelu(x, xAt, y, yAt, end);
            case SIGMOID -> valueSigmoid(x, xAt, y, yAt, end);
            case TANH -> valueTanh(x, xAt, y, yAt, end);
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
        each(ActivationLoops::slopes, act, x, xAt, d, dAt, n);
    }

    private static void slopes(Activation act, MemorySegment x, long xAt, MemorySegment d, long dAt, int end) {
        switch (act) {
            case NONE -> slopeNone(x, xAt, d, dAt, end);
            case RELU -> slopeRelu(x, xAt, d, dAt, end);
            case SILU -> slopeSilu(x, xAt, d, dAt, end);
            case GELU -> slopeGelu(x, xAt, d, dAt, end);
            case SIGMOID -> slopeSigmoid(x, xAt, d, dAt, end);
            case TANH -> slopeTanh(x, xAt, d, dAt, end);
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
        int rest = n % LANES;
        int end = n - rest;
        boths(act, x, xAt, y, yAt, d, dAt, end);
        if (rest != 0) {
            MemorySegment own = Staging.own().rest;
            MemorySegment.copy(x, 4 * (xAt + end), own, 0, 4L * rest);
            boths(act, own, 0, own, LANES, own, 2 * LANES, LANES);
            MemorySegment.copy(own, 4L * LANES, y, 4 * (yAt + end), 4L * rest);
            MemorySegment.copy(own, 8L * LANES, d, 4 * (dAt + end), 4L * rest);
        }
    }

    private static void boths(
            Activation act, MemorySegment x, long xAt, MemorySegment y, long yAt, MemorySegment d, long dAt, int end) {
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
