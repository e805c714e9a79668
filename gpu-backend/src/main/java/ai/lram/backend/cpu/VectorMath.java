package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/** Vectorised elementary functions, within three units in the last place. */
final class VectorMath {
    static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    static final VectorSpecies<Integer> I = F.withLanes(int.class);
    static final int LANES = F.length();

    // Vector constants are fields: a broadcast at its place of use costs C2 so many nodes that it stops inlining
    // half-way through a kernel
    // and boxes what is left. They are for operands only: a loop's accumulator that starts from a field stays boxed,
    // one that starts from
    // FloatVector.zero(F) lives in a register.
    static final FloatVector ZERO = broadcast(0f);
    static final FloatVector ONE = broadcast(1f);
    private static final FloatVector TWO = broadcast(2f);
    private static final FloatVector QUARTER = broadcast(0.25f);
    private static final FloatVector MINUS_HALF = broadcast(-0.5f);
    private static final FloatVector INFINITY = broadcast(Float.POSITIVE_INFINITY);
    private static final FloatVector MINUS_INFINITY = broadcast(Float.NEGATIVE_INFINITY);
    private static final FloatVector NAN = broadcast(Float.NaN);
    private static final FloatVector LOG2E = broadcast(1.44269504088896341f);
    private static final FloatVector LN2_HI = broadcast(0.693359375f);
    private static final FloatVector LN2_LO = broadcast(-2.12194440e-4f);
    private static final FloatVector MINUS_LN2_HI = broadcast(-0.693359375f);
    private static final FloatVector MINUS_LN2_LO = broadcast(2.12194440e-4f);
    private static final FloatVector ROUND = broadcast(12582912f); // 1.5 * 2^23
    private static final FloatVector EXP_MIN = broadcast(-87.33654f);
    private static final FloatVector EXP_MAX = broadcast(88.72283f);
    private static final FloatVector EXP_2 = broadcast(0.49999994f);
    private static final FloatVector EXP_3 = broadcast(0.1666652f);
    private static final FloatVector EXP_4 = broadcast(0.041668393f);
    private static final FloatVector EXP_5 = broadcast(0.008368781f);
    private static final FloatVector EXP_6 = broadcast(0.0013814465f);
    private static final FloatVector INV_SQRT_2PI = broadcast(0.3989422804f);
    private static final FloatVector SIGMOID_MIN = broadcast(-88.7f);
    private static final FloatVector SIGMOID_MAX = broadcast(87.3f);
    private static final FloatVector TANH_MAX = broadcast(40f);
    private static final FloatVector TANH_SMALL = broadcast(0.625f);
    private static final FloatVector LOG_1 = broadcast(0.66666675f);
    private static final FloatVector LOG_2 = broadcast(0.39998877f);
    private static final FloatVector LOG_3 = broadcast(0.28616884f);
    private static final FloatVector LOG_4 = broadcast(0.21427657f);
    private static final FloatVector LOG_5 = broadcast(0.24300939f);
    private static final FloatVector MILLS_0 = broadcast(0.099735565f);
    private static final FloatVector MILLS_1 = broadcast(0.09973661f);
    private static final FloatVector MILLS_2 = broadcast(0.09346281f);
    private static final FloatVector MILLS_3 = broadcast(0.0816353f);
    private static final FloatVector MILLS_4 = broadcast(0.058818653f);
    private static final FloatVector MILLS_5 = broadcast(0.0641415f);
    private static final FloatVector MILLS_6 = broadcast(-0.032466125f);
    private static final FloatVector MILLS_7 = broadcast(0.09634337f);
    private static final FloatVector MILLS_8 = broadcast(-0.08128099f);
    private static final FloatVector MILLS_9 = broadcast(0.019873306f);
    private static final FloatVector TANH_3 = broadcast(-0.33333284f);
    private static final FloatVector TANH_5 = broadcast(0.13331491f);
    private static final FloatVector TANH_7 = broadcast(-0.053743497f);
    private static final FloatVector TANH_9 = broadcast(0.020650579f);
    private static final FloatVector TANH_11 = broadcast(-0.005717037f);

    private static final VectorShuffle<Float> ROTATE_8 = rotation(8);
    private static final VectorShuffle<Float> ROTATE_4 = rotation(4);
    private static final VectorShuffle<Float> ROTATE_2 = rotation(2);
    private static final VectorShuffle<Float> ROTATE_1 = rotation(1);

    private VectorMath() {}

    private static FloatVector broadcast(float v) {
        return FloatVector.broadcast(F, v);
    }

    private static VectorShuffle<Float> rotation(int by) {
        return VectorShuffle.iota(F, by % LANES, 1, true);
    }

    private static final VectorMask<?>[] FIRST = new VectorMask<?>[LANES + 1];

    static {
        for (int n = 0; n <= LANES; n++) {
            FIRST[n] = F.indexInRange(0, n);
        }
    }

    /** The mask of the first {@code n} lanes; unlike one made on the spot it leaves no garbage where it is passed on. */
    static VectorMask<Float> first(int n) {
        return FIRST[n].check(F);
    }

    /** Element {@code i} and the {@link #LANES} - 1 that follow it. */
    static FloatVector load(MemorySegment s, long i) {
        return FloatVector.fromMemorySegment(F, s, i * Float.BYTES, ByteOrder.LITTLE_ENDIAN);
    }

    /** Lanes outside the mask are 0 and not read. */
    static FloatVector load(MemorySegment s, long i, VectorMask<Float> m) {
        return FloatVector.fromMemorySegment(F, s, i * Float.BYTES, ByteOrder.LITTLE_ENDIAN, m);
    }

    static void store(FloatVector v, MemorySegment s, long i) {
        v.intoMemorySegment(s, i * Float.BYTES, ByteOrder.LITTLE_ENDIAN);
    }

    static void store(FloatVector v, MemorySegment s, long i, VectorMask<Float> m) {
        v.intoMemorySegment(s, i * Float.BYTES, ByteOrder.LITTLE_ENDIAN, m);
    }

    /**
     * Sum of all lanes in one fixed order. {@code reduceLanes(ADD)} leaves the order open: interpreted and compiled code give different
     * last bits there, and a run could not be repeated.
     */
    static float sum(FloatVector v) {
        FloatVector t = v;
        if (LANES > 8) {
            t = t.add(t.rearrange(ROTATE_8));
        }
        if (LANES > 4) {
            t = t.add(t.rearrange(ROTATE_4));
        }
        if (LANES > 2) {
            t = t.add(t.rearrange(ROTATE_2));
        }
        if (LANES > 1) {
            t = t.add(t.rearrange(ROTATE_1));
        }
        return t.lane(0);
    }

    /** Sum of the {@link #LANES} floats from {@code from} on in the order of {@link #sum}; they are overwritten. */
    static float foldLanes(float[] a, int from) {
        for (int half = LANES / 2; half > 0; half /= 2) {
            for (int j = from; j < from + half; j++) {
                a[j] += a[j + half];
            }
        }
        return a[from];
    }

    /** e^x; 0 below -87.33 (also for -infinity), +infinity above 88.72, NaN for NaN. */
    static FloatVector exp(FloatVector x) {
        FloatVector y = expInRange(x).blend(ZERO, x.compare(VectorOperators.LT, EXP_MIN));
        return x.add(INFINITY).blend(y, x.compare(VectorOperators.LE, EXP_MAX));
    }

    /** e^x for -87.33 <= x <= 88.72; anything elsewhere. */
    private static FloatVector expInRange(FloatVector x) {
        // e^x = 2^n e^r with |r| <= ln(2)/2; the rounding constant leaves n in the low bits of t.
        FloatVector t = x.fma(LOG2E, ROUND);
        FloatVector n = t.sub(ROUND);
        FloatVector r = n.fma(MINUS_LN2_LO, n.fma(MINUS_LN2_HI, x));
        FloatVector p = r.fma(EXP_6, EXP_5)
                .fma(r, EXP_4)
                .fma(r, EXP_3)
                .fma(r, EXP_2)
                .fma(r, ONE)
                .fma(r, ONE);
        IntVector scale = t.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
        FloatVector y = p.reinterpretAsInts().add(scale).reinterpretAsFloats();
        return r.fma(ZERO, y); // keeps NaN, whose low bits the integer addition would carry into the exponent
    }

    /** 1 / (1 + e^-x). */
    static FloatVector sigmoid(FloatVector x) {
        return ONE.div(onePlusExpMinus(x));
    }

    /** Derivative of the sigmoid at x, given e^-|x|; without the cancellation of g - g*g. */
    static FloatVector sigmoidSlope(FloatVector e) {
        FloatVector q = ONE.div(e.add(ONE));
        return e.mul(q).mul(q);
    }

    /** e^-|x|. */
    static FloatVector expMinusAbs(FloatVector x) {
        FloatVector y = x.abs().neg();
        return expInRange(y).blend(ZERO, y.compare(VectorOperators.LT, EXP_MIN));
    }

    // The loops that follow spell everything out, for the control step: where the compiler stops inlining in the
    // middle of a caller, calls of the Vector API still become instructions, but a helper that takes or hands out a
    // vector makes it box it, in every call for as long as the JVM lives.

    /** y = x * sigmoid(x) for {@code n} elements, a multiple of the lanes; y may be x. */
    static void silu(MemorySegment x, long xAt, MemorySegment y, long yAt, int n) {
        for (int i = 0; i < n; i += LANES) {
            FloatVector v = FloatVector.fromMemorySegment(F, x, (xAt + i) * Float.BYTES, ByteOrder.LITTLE_ENDIAN);
            FloatVector c = v.blend(SIGMOID_MAX, v.compare(VectorOperators.GT, SIGMOID_MAX));
            c = c.blend(SIGMOID_MIN, c.compare(VectorOperators.LT, SIGMOID_MIN)).neg();
            FloatVector t = c.fma(LOG2E, ROUND);
            FloatVector k = t.sub(ROUND);
            FloatVector r = k.fma(MINUS_LN2_LO, k.fma(MINUS_LN2_HI, c));
            FloatVector p = r.fma(EXP_6, EXP_5)
                    .fma(r, EXP_4)
                    .fma(r, EXP_3)
                    .fma(r, EXP_2)
                    .fma(r, ONE)
                    .fma(r, ONE);
            IntVector scale = t.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
            p = p.reinterpretAsInts().add(scale).reinterpretAsFloats();
            v.div(r.fma(ZERO, p).add(ONE)).intoMemorySegment(y, (yAt + i) * Float.BYTES, ByteOrder.LITTLE_ENDIAN);
        }
    }

    /** x = {@link #exp}(x) * by * y from float {@code from} to {@code to} of both, whole vectors. */
    static void expTimes(float[] x, int from, int to, float by, MemorySegment y) {
        FloatVector factor = FloatVector.broadcast(F, by);
        for (int i = from; i < to; i += LANES) {
            FloatVector v = FloatVector.fromArray(F, x, i);
            FloatVector t = v.fma(LOG2E, ROUND);
            FloatVector k = t.sub(ROUND);
            FloatVector r = k.fma(MINUS_LN2_LO, k.fma(MINUS_LN2_HI, v));
            FloatVector p = r.fma(EXP_6, EXP_5)
                    .fma(r, EXP_4)
                    .fma(r, EXP_3)
                    .fma(r, EXP_2)
                    .fma(r, ONE)
                    .fma(r, ONE);
            IntVector scale = t.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
            p = p.reinterpretAsInts().add(scale).reinterpretAsFloats();
            p = r.fma(ZERO, p).blend(ZERO, v.compare(VectorOperators.LT, EXP_MIN));
            v.add(INFINITY)
                    .blend(p, v.compare(VectorOperators.LE, EXP_MAX))
                    .mul(factor)
                    .mul(FloatVector.fromMemorySegment(F, y, 4L * i, ByteOrder.LITTLE_ENDIAN))
                    .intoArray(x, i);
        }
    }

    /** x = {@link #sigmoid}(x) for {@code n} floats from byte {@code x} on, a multiple of the lanes. */
    static void sigmoid(MemorySegment m, long x, long n) {
        for (long i = 0; i < 4 * n; i += 4L * LANES) {
            FloatVector v = FloatVector.fromMemorySegment(F, m, x + i, ByteOrder.LITTLE_ENDIAN);
            FloatVector c = v.blend(SIGMOID_MAX, v.compare(VectorOperators.GT, SIGMOID_MAX));
            c = c.blend(SIGMOID_MIN, c.compare(VectorOperators.LT, SIGMOID_MIN)).neg();
            FloatVector t = c.fma(LOG2E, ROUND);
            FloatVector k = t.sub(ROUND);
            FloatVector r = k.fma(MINUS_LN2_LO, k.fma(MINUS_LN2_HI, c));
            FloatVector p = r.fma(EXP_6, EXP_5)
                    .fma(r, EXP_4)
                    .fma(r, EXP_3)
                    .fma(r, EXP_2)
                    .fma(r, ONE)
                    .fma(r, ONE);
            IntVector scale = t.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
            p = p.reinterpretAsInts().add(scale).reinterpretAsFloats();
            ONE.div(r.fma(ZERO, p).add(ONE)).intoMemorySegment(m, x + i, ByteOrder.LITTLE_ENDIAN);
        }
    }

    /** x = {@link #tanh}(x) for {@code n} floats from byte {@code x} on, a multiple of the lanes. */
    static void tanh(MemorySegment m, long x, long n) {
        for (long i = 0; i < 4 * n; i += 4L * LANES) {
            FloatVector v = FloatVector.fromMemorySegment(F, m, x + i, ByteOrder.LITTLE_ENDIAN);
            FloatVector a = v.abs();
            FloatVector s = v.mul(v);
            FloatVector q = s.fma(TANH_11, TANH_9).fma(s, TANH_7).fma(s, TANH_5).fma(s, TANH_3);
            FloatVector small = q.mul(s).fma(v, v);
            FloatVector c = a.blend(TANH_MAX, a.compare(VectorOperators.GT, TANH_MAX));
            c = c.add(c);
            FloatVector t = c.fma(LOG2E, ROUND);
            FloatVector k = t.sub(ROUND);
            FloatVector r = k.fma(MINUS_LN2_LO, k.fma(MINUS_LN2_HI, c));
            FloatVector p = r.fma(EXP_6, EXP_5)
                    .fma(r, EXP_4)
                    .fma(r, EXP_3)
                    .fma(r, EXP_2)
                    .fma(r, ONE)
                    .fma(r, ONE);
            IntVector scale = t.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
            p = p.reinterpretAsInts().add(scale).reinterpretAsFloats();
            FloatVector large = ONE.sub(TWO.div(r.fma(ZERO, p).add(ONE)));
            large = large.blend(large.neg(), v.compare(VectorOperators.LT, ZERO));
            large.blend(small, a.compare(VectorOperators.LT, TANH_SMALL))
                    .intoMemorySegment(m, x + i, ByteOrder.LITTLE_ENDIAN);
        }
    }

    /** x = y + {@link #logSigmoid}(x) for {@code n} floats from bytes {@code x} and {@code y} on, a multiple of the lanes. */
    static void addLogSigmoid(MemorySegment m, long x, long y, long n) {
        for (long i = 0; i < 4 * n; i += 4L * LANES) {
            FloatVector v = FloatVector.fromMemorySegment(F, m, x + i, ByteOrder.LITTLE_ENDIAN);
            FloatVector c = v.abs().neg();
            FloatVector t = c.fma(LOG2E, ROUND);
            FloatVector k = t.sub(ROUND);
            FloatVector r = k.fma(MINUS_LN2_LO, k.fma(MINUS_LN2_HI, c));
            FloatVector p = r.fma(EXP_6, EXP_5)
                    .fma(r, EXP_4)
                    .fma(r, EXP_3)
                    .fma(r, EXP_2)
                    .fma(r, ONE)
                    .fma(r, ONE);
            IntVector scale = t.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
            p = p.reinterpretAsInts().add(scale).reinterpretAsFloats();
            p = r.fma(ZERO, p).blend(ZERO, c.compare(VectorOperators.LT, EXP_MIN));
            FloatVector s = p.div(p.add(TWO));
            FloatVector z = s.mul(s);
            FloatVector q = z.fma(LOG_5, LOG_4).fma(z, LOG_3).fma(z, LOG_2).fma(z, LOG_1);
            q = v.min(ZERO).sub(q.mul(z).fma(s, s.add(s)));
            FloatVector.fromMemorySegment(F, m, y + i, ByteOrder.LITTLE_ENDIAN)
                    .add(q)
                    .intoMemorySegment(m, x + i, ByteOrder.LITTLE_ENDIAN);
        }
    }

    /** x = min({@link #exp}(x), 1) for {@code n} floats from byte {@code x} on, a multiple of the lanes. */
    static void expAtMostOne(MemorySegment m, long x, long n) {
        for (long i = 0; i < 4 * n; i += 4L * LANES) {
            FloatVector v = FloatVector.fromMemorySegment(F, m, x + i, ByteOrder.LITTLE_ENDIAN);
            FloatVector t = v.fma(LOG2E, ROUND);
            FloatVector k = t.sub(ROUND);
            FloatVector r = k.fma(MINUS_LN2_LO, k.fma(MINUS_LN2_HI, v));
            FloatVector p = r.fma(EXP_6, EXP_5)
                    .fma(r, EXP_4)
                    .fma(r, EXP_3)
                    .fma(r, EXP_2)
                    .fma(r, ONE)
                    .fma(r, ONE);
            IntVector scale = t.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
            p = p.reinterpretAsInts().add(scale).reinterpretAsFloats();
            p = r.fma(ZERO, p).blend(ZERO, v.compare(VectorOperators.LT, EXP_MIN));
            v.add(INFINITY)
                    .blend(p, v.compare(VectorOperators.LE, EXP_MAX))
                    .min(1f)
                    .intoMemorySegment(m, x + i, ByteOrder.LITTLE_ENDIAN);
        }
    }

    private static FloatVector onePlusExpMinus(FloatVector x) {
        // From 88 on 1 + e^-x is 1; the comparison is false for NaN, which stays.
        FloatVector c = x.blend(SIGMOID_MAX, x.compare(VectorOperators.GT, SIGMOID_MAX));
        c = c.blend(SIGMOID_MIN, c.compare(VectorOperators.LT, SIGMOID_MIN));
        return expInRange(c.neg()).add(ONE);
    }

    /** Hyperbolic tangent. */
    static FloatVector tanh(FloatVector x) {
        FloatVector a = x.abs();
        FloatVector s = x.mul(x);
        FloatVector p = s.fma(TANH_11, TANH_9).fma(s, TANH_7).fma(s, TANH_5).fma(s, TANH_3);
        FloatVector small = p.mul(s).fma(x, x);
        FloatVector c = a.blend(TANH_MAX, a.compare(VectorOperators.GT, TANH_MAX));
        FloatVector large = ONE.sub(TWO.div(expInRange(c.add(c)).add(ONE)));
        large = large.blend(large.neg(), x.compare(VectorOperators.LT, ZERO));
        return large.blend(small, a.compare(VectorOperators.LT, TANH_SMALL));
    }

    /** Natural logarithm; NaN below 0, -infinity at 0. */
    static FloatVector log(FloatVector x) {
        VectorMask<Float> tiny = x.compare(VectorOperators.LT, Float.MIN_NORMAL);
        FloatVector scaled = x.blend(x.mul(8388608f), tiny); // 2^23
        IntVector bits = scaled.reinterpretAsInts();
        // Exponent k and mantissa m in sqrt(1/2) .. sqrt(2).
        IntVector k = bits.sub(0x3F3504F3).lanewise(VectorOperators.ASHR, 23);
        FloatVector m = bits.sub(k.lanewise(VectorOperators.LSHL, 23)).reinterpretAsFloats();
        FloatVector n = (FloatVector) k.convertShape(VectorOperators.I2F, F, 0);
        n = n.blend(n.sub(23f), tiny);
        FloatVector d = m.sub(ONE);
        FloatVector y = log1pQuotient(d.div(m.add(ONE)));
        y = n.fma(LN2_HI, n.fma(LN2_LO, y));
        y = y.blend(MINUS_INFINITY, x.compare(VectorOperators.EQ, ZERO));
        y = y.blend(INFINITY, x.compare(VectorOperators.EQ, INFINITY));
        return y.blend(NAN, x.compare(VectorOperators.LT, ZERO).or(x.test(VectorOperators.IS_NAN)));
    }

    /** log(1 + x) for 0 <= x <= 1. */
    static FloatVector log1pUnit(FloatVector x) {
        return log1pQuotient(x.div(x.add(TWO)));
    }

    /** 2 atanh(s) = log((1 + s) / (1 - s)) for |s| <= 1/3. */
    private static FloatVector log1pQuotient(FloatVector s) {
        FloatVector z = s.mul(s);
        FloatVector p = z.fma(LOG_5, LOG_4).fma(z, LOG_3).fma(z, LOG_2).fma(z, LOG_1);
        return p.mul(z).fma(s, s.add(s));
    }

    /** log(sigmoid(x)) without overflow or cancellation. */
    static FloatVector logSigmoid(FloatVector x) {
        return x.min(ZERO).sub(log1pUnit(expMinusAbs(x)));
    }

    /** e^(-x*x/2), the Gaussian bell without its factor; about 1e-38 where it is less. */
    static FloatVector bell(FloatVector x) {
        FloatVector e = x.mul(x).mul(MINUS_HALF);
        return expInRange(e.blend(EXP_MIN, e.compare(VectorOperators.LT, EXP_MIN)));
    }

    /** Distribution function of the standard normal, (1 + erf(x / sqrt 2)) / 2, given {@code bell(x)}. */
    static FloatVector normalCdf(FloatVector x, FloatVector bell) {
        // Mills' ratio over sqrt(2 pi) as a polynomial in u = 1 / (1 + |x| / 4).
        FloatVector u = ONE.div(x.abs().fma(QUARTER, ONE));
        FloatVector p = u.fma(MILLS_9, MILLS_8)
                .fma(u, MILLS_7)
                .fma(u, MILLS_6)
                .fma(u, MILLS_5)
                .fma(u, MILLS_4);
        p = p.fma(u, MILLS_3).fma(u, MILLS_2).fma(u, MILLS_1).fma(u, MILLS_0);
        FloatVector tail = p.mul(u).mul(bell);
        return tail.blend(ONE.sub(tail), x.compare(VectorOperators.GE, ZERO));
    }

    /** Density of the standard normal, given {@code bell(x)}. */
    static FloatVector normalDensity(FloatVector bell) {
        return bell.mul(INV_SQRT_2PI);
    }

    /** x times the standard normal's distribution function: the exact GELU. */
    static FloatVector gelu(FloatVector x) {
        return x.mul(normalCdf(x, bell(x)));
    }

    /** log(sigmoid(x)) without overflow or cancellation. */
    static double logSigmoid(double x) {
        return Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));
    }
}
