package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;

/** The checked arguments of the mLSTM's step of many sessions. */
record MlstmStepCall(
        MlstmSpec spec,
        FoldSchedule schedule,
        int layer,
        MlstmSlots state,
        Tensor slots,
        Tensor counts,
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor i,
        Tensor f,
        Tensor h) {
    int rows() {
        return Math.toIntExact(slots.size());
    }

    int tokens() {
        return q.dim(1);
    }

    int heads() {
        return state.matC().dim(1);
    }

    int dimQk() {
        return state.matC().dim(2);
    }

    int dimHv() {
        return state.matC().dim(3);
    }

    int ring() {
        return state.ringK().dim(2);
    }

    boolean sigmoid() {
        return spec.inputGate() == MlstmSpec.InputGate.SIGMOID;
    }

    /** Of q. */
    float scale() {
        return (float) (1 / Math.sqrt(dimQk()));
    }

    /** The tensors, as all kernels of the step begin their arguments. */
    Engine.Launch put(Engine.Launch launch) {
        return launch.put(slots)
                .put(counts)
                .put(state.matC())
                .put(state.vecN())
                .put(state.scaM())
                .put(state.ringK())
                .put(state.ringV())
                .put(state.ringI())
                .put(state.ringF())
                .put(state.ringLength())
                .put(state.folded())
                .put(q)
                .put(k)
                .put(v)
                .put(i)
                .put(f)
                .put(h);
    }
}
