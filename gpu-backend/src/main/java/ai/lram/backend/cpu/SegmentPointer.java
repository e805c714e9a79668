package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Pointer;

/** Floats of a native segment as JavaCPP sees them: the same memory, owned by the segment's arena. */
final class SegmentPointer extends FloatPointer {
    /** From element {@code at} to the end of the segment. */
    SegmentPointer(MemorySegment segment, long at) {
        super((Pointer) null);
        address = segment.address() + at * Float.BYTES;
        capacity = segment.byteSize() / Float.BYTES - at;
        limit = capacity;
    }
}
