package ai.lram.bench.machine;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** Reads memory as fast as it comes: every byte enters a XOR, four independent ones so that none waits for another. */
final class ReadLoop {
    private static final VectorSpecies<Long> SPECIES = LongVector.SPECIES_PREFERRED;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();
    /** Bytes of one turn of the loop. */
    static final int STRIDE = 4 * SPECIES.vectorByteSize();

    private ReadLoop() {}

    /** XOR over bytes {@code from} to {@code to}, whose distance is a multiple of {@link #STRIDE}. */
    static long xor(MemorySegment m, long from, long to) {
        int width = SPECIES.vectorByteSize();
        LongVector a = LongVector.zero(SPECIES);
        LongVector b = a;
        LongVector c = a;
        LongVector d = a;
        for (long at = from; at < to; at += STRIDE) {
            a = a.lanewise(VectorOperators.XOR, LongVector.fromMemorySegment(SPECIES, m, at, ORDER));
            b = b.lanewise(VectorOperators.XOR, LongVector.fromMemorySegment(SPECIES, m, at + width, ORDER));
            c = c.lanewise(VectorOperators.XOR, LongVector.fromMemorySegment(SPECIES, m, at + 2L * width, ORDER));
            d = d.lanewise(VectorOperators.XOR, LongVector.fromMemorySegment(SPECIES, m, at + 3L * width, ORDER));
        }
        LongVector ab = a.lanewise(VectorOperators.XOR, b);
        LongVector cd = c.lanewise(VectorOperators.XOR, d);
        return ab.lanewise(VectorOperators.XOR, cd).reduceLanes(VectorOperators.XOR);
    }
}
