package ai.lram.backend.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Working memory of the calling thread, kept from call to call and freed with the thread. */
final class Staging {
    private static final ThreadLocal<Staging> OWN = ThreadLocal.withInitial(Staging::new);

    /** Floats in {@link #block0} and {@link #block1}; both stay in the first-level cache. */
    static final int BLOCK = 1024;

    final MemorySegment block0 = allocate(BLOCK);
    final MemorySegment block1 = allocate(BLOCK);

    /** Three vectors, for what is left of a loop. */
    final MemorySegment rest = allocate(3L * VectorMath.LANES);

    /** The accumulators of one register tile. */
    final float[] tile = new float[Math.max(GemmTile.HEIGHT * GemmTile.WIDTH, 64 * VectorMath.LANES)];

    /** A square of vectors on its way to being transposed. */
    final float[] square = new float[VectorMath.LANES * VectorMath.LANES];

    private float[] packedA = {};
    private float[] packedB = {};

    private Staging() {}

    static Staging own() {
        return OWN.get();
    }

    private static MemorySegment allocate(long floats) {
        return Arena.ofAuto().allocate(floats * Float.BYTES, 64);
    }

    /** At least {@code floats}, for panels of a product's left factor. */
    float[] packedA(int floats) {
        if (packedA.length < floats) {
            packedA = new float[floats];
        }
        return packedA;
    }

    /** At least {@code floats}, for panels of a product's right factor. */
    float[] packedB(int floats) {
        if (packedB.length < floats) {
            packedB = new float[floats];
        }
        return packedB;
    }
}
