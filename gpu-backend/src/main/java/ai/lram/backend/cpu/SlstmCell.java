package ai.lram.backend.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/** Pointwise parts of the sLSTM that the scan and the session step share. */
final class SlstmCell {
    private SlstmCell() {}

    /** The next stabiliser: i where n is 0, else the larger of i and the forget path's exponent. */
    static FloatVector stabiliser(FloatVector i, FloatVector kept, FloatVector n) {
        return i.max(kept).blend(i, n.compare(VectorOperators.EQ, 0f));
    }
}
