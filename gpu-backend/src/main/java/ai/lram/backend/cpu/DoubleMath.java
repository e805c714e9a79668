package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** Vectorised fp64 functions for gate sums, normalisers and losses, relative error below 1e-13 unless said. */
final class DoubleMath {
    static final VectorSpecies<Double> D = DoubleVector.SPECIES_PREFERRED;
    static final int LANES = D.length();

    /** As many floats as {@link #D} has doubles. */
    static final VectorSpecies<Float> NARROW =
            VectorSpecies.of(float.class, jdk.incubator.vector.VectorShape.forBitSize(D.vectorBitSize() / 2));

    // Constants as fields: a broadcast at its place of use costs the compiler so much that it boxes what follows.
    private static final DoubleVector LOG2E = broadcast(1.4426950408889634);
    private static final DoubleVector MINUS_LN2_HI = broadcast(-6.93147180369123816490e-01);
    private static final DoubleVector MINUS_LN2_LO = broadcast(-1.90821492927058770002e-10);
    private static final DoubleVector ROUND = broadcast(6755399441055744.0); // 1.5 * 2^52
    private static final DoubleVector MAX = broadcast(700);
    private static final DoubleVector MIN = broadcast(-700);
    private static final DoubleVector ZERO = broadcast(0);
    private static final DoubleVector HALF = broadcast(0.5);
    static final DoubleVector ONE = broadcast(1);
    private static final DoubleVector TWO = broadcast(2);
    private static final DoubleVector EXP_3 = broadcast(1.0 / 6);
    private static final DoubleVector EXP_4 = broadcast(1.0 / 24);
    private static final DoubleVector EXP_5 = broadcast(1.0 / 120);
    private static final DoubleVector EXP_6 = broadcast(1.0 / 720);
    private static final DoubleVector EXP_7 = broadcast(1.0 / 5040);
    private static final DoubleVector EXP_8 = broadcast(1.0 / 40320);
    private static final DoubleVector EXP_9 = broadcast(1.0 / 362880);
    private static final DoubleVector EXP_10 = broadcast(1.0 / 3628800);
    private static final DoubleVector EXP_11 = broadcast(1.0 / 39916800);
    private static final DoubleVector ODD_3 = broadcast(1.0 / 3);
    private static final DoubleVector ODD_5 = broadcast(1.0 / 5);
    private static final DoubleVector ODD_7 = broadcast(1.0 / 7);
    private static final DoubleVector ODD_9 = broadcast(1.0 / 9);
    private static final DoubleVector ODD_11 = broadcast(1.0 / 11);
    private static final DoubleVector ODD_13 = broadcast(1.0 / 13);
    private static final DoubleVector ODD_15 = broadcast(1.0 / 15);
    private static final DoubleVector ODD_17 = broadcast(1.0 / 17);
    private static final DoubleVector ODD_19 = broadcast(1.0 / 19);
    private static final DoubleVector ODD_21 = broadcast(1.0 / 21);
    private static final DoubleVector ODD_23 = broadcast(1.0 / 23);
    private static final DoubleVector ODD_25 = broadcast(1.0 / 25);
    private static final DoubleVector ODD_27 = broadcast(1.0 / 27);

    private static final DoubleVector TAIL_0 = broadcast(0.22348523349194435);
    private static final DoubleVector TAIL_1 = broadcast(0.1574239688892981);
    private static final DoubleVector TAIL_2 = broadcast(0.08224876498217043);
    private static final DoubleVector TAIL_3 = broadcast(0.03036297359242878);
    private static final DoubleVector TAIL_4 = broadcast(0.006698639406110722);
    private static final DoubleVector TAIL_5 = broadcast(0.00017201815031319474);
    private static final DoubleVector TAIL_6 = broadcast(-0.00035808006524044975);
    private static final DoubleVector TAIL_7 = broadcast(-5.789687641245948e-05);
    private static final DoubleVector TAIL_8 = broadcast(2.1067862396558916e-05);
    private static final DoubleVector TAIL_9 = broadcast(5.2794243476999035e-06);
    private static final DoubleVector TAIL_10 = broadcast(-1.7607583486370107e-06);
    private static final DoubleVector TAIL_11 = broadcast(-4.0029043633688844e-07);
    private static final DoubleVector TAIL_12 = broadcast(1.8965565219215408e-07);
    private static final DoubleVector TAIL_13 = broadcast(2.1959539353709466e-08);
    private static final DoubleVector TAIL_14 = broadcast(-2.0672646677272575e-08);
    private static final DoubleVector TAIL_15 = broadcast(-3.160926099573405e-10);
    private static final DoubleVector TAIL_16 = broadcast(1.56498068006816e-09);
    private static final DoubleVector QUARTER = broadcast(0.25);
    private static final DoubleVector MINUS_HALF = broadcast(-0.5);
    private static final DoubleVector TAIL_END = broadcast(16);
    private static final DoubleVector TAIL_SCALE = broadcast(2.5);
    private static final DoubleVector TAIL_SHIFT = broadcast(-1.5);

    private DoubleMath() {}

    private static DoubleVector broadcast(double v) {
        return DoubleVector.broadcast(D, v);
    }

    /** Floats from memory, widened. */
    static DoubleVector widen(MemorySegment m, long o) {
        return (DoubleVector) FloatVector.fromMemorySegment(NARROW, m, o, ByteOrder.LITTLE_ENDIAN)
                .convertShape(VectorOperators.F2D, D, 0);
    }

    static DoubleVector load(MemorySegment m, long o) {
        return DoubleVector.fromMemorySegment(D, m, o, ByteOrder.LITTLE_ENDIAN);
    }

    static void store(DoubleVector v, MemorySegment m, long o) {
        v.intoMemorySegment(m, o, ByteOrder.LITTLE_ENDIAN);
    }

    /** Sum of all lanes, in lane order. */
    static double sum(DoubleVector v) {
        double s = 0;
        for (int j = 0; j < LANES; j++) {
            s += v.lane(j);
        }
        return s;
    }

    /** e^x for |x| <= 700; larger arguments count as +-700, NaN stays. */
    static DoubleVector exp(DoubleVector x) {
        DoubleVector c = x.blend(MAX, x.compare(VectorOperators.GT, MAX));
        c = c.blend(MIN, c.compare(VectorOperators.LT, MIN));
        DoubleVector t = c.fma(LOG2E, ROUND);
        DoubleVector n = t.sub(ROUND);
        DoubleVector r = n.fma(MINUS_LN2_LO, n.fma(MINUS_LN2_HI, c));
        DoubleVector p = r.fma(EXP_11, EXP_10)
                .fma(r, EXP_9)
                .fma(r, EXP_8)
                .fma(r, EXP_7)
                .fma(r, EXP_6)
                .fma(r, EXP_5);
        p = p.fma(r, EXP_4).fma(r, EXP_3).fma(r, HALF).fma(r, ONE).fma(r, ONE);
        LongVector scale = t.reinterpretAsLongs().lanewise(VectorOperators.LSHL, 52);
        return p.reinterpretAsLongs().add(scale).reinterpretAsDoubles();
    }

    /** log(sigmoid(x)) without overflow or cancellation. */
    static DoubleVector logSigmoid(DoubleVector x) {
        DoubleVector u = exp(x.abs().neg());
        DoubleVector z = u.div(u.add(TWO));
        DoubleVector low = x.blend(ZERO, x.compare(VectorOperators.GT, ZERO));
        return low.sub(z.add(z).mul(atanhOverZ(z.mul(z))));
    }

    /** atanh(z) / z = 1 + w/3 + w^2/5 + ... for w = z^2 <= 1/9. */
    private static DoubleVector atanhOverZ(DoubleVector w) {
        DoubleVector p = w.fma(ODD_27, ODD_25)
                .fma(w, ODD_23)
                .fma(w, ODD_21)
                .fma(w, ODD_19)
                .fma(w, ODD_17)
                .fma(w, ODD_15);
        return p.fma(w, ODD_13)
                .fma(w, ODD_11)
                .fma(w, ODD_9)
                .fma(w, ODD_7)
                .fma(w, ODD_5)
                .fma(w, ODD_3)
                .fma(w, ONE);
    }

    /** Probability that a standard normal variable exceeds {@code x} >= 0; relative error below 1e-12 up to 16, 0 beyond. */
    static DoubleVector upperTail(DoubleVector x) {
        // Mills' ratio times 1 + x / 4 as a polynomial in s, which runs from 1 at 0 to -1 at 16.
        DoubleVector u = ONE.div(x.fma(QUARTER, ONE));
        DoubleVector s = u.fma(TAIL_SCALE, TAIL_SHIFT);
        DoubleVector p = s.fma(TAIL_16, TAIL_15)
                .fma(s, TAIL_14)
                .fma(s, TAIL_13)
                .fma(s, TAIL_12)
                .fma(s, TAIL_11)
                .fma(s, TAIL_10)
                .fma(s, TAIL_9)
                .fma(s, TAIL_8);
        p = p.fma(s, TAIL_7).fma(s, TAIL_6).fma(s, TAIL_5).fma(s, TAIL_4);
        p = p.fma(s, TAIL_3).fma(s, TAIL_2).fma(s, TAIL_1).fma(s, TAIL_0);
        DoubleVector tail = p.mul(u).mul(exp(x.mul(x).mul(MINUS_HALF)));
        return tail.blend(ZERO, x.compare(VectorOperators.GT, TAIL_END));
    }
}
