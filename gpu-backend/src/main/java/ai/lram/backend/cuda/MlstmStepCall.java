package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;

/** The arguments of the mLSTM's step of many sessions. */
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
    /** Before anything is queued. */
    void check(String kernel) {
        if (!(state.matC().rank() == 4 && state.ringK().rank() == 4 && q != null && q.rank() == 4)) {
            throw Check.mismatch(
                    kernel + ": matC, ringK or q has the wrong rank",
                    "sizes are read from matC (P, NH, DHQK, DHHV), ringK (P, NH, R, DHQK) and q (B, L, NH, DHQK)",
                    "give these tensors all four dimensions");
        }
        state.requireRingAsMatrix(kernel);
        int pool = pool();
        int heads = heads();
        int dimQk = dimQk();
        int dimHv = dimHv();
        int ring = ring();
        int tokens = tokens();
        long cells = (long) pool * heads;
        DType type = narrow() ? DType.BF16 : DType.F32;
        Check.size(kernel, "matC", state.matC(), type, cells * dimQk * dimHv);
        Check.f32(kernel, "vecN", state.vecN(), cells * dimQk);
        Check.f32(kernel, "scaM", state.scaM(), cells);
        Check.size(kernel, "ringK", state.ringK(), type, cells * ring * dimQk);
        Check.size(kernel, "ringV", state.ringV(), type, cells * ring * dimHv);
        Check.f32(kernel, "ringI", state.ringI(), cells * ring);
        Check.f32(kernel, "ringF", state.ringF(), cells * ring);
        Check.size(kernel, "ringLength", state.ringLength(), DType.I32, cells);
        Check.size(kernel, "folded", state.folded(), DType.I32, cells);
        if (!(ring >= schedule.capacity() && ring >= tokens)) {
            throw Check.mismatch(
                    kernel + ": the ring holds " + ring + " tokens",
                    schedule + " needs " + schedule.capacity() + " and a step may bring " + tokens,
                    "allocate the ring with schedule.capacity() tokens");
        }
        int batch = CudaSession.rows(kernel, slots, counts);
        long gates = (long) batch * tokens * heads;
        Check.f32(kernel, "q", q, gates * dimQk);
        Check.f32(kernel, "k", k, gates * dimQk);
        Check.f32(kernel, "v", v, gates * dimHv);
        Check.f32(kernel, "i", i, gates);
        Check.f32(kernel, "f", f, gates);
        Check.f32(kernel, "h", h, gates * dimHv);
    }

    int rows() {
        return Math.toIntExact(slots.size());
    }

    int tokens() {
        return q.dim(1);
    }

    int pool() {
        return state.matC().dim(0);
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

    /** Whether C, and the ring's keys and values, are in bf16. */
    boolean narrow() {
        return state.matC().dtype() == DType.BF16;
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
