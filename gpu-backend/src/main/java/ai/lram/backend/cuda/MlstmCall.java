package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;

/** The checked arguments of a forward pass of the mLSTM; also what its backward pass reads, with {@code last} null. */
record MlstmCall(
        MlstmDims dims,
        MlstmSpec spec,
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor i,
        Tensor f,
        MlstmState initial,
        Tensor h,
        MlstmState last,
        Tensor saved,
        Tensor scratch) {
    boolean sigmoid() {
        return spec.inputGate() == MlstmSpec.InputGate.SIGMOID;
    }

    /** Of q. */
    float scale() {
        return (float) (1 / Math.sqrt(dims.dimQk()));
    }

    static Tensor matC(MlstmState state) {
        return state == null ? null : state.matC();
    }

    static Tensor vecN(MlstmState state) {
        return state == null ? null : state.vecN();
    }

    static Tensor scaM(MlstmState state) {
        return state == null ? null : state.scaM();
    }
}
