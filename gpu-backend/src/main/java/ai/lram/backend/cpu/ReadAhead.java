package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.I;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.IntVector;

/**
 * Fetches memory into the caches before a kernel works on it. A product asks for its lines one after the other and has a dozen of instructions
 * to do for each, so that few lines are under way at once and it waits for memory at a third of the bandwidth there is. Reading one word of every
 * line of a piece first, with nothing else to do, keeps as many lines under way as the core can.
 */
final class ReadAhead {
    /** Bytes of a matrix from which on it is taken to come from beyond the second-level cache. */
    static final long FAR = 384 * 1024;

    /** Bytes fetched at a time: a part of the second-level cache, large enough that waiting for the first line does not matter. */
    static final long CHUNK = 128 * 1024;

    private static final int LINE = 64;
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    /** What was read is compared with this and counted: else the compiler may leave out reads whose only use is that they happened. */
    private static final int UNLIKELY = 0x5eedbeef;

    private static volatile int touched;

    private ReadAhead() {}

    /** Reads every line from byte {@code from} to {@code to}. */
    static void touch(MemorySegment m, long from, long to) {
        IntVector a = IntVector.zero(I);
        IntVector b = a;
        IntVector c = a;
        IntVector d = a;
        long at = from;
        for (; at <= to - 4 * LINE; at += 4 * LINE) {
            a = a.or(IntVector.fromMemorySegment(I, m, at, LE));
            b = b.or(IntVector.fromMemorySegment(I, m, at + LINE, LE));
            c = c.or(IntVector.fromMemorySegment(I, m, at + 2 * LINE, LE));
            d = d.or(IntVector.fromMemorySegment(I, m, at + 3 * LINE, LE));
        }
        if (a.or(b).or(c.or(d)).lane(0) == UNLIKELY) {
            touched++;
        }
    }

    /** Reads {@code rows} pieces of {@code bytes}, {@code pitch} apart, the first at byte {@code at}. */
    static void touchRows(MemorySegment m, long at, int rows, long pitch, long bytes) {
        if (bytes == pitch) {
            touch(m, at, at + rows * pitch);
            return;
        }
        if (bytes % (4 * LINE) != 0) {
            return;
        }
        IntVector a = IntVector.zero(I);
        IntVector b = a;
        IntVector c = a;
        IntVector d = a;
        for (long column = at; column < at + bytes; column += 4 * LINE) {
            long end = column + rows * pitch;
            for (long o = column; o < end; o += pitch) {
                a = a.or(IntVector.fromMemorySegment(I, m, o, LE));
                b = b.or(IntVector.fromMemorySegment(I, m, o + LINE, LE));
                c = c.or(IntVector.fromMemorySegment(I, m, o + 2 * LINE, LE));
                d = d.or(IntVector.fromMemorySegment(I, m, o + 3 * LINE, LE));
            }
        }
        if (a.or(b).or(c.or(d)).lane(0) == UNLIKELY) {
            touched++;
        }
    }
}
