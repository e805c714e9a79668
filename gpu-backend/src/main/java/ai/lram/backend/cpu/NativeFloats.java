package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/**
 * Vectors of native memory by address. An access to a segment of its own costs C2 a dozen instructions for its bounds and its life, in every
 * turn of a loop; the bounds of one segment that spans all memory are constants. So nothing is checked here: a host tensor is native memory, its
 * arena is found open when a kernel asks for its segment, {@link Check} compares sizes, and a kernel stays within what it was given. No arena may
 * be closed while a kernel runs on it.
 */
final class NativeFloats {
    @SuppressWarnings("restricted")
    private static final MemorySegment MEMORY = MemorySegment.NULL.reinterpret(Long.MAX_VALUE);

    private NativeFloats() {}

    /** Element {@code i} of native memory and the {@link VectorMath#LANES} - 1 that follow it. */
    static FloatVector load(MemorySegment s, long i) {
        return FloatVector.fromMemorySegment(F, MEMORY, s.address() + i * Float.BYTES, ByteOrder.LITTLE_ENDIAN);
    }

    static void store(FloatVector v, MemorySegment s, long i) {
        v.intoMemorySegment(MEMORY, s.address() + i * Float.BYTES, ByteOrder.LITTLE_ENDIAN);
    }

    /** The vector at a byte offset. */
    static FloatVector at(MemorySegment s, long offset) {
        return FloatVector.fromMemorySegment(F, MEMORY, s.address() + offset, ByteOrder.LITTLE_ENDIAN);
    }

    static void put(FloatVector v, MemorySegment s, long offset) {
        v.intoMemorySegment(MEMORY, s.address() + offset, ByteOrder.LITTLE_ENDIAN);
    }

    /** Lanes outside the mask are 0 and not read. */
    static FloatVector load(MemorySegment s, long i, VectorMask<Float> m) {
        return FloatVector.fromMemorySegment(F, MEMORY, s.address() + i * Float.BYTES, ByteOrder.LITTLE_ENDIAN, m);
    }

    static void store(FloatVector v, MemorySegment s, long i, VectorMask<Float> m) {
        v.intoMemorySegment(MEMORY, s.address() + i * Float.BYTES, ByteOrder.LITTLE_ENDIAN, m);
    }
}
