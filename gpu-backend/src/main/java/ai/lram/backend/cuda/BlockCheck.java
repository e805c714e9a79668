package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import java.util.List;

/** What the kernels of a whole mLSTM block need of its arguments, whatever the number of sessions. */
final class BlockCheck {
    private BlockCheck() {}

    /** The cell's part of a block. */
    static MlstmStepCall cell(
            MlstmBlockWeights w, MlstmBlockState state, MlstmBlockMemory m, Tensor slots, Tensor counts) {
        return new MlstmStepCall(
                w.cell(),
                state.schedule(),
                state.layer(),
                state.slots(),
                slots,
                counts,
                m.q(),
                m.k(),
                m.v(),
                m.inputGate(),
                m.forgetGate(),
                m.h());
    }

    /** The kernels read 16 bytes at once; a view may begin anywhere. */
    static boolean aligned(MlstmBlockWeights w, Tensor... others) {
        long all = LargeWeights.data(w.upU()).address()
                | LargeWeights.data(w.upZ()).address()
                | LargeWeights.data(w.down()).address()
                | w.normWeight().address()
                | w.conv().address()
                | (w.convBias() == null ? 0 : w.convBias().address())
                | w.q().address()
                | w.k().address()
                | w.v().address()
                | w.inputGate().address()
                | w.forgetGate().address()
                | w.headNormWeight().address()
                | w.skip().address();
        for (Tensor other : others) {
            all |= other.address();
        }
        return all % 16 == 0;
    }

    /**
     * Before anything is queued.
     *
     * @param working working memory besides the cell's, each (B, L, I)
     */
    static void check(
            String kernel,
            MlstmBlockWeights w,
            MlstmBlockState state,
            MlstmStepCall cell,
            List<Tensor> working,
            Tensor x) {
        int heads = w.heads();
        int inner = Math.toIntExact(w.inner());
        int dim = inner / heads;
        cell.check(kernel);
        if (cell.heads() != heads
                || cell.dimQk() != dim
                || cell.dimHv() != dim
                || cell.tokens() != x.dim(1)
                || cell.rows() != x.dim(0)) {
            throw Check.mismatch(
                    kernel + ": the state has " + cell.heads() + " heads of " + cell.dimQk() + " and " + cell.dimHv()
                            + ", slots and working memory have " + cell.rows() + " rows of " + cell.tokens()
                            + " tokens",
                    "the weights have " + heads + " heads of " + dim + ", x has " + x.dim(0) + " rows of " + x.dim(1),
                    "use state and memory of these blocks");
        }
        long all = (long) x.dim(0) * x.dim(1);
        int taps = w.conv().dim(1);
        Check.f32(kernel, "history", state.history(), (long) cell.pool() * (taps - 1) * inner);
        Check.f32(kernel, "x", x, all * w.width());
        for (Tensor t : working) {
            Check.f32(kernel, "working memory", t, all * inner);
        }
        LargeWeights.check(kernel, w.upU(), inner, w.width());
        LargeWeights.check(kernel, w.upZ(), inner, w.width());
        LargeWeights.check(kernel, w.down(), w.width(), inner);
        Check.f32(kernel, "norm", w.normWeight(), w.width());
        Check.f32(kernel, "conv", w.conv(), (long) taps * inner);
        Check.optional(kernel, "conv's bias", w.convBias(), inner);
        for (Tensor t : new Tensor[] {w.q(), w.k(), w.v()}) {
            Check.f32(kernel, "q, k or v", t, (long) w.q().dim(1) * inner);
        }
        for (Tensor t : new Tensor[] {w.inputGate(), w.forgetGate()}) {
            Check.f32(kernel, "a gate's weights", t, 3L * inner * heads);
        }
        for (Tensor t : new Tensor[] {w.inputGateBias(), w.forgetGateBias()}) {
            Check.f32(kernel, "a gate's bias", t, heads);
        }
        Check.f32(kernel, "head norm", w.headNormWeight(), inner);
        Check.f32(kernel, "skip", w.skip(), inner);
    }
}
