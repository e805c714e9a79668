package ai.lram.backend.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/** Pointwise parts of the sLSTM that the scan and the session step share. */
final class SlstmCell {
    private SlstmCell() {}

    /** m + logsigmoid(f), or -infinity where n is 0: the forget path's exponent. */
    static FloatVector kept(FloatVector f, FloatVector n, FloatVector m) {
        return m.add(VectorMath.logSigmoid(f)).blend(Float.NEGATIVE_INFINITY, n.compare(VectorOperators.EQ, 0f));
    }
}
