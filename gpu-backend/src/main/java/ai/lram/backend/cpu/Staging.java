package ai.lram.backend.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Native working memory of the calling thread, kept from call to call and freed with the thread. */
final class Staging {
    private static final ThreadLocal<Staging> OWN = ThreadLocal.withInitial(Staging::new);

    /** Floats in {@link #block0} and {@link #block1}; both stay in the first-level cache. */
    static final int BLOCK = 1024;

    final MemorySegment block0 = allocate(BLOCK);
    final MemorySegment block1 = allocate(BLOCK);

    private MemorySegment packedA = allocate(0);
    private MemorySegment packedB = allocate(0);
    private final MemorySegment tile = allocate(4096);

    private Staging() {}

    /** At least {@code floats}, for panels of a product's left factor. */
    MemorySegment packedA(long floats) {
        if (packedA.byteSize() < floats * Float.BYTES) {
            packedA = allocate(floats);
        }
        return packedA;
    }

    /** At least {@code floats}, for panels of a product's right factor. */
    MemorySegment packedB(long floats) {
        if (packedB.byteSize() < floats * Float.BYTES) {
            packedB = allocate(floats);
        }
        return packedB;
    }

    /** One tile of a product. */
    MemorySegment tile() {
        return tile;
    }

    static Staging own() {
        return OWN.get();
    }

    private static MemorySegment allocate(long floats) {
        return Arena.ofAuto().allocate(floats * Float.BYTES, 64);
    }
}
