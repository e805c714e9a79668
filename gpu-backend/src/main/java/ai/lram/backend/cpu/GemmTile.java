package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import jdk.incubator.vector.FloatVector;

/**
 * The innermost products: a tile of C, {@link #HEIGHT} rows by two vectors, stays in registers while a panel of A and a panel of B run
 * through. Both panels are depth-major: the {@link #HEIGHT} rows of A, or the {@link #WIDTH} columns of B, of one depth lie side by side,
 * so that each panel is one stream (with A as stored, row after row, the same loop reaches four fifths of this speed). Panels and tiles
 * are heap arrays: their accesses cost C2 a fraction of the nodes that a segment's do, and with 24 accumulators every node counts.
 */
final class GemmTile {
    /** Columns of a tile. */
    static final int WIDTH = 2 * LANES;

    /** Rows of a tile: 24 accumulators where there are 32 vector registers, 12 where there are 16. */
    static final int HEIGHT = LANES == 8 ? 6 : 12;

    /** Depth of a panel. */
    static final int DEPTH = 256;

    private GemmTile() {}

    /** c (HEIGHT, WIDTH) = a b. */
    static void multiply(float[] a, int aAt, float[] b, int bAt, int depth, float[] c) {
        if (HEIGHT == 12) {
            rows12(a, aAt, b, bAt, depth, c);
        } else {
            rows6(a, aAt, b, bAt, depth, c);
        }
    }

    private static void rows12(float[] a, int aAt, float[] b, int bAt, int depth, float[] c) {
        FloatVector c0a = FloatVector.zero(F);
        FloatVector c0b = FloatVector.zero(F);
        FloatVector c1a = FloatVector.zero(F);
        FloatVector c1b = FloatVector.zero(F);
        FloatVector c2a = FloatVector.zero(F);
        FloatVector c2b = FloatVector.zero(F);
        FloatVector c3a = FloatVector.zero(F);
        FloatVector c3b = FloatVector.zero(F);
        FloatVector c4a = FloatVector.zero(F);
        FloatVector c4b = FloatVector.zero(F);
        FloatVector c5a = FloatVector.zero(F);
        FloatVector c5b = FloatVector.zero(F);
        FloatVector c6a = FloatVector.zero(F);
        FloatVector c6b = FloatVector.zero(F);
        FloatVector c7a = FloatVector.zero(F);
        FloatVector c7b = FloatVector.zero(F);
        FloatVector c8a = FloatVector.zero(F);
        FloatVector c8b = FloatVector.zero(F);
        FloatVector c9a = FloatVector.zero(F);
        FloatVector c9b = FloatVector.zero(F);
        FloatVector c10a = FloatVector.zero(F);
        FloatVector c10b = FloatVector.zero(F);
        FloatVector c11a = FloatVector.zero(F);
        FloatVector c11b = FloatVector.zero(F);
        for (int k = 0; k < depth; k++) {
            FloatVector p = FloatVector.fromArray(F, b, bAt + k * WIDTH);
            FloatVector q = FloatVector.fromArray(F, b, bAt + k * WIDTH + LANES);
            FloatVector x = FloatVector.broadcast(F, a[aAt + k * 12]);
            c0a = x.fma(p, c0a);
            c0b = x.fma(q, c0b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 1]);
            c1a = x.fma(p, c1a);
            c1b = x.fma(q, c1b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 2]);
            c2a = x.fma(p, c2a);
            c2b = x.fma(q, c2b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 3]);
            c3a = x.fma(p, c3a);
            c3b = x.fma(q, c3b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 4]);
            c4a = x.fma(p, c4a);
            c4b = x.fma(q, c4b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 5]);
            c5a = x.fma(p, c5a);
            c5b = x.fma(q, c5b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 6]);
            c6a = x.fma(p, c6a);
            c6b = x.fma(q, c6b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 7]);
            c7a = x.fma(p, c7a);
            c7b = x.fma(q, c7b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 8]);
            c8a = x.fma(p, c8a);
            c8b = x.fma(q, c8b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 9]);
            c9a = x.fma(p, c9a);
            c9b = x.fma(q, c9b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 10]);
            c10a = x.fma(p, c10a);
            c10b = x.fma(q, c10b);
            x = FloatVector.broadcast(F, a[aAt + k * 12 + 11]);
            c11a = x.fma(p, c11a);
            c11b = x.fma(q, c11b);
        }
        c0a.intoArray(c, 0 * WIDTH);
        c0b.intoArray(c, 0 * WIDTH + LANES);
        c1a.intoArray(c, 1 * WIDTH);
        c1b.intoArray(c, 1 * WIDTH + LANES);
        c2a.intoArray(c, 2 * WIDTH);
        c2b.intoArray(c, 2 * WIDTH + LANES);
        c3a.intoArray(c, 3 * WIDTH);
        c3b.intoArray(c, 3 * WIDTH + LANES);
        c4a.intoArray(c, 4 * WIDTH);
        c4b.intoArray(c, 4 * WIDTH + LANES);
        c5a.intoArray(c, 5 * WIDTH);
        c5b.intoArray(c, 5 * WIDTH + LANES);
        c6a.intoArray(c, 6 * WIDTH);
        c6b.intoArray(c, 6 * WIDTH + LANES);
        c7a.intoArray(c, 7 * WIDTH);
        c7b.intoArray(c, 7 * WIDTH + LANES);
        c8a.intoArray(c, 8 * WIDTH);
        c8b.intoArray(c, 8 * WIDTH + LANES);
        c9a.intoArray(c, 9 * WIDTH);
        c9b.intoArray(c, 9 * WIDTH + LANES);
        c10a.intoArray(c, 10 * WIDTH);
        c10b.intoArray(c, 10 * WIDTH + LANES);
        c11a.intoArray(c, 11 * WIDTH);
        c11b.intoArray(c, 11 * WIDTH + LANES);
    }

    private static void rows6(float[] a, int aAt, float[] b, int bAt, int depth, float[] c) {
        FloatVector c0a = FloatVector.zero(F);
        FloatVector c0b = FloatVector.zero(F);
        FloatVector c1a = FloatVector.zero(F);
        FloatVector c1b = FloatVector.zero(F);
        FloatVector c2a = FloatVector.zero(F);
        FloatVector c2b = FloatVector.zero(F);
        FloatVector c3a = FloatVector.zero(F);
        FloatVector c3b = FloatVector.zero(F);
        FloatVector c4a = FloatVector.zero(F);
        FloatVector c4b = FloatVector.zero(F);
        FloatVector c5a = FloatVector.zero(F);
        FloatVector c5b = FloatVector.zero(F);
        for (int k = 0; k < depth; k++) {
            FloatVector p = FloatVector.fromArray(F, b, bAt + k * WIDTH);
            FloatVector q = FloatVector.fromArray(F, b, bAt + k * WIDTH + LANES);
            FloatVector x = FloatVector.broadcast(F, a[aAt + k * 6]);
            c0a = x.fma(p, c0a);
            c0b = x.fma(q, c0b);
            x = FloatVector.broadcast(F, a[aAt + k * 6 + 1]);
            c1a = x.fma(p, c1a);
            c1b = x.fma(q, c1b);
            x = FloatVector.broadcast(F, a[aAt + k * 6 + 2]);
            c2a = x.fma(p, c2a);
            c2b = x.fma(q, c2b);
            x = FloatVector.broadcast(F, a[aAt + k * 6 + 3]);
            c3a = x.fma(p, c3a);
            c3b = x.fma(q, c3b);
            x = FloatVector.broadcast(F, a[aAt + k * 6 + 4]);
            c4a = x.fma(p, c4a);
            c4b = x.fma(q, c4b);
            x = FloatVector.broadcast(F, a[aAt + k * 6 + 5]);
            c5a = x.fma(p, c5a);
            c5b = x.fma(q, c5b);
        }
        c0a.intoArray(c, 0 * WIDTH);
        c0b.intoArray(c, 0 * WIDTH + LANES);
        c1a.intoArray(c, 1 * WIDTH);
        c1b.intoArray(c, 1 * WIDTH + LANES);
        c2a.intoArray(c, 2 * WIDTH);
        c2b.intoArray(c, 2 * WIDTH + LANES);
        c3a.intoArray(c, 3 * WIDTH);
        c3b.intoArray(c, 3 * WIDTH + LANES);
        c4a.intoArray(c, 4 * WIDTH);
        c4b.intoArray(c, 4 * WIDTH + LANES);
        c5a.intoArray(c, 5 * WIDTH);
        c5b.intoArray(c, 5 * WIDTH + LANES);
    }
}
