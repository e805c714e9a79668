package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.I;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.IntVector;

/**
 * Fetches memory into the caches before a kernel works on it. A product asks for its lines one after the other and has a dozen of instructions
 * to do for each, so that few lines are under way at once and it waits for memory at a third of the bandwidth there is. Reading one word of every
 * line of a piece first, with nothing else to do, keeps as many lines under way as the core can.
 */
final class ReadAhead {
    /** Bytes of a matrix from which on it is taken to come from beyond the second-level cache. */
    private static final long FAR = 384 * 1024;

    /** Bytes fetched at a time: a part of the second-level cache, large enough that waiting for the first line does not matter. */
    private static final long CHUNK = 128 * 1024;

    private static final int LINE = 64;
    private static final ValueLayout.OfInt WORD = ValueLayout.JAVA_INT_UNALIGNED;
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    /** What was read is compared with this and counted: else the compiler may leave out reads whose only use is that they happened. */
    private static final int UNLIKELY = 0x5eedbeef;

    private static volatile int touched;

    private ReadAhead() {}

    /**
     * Before a loop over bytes {@code from} to {@code to} of a matrix of {@code bytes}.
     *
     * @return how far the matrix counts as read: not at all, or all of it if it is near anyway
     */
    static long begin(long bytes, long from, long to) {
        return bytes >= FAR ? from : to;
    }

    /**
     * Before such a loop works on the {@code step} bytes from {@code at} on, fetches what comes next where it has used up what was read.
     *
     * @return how far it is read then
     */
    static long next(MemorySegment m, long at, long read, long to, long step) {
        if (at < read) {
            return read;
        }
        long end = Math.min(to, at + Math.max(step, CHUNK / step * step));
        touch(m, at, end);
        return end;
    }

    /** Reads the lines from byte {@code from} to {@code to}, four at a time: fewer than four at the end stay. */
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
        IntVector a = IntVector.zero(I);
        IntVector b = a;
        IntVector c = a;
        IntVector d = a;
        int rest = 0;
        long whole = bytes / (4 * LINE) * (4 * LINE);
        for (int r = 0; r < rows; r++) {
            long row = at + r * pitch;
            for (long o = row; o < row + whole; o += 4 * LINE) {
                a = a.or(IntVector.fromMemorySegment(I, m, o, LE));
                b = b.or(IntVector.fromMemorySegment(I, m, o + LINE, LE));
                c = c.or(IntVector.fromMemorySegment(I, m, o + 2 * LINE, LE));
                d = d.or(IntVector.fromMemorySegment(I, m, o + 3 * LINE, LE));
            }
            for (long o = row + whole; o < row + bytes; o += LINE) {
                rest |= m.get(WORD, o);
            }
        }
        if ((a.or(b).or(c.or(d)).lane(0) | rest) == UNLIKELY) {
            touched++;
        }
    }
}
