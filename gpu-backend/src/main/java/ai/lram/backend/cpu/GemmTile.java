package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.ZERO;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;

/**
 * The innermost products: a tile of C, {@link #HEIGHT} rows by two vectors, stays in registers while a panel of A and a panel of B run
 * through. B's panel holds {@link #WIDTH} columns, depth-major. A's panel is either row-major with the fixed stride {@link #ROW_STRIDE},
 * so that all its addresses are one register plus a constant, or depth-major with {@link #HEIGHT} rows.
 */
final class GemmTile {
    /** Columns of a tile. */
    static final int WIDTH = 2 * LANES;

    /** Rows of a tile: 24 accumulators where there are 32 vector registers, 12 where there are 16. */
    static final int HEIGHT = LANES == 8 ? 6 : 12;

    /** Depth of a panel. */
    static final int DEPTH = 256;

    /** Floats from row to row of a row-major panel of A; off a power of two, so that its rows fall into different cache sets. */
    static final int ROW_STRIDE = DEPTH + 16;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private GemmTile() {}

    /** c = a b for a row-major panel of A; rows of c are {@code ld} floats apart. */
    static void rowMajor(MemorySegment a, MemorySegment b, long depth, MemorySegment c, long at, long ld) {
        if (HEIGHT == 12) {
            rowMajor12(a, b, depth, c, at, ld);
        } else {
            rowMajor6(a, b, depth, c, at, ld);
        }
    }

    /** c = a b for a depth-major panel of A; rows of c are {@code ld} floats apart. */
    static void depthMajor(MemorySegment a, MemorySegment b, long depth, MemorySegment c, long at, long ld) {
        if (HEIGHT == 12) {
            depthMajor12(a, b, depth, c, at, ld);
        } else {
            depthMajor6(a, b, depth, c, at, ld);
        }
    }

    private static void rowMajor12(MemorySegment a, MemorySegment b, long depth, MemorySegment c, long at, long ld) {
        FloatVector c0a = ZERO;
        FloatVector c0b = ZERO;
        FloatVector c1a = ZERO;
        FloatVector c1b = ZERO;
        FloatVector c2a = ZERO;
        FloatVector c2b = ZERO;
        FloatVector c3a = ZERO;
        FloatVector c3b = ZERO;
        FloatVector c4a = ZERO;
        FloatVector c4b = ZERO;
        FloatVector c5a = ZERO;
        FloatVector c5b = ZERO;
        FloatVector c6a = ZERO;
        FloatVector c6b = ZERO;
        FloatVector c7a = ZERO;
        FloatVector c7b = ZERO;
        FloatVector c8a = ZERO;
        FloatVector c8b = ZERO;
        FloatVector c9a = ZERO;
        FloatVector c9b = ZERO;
        FloatVector c10a = ZERO;
        FloatVector c10b = ZERO;
        FloatVector c11a = ZERO;
        FloatVector c11b = ZERO;
        for (long k = 0; k < depth; k++) {
            FloatVector p = load(b, k * WIDTH);
            FloatVector q = load(b, k * WIDTH + LANES);
            FloatVector x = FloatVector.broadcast(F, a.get(FLOAT, k * 4));
            c0a = x.fma(p, c0a);
            c0b = x.fma(q, c0b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + ROW_STRIDE) * 4));
            c1a = x.fma(p, c1a);
            c1b = x.fma(q, c1b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 2 * ROW_STRIDE) * 4));
            c2a = x.fma(p, c2a);
            c2b = x.fma(q, c2b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 3 * ROW_STRIDE) * 4));
            c3a = x.fma(p, c3a);
            c3b = x.fma(q, c3b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 4 * ROW_STRIDE) * 4));
            c4a = x.fma(p, c4a);
            c4b = x.fma(q, c4b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 5 * ROW_STRIDE) * 4));
            c5a = x.fma(p, c5a);
            c5b = x.fma(q, c5b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 6 * ROW_STRIDE) * 4));
            c6a = x.fma(p, c6a);
            c6b = x.fma(q, c6b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 7 * ROW_STRIDE) * 4));
            c7a = x.fma(p, c7a);
            c7b = x.fma(q, c7b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 8 * ROW_STRIDE) * 4));
            c8a = x.fma(p, c8a);
            c8b = x.fma(q, c8b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 9 * ROW_STRIDE) * 4));
            c9a = x.fma(p, c9a);
            c9b = x.fma(q, c9b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 10 * ROW_STRIDE) * 4));
            c10a = x.fma(p, c10a);
            c10b = x.fma(q, c10b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 11 * ROW_STRIDE) * 4));
            c11a = x.fma(p, c11a);
            c11b = x.fma(q, c11b);
        }
        store(c0a, c, at);
        store(c0b, c, at + LANES);
        store(c1a, c, at + ld);
        store(c1b, c, at + ld + LANES);
        store(c2a, c, at + 2 * ld);
        store(c2b, c, at + 2 * ld + LANES);
        store(c3a, c, at + 3 * ld);
        store(c3b, c, at + 3 * ld + LANES);
        store(c4a, c, at + 4 * ld);
        store(c4b, c, at + 4 * ld + LANES);
        store(c5a, c, at + 5 * ld);
        store(c5b, c, at + 5 * ld + LANES);
        store(c6a, c, at + 6 * ld);
        store(c6b, c, at + 6 * ld + LANES);
        store(c7a, c, at + 7 * ld);
        store(c7b, c, at + 7 * ld + LANES);
        store(c8a, c, at + 8 * ld);
        store(c8b, c, at + 8 * ld + LANES);
        store(c9a, c, at + 9 * ld);
        store(c9b, c, at + 9 * ld + LANES);
        store(c10a, c, at + 10 * ld);
        store(c10b, c, at + 10 * ld + LANES);
        store(c11a, c, at + 11 * ld);
        store(c11b, c, at + 11 * ld + LANES);
    }

    private static void depthMajor12(MemorySegment a, MemorySegment b, long depth, MemorySegment c, long at, long ld) {
        FloatVector c0a = ZERO;
        FloatVector c0b = ZERO;
        FloatVector c1a = ZERO;
        FloatVector c1b = ZERO;
        FloatVector c2a = ZERO;
        FloatVector c2b = ZERO;
        FloatVector c3a = ZERO;
        FloatVector c3b = ZERO;
        FloatVector c4a = ZERO;
        FloatVector c4b = ZERO;
        FloatVector c5a = ZERO;
        FloatVector c5b = ZERO;
        FloatVector c6a = ZERO;
        FloatVector c6b = ZERO;
        FloatVector c7a = ZERO;
        FloatVector c7b = ZERO;
        FloatVector c8a = ZERO;
        FloatVector c8b = ZERO;
        FloatVector c9a = ZERO;
        FloatVector c9b = ZERO;
        FloatVector c10a = ZERO;
        FloatVector c10b = ZERO;
        FloatVector c11a = ZERO;
        FloatVector c11b = ZERO;
        for (long k = 0; k < depth; k++) {
            FloatVector p = load(b, k * WIDTH);
            FloatVector q = load(b, k * WIDTH + LANES);
            FloatVector x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12) * 4));
            c0a = x.fma(p, c0a);
            c0b = x.fma(q, c0b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 1) * 4));
            c1a = x.fma(p, c1a);
            c1b = x.fma(q, c1b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 2) * 4));
            c2a = x.fma(p, c2a);
            c2b = x.fma(q, c2b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 3) * 4));
            c3a = x.fma(p, c3a);
            c3b = x.fma(q, c3b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 4) * 4));
            c4a = x.fma(p, c4a);
            c4b = x.fma(q, c4b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 5) * 4));
            c5a = x.fma(p, c5a);
            c5b = x.fma(q, c5b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 6) * 4));
            c6a = x.fma(p, c6a);
            c6b = x.fma(q, c6b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 7) * 4));
            c7a = x.fma(p, c7a);
            c7b = x.fma(q, c7b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 8) * 4));
            c8a = x.fma(p, c8a);
            c8b = x.fma(q, c8b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 9) * 4));
            c9a = x.fma(p, c9a);
            c9b = x.fma(q, c9b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 10) * 4));
            c10a = x.fma(p, c10a);
            c10b = x.fma(q, c10b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 12 + 11) * 4));
            c11a = x.fma(p, c11a);
            c11b = x.fma(q, c11b);
        }
        store(c0a, c, at);
        store(c0b, c, at + LANES);
        store(c1a, c, at + ld);
        store(c1b, c, at + ld + LANES);
        store(c2a, c, at + 2 * ld);
        store(c2b, c, at + 2 * ld + LANES);
        store(c3a, c, at + 3 * ld);
        store(c3b, c, at + 3 * ld + LANES);
        store(c4a, c, at + 4 * ld);
        store(c4b, c, at + 4 * ld + LANES);
        store(c5a, c, at + 5 * ld);
        store(c5b, c, at + 5 * ld + LANES);
        store(c6a, c, at + 6 * ld);
        store(c6b, c, at + 6 * ld + LANES);
        store(c7a, c, at + 7 * ld);
        store(c7b, c, at + 7 * ld + LANES);
        store(c8a, c, at + 8 * ld);
        store(c8b, c, at + 8 * ld + LANES);
        store(c9a, c, at + 9 * ld);
        store(c9b, c, at + 9 * ld + LANES);
        store(c10a, c, at + 10 * ld);
        store(c10b, c, at + 10 * ld + LANES);
        store(c11a, c, at + 11 * ld);
        store(c11b, c, at + 11 * ld + LANES);
    }

    private static void rowMajor6(MemorySegment a, MemorySegment b, long depth, MemorySegment c, long at, long ld) {
        FloatVector c0a = ZERO;
        FloatVector c0b = ZERO;
        FloatVector c1a = ZERO;
        FloatVector c1b = ZERO;
        FloatVector c2a = ZERO;
        FloatVector c2b = ZERO;
        FloatVector c3a = ZERO;
        FloatVector c3b = ZERO;
        FloatVector c4a = ZERO;
        FloatVector c4b = ZERO;
        FloatVector c5a = ZERO;
        FloatVector c5b = ZERO;
        for (long k = 0; k < depth; k++) {
            FloatVector p = load(b, k * WIDTH);
            FloatVector q = load(b, k * WIDTH + LANES);
            FloatVector x = FloatVector.broadcast(F, a.get(FLOAT, k * 4));
            c0a = x.fma(p, c0a);
            c0b = x.fma(q, c0b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + ROW_STRIDE) * 4));
            c1a = x.fma(p, c1a);
            c1b = x.fma(q, c1b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 2 * ROW_STRIDE) * 4));
            c2a = x.fma(p, c2a);
            c2b = x.fma(q, c2b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 3 * ROW_STRIDE) * 4));
            c3a = x.fma(p, c3a);
            c3b = x.fma(q, c3b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 4 * ROW_STRIDE) * 4));
            c4a = x.fma(p, c4a);
            c4b = x.fma(q, c4b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k + 5 * ROW_STRIDE) * 4));
            c5a = x.fma(p, c5a);
            c5b = x.fma(q, c5b);
        }
        store(c0a, c, at);
        store(c0b, c, at + LANES);
        store(c1a, c, at + ld);
        store(c1b, c, at + ld + LANES);
        store(c2a, c, at + 2 * ld);
        store(c2b, c, at + 2 * ld + LANES);
        store(c3a, c, at + 3 * ld);
        store(c3b, c, at + 3 * ld + LANES);
        store(c4a, c, at + 4 * ld);
        store(c4b, c, at + 4 * ld + LANES);
        store(c5a, c, at + 5 * ld);
        store(c5b, c, at + 5 * ld + LANES);
    }

    private static void depthMajor6(MemorySegment a, MemorySegment b, long depth, MemorySegment c, long at, long ld) {
        FloatVector c0a = ZERO;
        FloatVector c0b = ZERO;
        FloatVector c1a = ZERO;
        FloatVector c1b = ZERO;
        FloatVector c2a = ZERO;
        FloatVector c2b = ZERO;
        FloatVector c3a = ZERO;
        FloatVector c3b = ZERO;
        FloatVector c4a = ZERO;
        FloatVector c4b = ZERO;
        FloatVector c5a = ZERO;
        FloatVector c5b = ZERO;
        for (long k = 0; k < depth; k++) {
            FloatVector p = load(b, k * WIDTH);
            FloatVector q = load(b, k * WIDTH + LANES);
            FloatVector x = FloatVector.broadcast(F, a.get(FLOAT, (k * 6) * 4));
            c0a = x.fma(p, c0a);
            c0b = x.fma(q, c0b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 6 + 1) * 4));
            c1a = x.fma(p, c1a);
            c1b = x.fma(q, c1b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 6 + 2) * 4));
            c2a = x.fma(p, c2a);
            c2b = x.fma(q, c2b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 6 + 3) * 4));
            c3a = x.fma(p, c3a);
            c3b = x.fma(q, c3b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 6 + 4) * 4));
            c4a = x.fma(p, c4a);
            c4b = x.fma(q, c4b);
            x = FloatVector.broadcast(F, a.get(FLOAT, (k * 6 + 5) * 4));
            c5a = x.fma(p, c5a);
            c5b = x.fma(q, c5b);
        }
        store(c0a, c, at);
        store(c0b, c, at + LANES);
        store(c1a, c, at + ld);
        store(c1b, c, at + ld + LANES);
        store(c2a, c, at + 2 * ld);
        store(c2b, c, at + 2 * ld + LANES);
        store(c3a, c, at + 3 * ld);
        store(c3b, c, at + 3 * ld + LANES);
        store(c4a, c, at + 4 * ld);
        store(c4b, c, at + 4 * ld + LANES);
        store(c5a, c, at + 5 * ld);
        store(c5b, c, at + 5 * ld + LANES);
    }
}
