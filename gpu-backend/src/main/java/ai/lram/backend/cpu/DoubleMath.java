package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** Vectorised fp64 functions for gate sums and normalisers, relative error about 1e-15. */
final class DoubleMath {
    static final VectorSpecies<Double> D = DoubleVector.SPECIES_PREFERRED;
    static final int LANES = D.length();

    /** As many floats as {@link #D} has doubles. */
    static final VectorSpecies<Float> NARROW =
            VectorSpecies.of(float.class, jdk.incubator.vector.VectorShape.forBitSize(D.vectorBitSize() / 2));

    private static final double LOG2E = 1.4426950408889634;
    private static final double LN2_HI = 6.93147180369123816490e-01;
    private static final double LN2_LO = 1.90821492927058770002e-10;
    private static final double ROUND = 6755399441055744.0; // 1.5 * 2^52
    private static final long ROUND_BITS = Double.doubleToRawLongBits(ROUND);
    private static final double LIMIT = 700;

    private DoubleMath() {}

    /** Floats from memory, widened. */
    static DoubleVector widen(MemorySegment m, long o) {
        return (DoubleVector)
                FloatVector.fromMemorySegment(NARROW, m, o, ByteOrder.LITTLE_ENDIAN).convertShape(VectorOperators.F2D, D, 0);
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

    /** e^x for |x| <= 700; larger arguments count as +-700. */
    static DoubleVector exp(DoubleVector x) {
        DoubleVector c = x.max(-LIMIT).min(LIMIT);
        DoubleVector t = c.mul(LOG2E).add(ROUND);
        DoubleVector n = t.sub(ROUND);
        DoubleVector r = n.fma(DoubleVector.broadcast(D, -LN2_HI), c);
        r = n.fma(DoubleVector.broadcast(D, -LN2_LO), r);
        DoubleVector p = DoubleVector.broadcast(D, 1.0 / 479001600);
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 39916800));
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 3628800));
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 362880));
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 40320));
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 5040));
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 720));
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 120));
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 24));
        p = p.fma(r, DoubleVector.broadcast(D, 1.0 / 6));
        p = p.fma(r, DoubleVector.broadcast(D, 0.5));
        p = p.fma(r, DoubleVector.broadcast(D, 1));
        p = p.fma(r, DoubleVector.broadcast(D, 1));
        DoubleVector scale = t.reinterpretAsLongs()
                .sub(ROUND_BITS)
                .add(1023)
                .lanewise(VectorOperators.LSHL, 52)
                .reinterpretAsDoubles();
        return p.mul(scale);
    }

    /** log(sigmoid(x)) without overflow or cancellation. */
    static DoubleVector logSigmoid(DoubleVector x) {
        DoubleVector u = exp(x.abs().neg());
        DoubleVector z = u.div(u.add(2));
        DoubleVector w = z.mul(z);
        // log1p(u) = 2 atanh(z) = 2 z (1 + z^2/3 + z^4/5 + ...), z <= 1/3.
        DoubleVector p = DoubleVector.broadcast(D, 1.0 / 31);
        for (int odd = 29; odd >= 1; odd -= 2) {
            p = p.fma(w, DoubleVector.broadcast(D, 1.0 / odd));
        }
        return x.min(0).sub(z.add(z).mul(p));
    }
}
