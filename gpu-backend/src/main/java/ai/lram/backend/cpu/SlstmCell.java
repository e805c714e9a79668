package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Pointwise parts of the sLSTM that the scan and the session step share, over runs of {@code floats} scratch floats, a multiple of the
 * vector length. One function per method: more of them in one would not be compiled without boxing.
 */
final class SlstmCell {
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    private SlstmCell() {}

    /** to = sigmoid(-x). */
    static void sigmoidOfMinus(MemorySegment w, long x, long to, long floats) {
        for (long i = 0; i < 4 * floats; i += 4L * LANES) {
            VectorMath.sigmoid(FloatVector.fromMemorySegment(F, w, x + i, LE).neg())
                    .intoMemorySegment(w, to + i, LE);
        }
    }

    /** m becomes the next stabiliser: i where n is 0, else the larger of i and kept; i and kept become exponents below it. */
    static void stabilise(MemorySegment w, long i, long kept, long n, long m, long floats) {
        for (long o = 0; o < 4 * floats; o += 4L * LANES) {
            FloatVector in = FloatVector.fromMemorySegment(F, w, i + o, LE);
            FloatVector old = FloatVector.fromMemorySegment(F, w, kept + o, LE);
            FloatVector next = in.max(old)
                    .blend(in, FloatVector.fromMemorySegment(F, w, n + o, LE).compare(VectorOperators.EQ, 0f));
            next.intoMemorySegment(w, m + o, LE);
            in.sub(next).intoMemorySegment(w, i + o, LE);
            old.sub(next).intoMemorySegment(w, kept + o, LE);
        }
    }

    /** c = keep c + write z, n = keep n + write, y = out c / n. */
    static void update(MemorySegment w, long write, long keep, long z, long out, long c, long n, long y, long floats) {
        for (long i = 0; i < 4 * floats; i += 4L * LANES) {
            FloatVector in = FloatVector.fromMemorySegment(F, w, write + i, LE);
            FloatVector old = FloatVector.fromMemorySegment(F, w, keep + i, LE);
            FloatVector cell = old.mul(FloatVector.fromMemorySegment(F, w, c + i, LE))
                    .add(in.mul(FloatVector.fromMemorySegment(F, w, z + i, LE)));
            FloatVector norm =
                    old.mul(FloatVector.fromMemorySegment(F, w, n + i, LE)).add(in);
            cell.intoMemorySegment(w, c + i, LE);
            norm.intoMemorySegment(w, n + i, LE);
            FloatVector.fromMemorySegment(F, w, out + i, LE).mul(cell.div(norm)).intoMemorySegment(w, y + i, LE);
        }
    }

    /** The whole cell: gates i, f, z, o ({@code plane} floats each, one after the other) become write, keep, tanh(z), sigmoid(o). */
    static void step(MemorySegment w, long gates, long plane, long y, long c, long n, long m) {
        long f = gates + 4 * plane;
        long z = f + 4 * plane;
        long o = z + 4 * plane;
        VectorMath.addLogSigmoid(w, f, m, plane); // the forget path's exponent
        stabilise(w, gates, f, n, m, plane);
        VectorMath.expAtMostOne(w, gates, plane);
        VectorMath.expAtMostOne(w, f, plane);
        VectorMath.tanh(w, z, plane);
        VectorMath.sigmoid(w, o, plane);
        update(w, gates, f, z, o, c, n, y, plane);
    }
}
