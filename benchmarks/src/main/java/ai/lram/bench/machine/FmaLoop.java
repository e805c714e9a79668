package ai.lram.bench.machine;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** Fused multiply-adds on registers: {@link #CHAINS} independent chains, enough to hide an FMA's latency on two units. */
final class FmaLoop {
    static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;
    static final int CHAINS = 16;

    private FmaLoop() {}

    /** Floating-point operations of one turn: a multiplication and an addition a lane and chain. */
    static long flopPerTurn() {
        return 2L * CHAINS * SPECIES.length();
    }

    static float run(long turns) {
        FloatVector x = FloatVector.broadcast(SPECIES, 0.999f);
        FloatVector y = FloatVector.broadcast(SPECIES, 0.001f);
        FloatVector a = FloatVector.broadcast(SPECIES, 1f);
        FloatVector b = FloatVector.broadcast(SPECIES, 2f);
        FloatVector c = FloatVector.broadcast(SPECIES, 3f);
        FloatVector d = FloatVector.broadcast(SPECIES, 4f);
        FloatVector e = FloatVector.broadcast(SPECIES, 5f);
        FloatVector f = FloatVector.broadcast(SPECIES, 6f);
        FloatVector g = FloatVector.broadcast(SPECIES, 7f);
        FloatVector h = FloatVector.broadcast(SPECIES, 8f);
        FloatVector i = FloatVector.broadcast(SPECIES, 9f);
        FloatVector j = FloatVector.broadcast(SPECIES, 10f);
        FloatVector k = FloatVector.broadcast(SPECIES, 11f);
        FloatVector l = FloatVector.broadcast(SPECIES, 12f);
        FloatVector m = FloatVector.broadcast(SPECIES, 13f);
        FloatVector n = FloatVector.broadcast(SPECIES, 14f);
        FloatVector o = FloatVector.broadcast(SPECIES, 15f);
        FloatVector p = FloatVector.broadcast(SPECIES, 16f);
        for (long t = 0; t < turns; t++) {
            a = a.fma(x, y);
            b = b.fma(x, y);
            c = c.fma(x, y);
            d = d.fma(x, y);
            e = e.fma(x, y);
            f = f.fma(x, y);
            g = g.fma(x, y);
            h = h.fma(x, y);
            i = i.fma(x, y);
            j = j.fma(x, y);
            k = k.fma(x, y);
            l = l.fma(x, y);
            m = m.fma(x, y);
            n = n.fma(x, y);
            o = o.fma(x, y);
            p = p.fma(x, y);
        }
        FloatVector left = a.add(b).add(c).add(d).add(e).add(f).add(g).add(h);
        FloatVector right = i.add(j).add(k).add(l).add(m).add(n).add(o).add(p);
        return left.add(right).reduceLanes(VectorOperators.ADD);
    }
}
