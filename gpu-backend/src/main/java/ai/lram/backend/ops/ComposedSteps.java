package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/** Steps of whole blocks put together from the kernels of an engine: what a fused form must equal. */
public final class ComposedSteps {
    private ComposedSteps() {}

    /** {@link SessionOps#mlstmBlock}, a kernel for each of its parts. */
    public static void mlstmBlock(
            Ops ops,
            Stream s,
            MlstmBlockWeights w,
            MlstmBlockState state,
            Tensor slots,
            Tensor counts,
            MlstmBlockMemory m,
            Tensor x) {
        ops.norm().forward(s, w.norm(), x, w.normWeight(), null, m.normed(), null, null);
        w.upU().linear(ops.matmul(), s, m.normed(), null, m.u());
        w.upZ().linear(ops.matmul(), s, m.normed(), null, m.z());
        ops.session().causalConv1dStep(s, slots, counts, m.u(), w.conv(), w.convBias(), state.history(), m.conv());
        ops.elementwise().activation(s, Activation.SILU, m.conv(), m.c());
        ops.matmul().headwise(s, m.c(), w.q(), null, m.q());
        ops.matmul().headwise(s, m.c(), w.k(), null, m.k());
        ops.matmul().headwise(s, m.u(), w.v(), null, m.v());
        ops.mlstm()
                .gates(
                        s,
                        m.q(),
                        m.k(),
                        m.v(),
                        w.inputGate(),
                        w.inputGateBias(),
                        w.forgetGate(),
                        w.forgetGateBias(),
                        m.inputGate(),
                        m.forgetGate());
        ops.session()
                .mlstmStep(
                        s,
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
        ops.norm().forward(s, w.headNorm(), m.h(), w.headNormWeight(), null, m.mixed(), null, null);
        ops.elementwise().skipGate(s, m.mixed(), w.skip(), m.c(), m.z(), m.h());
        w.down().linear(ops.matmul(), s, m.h(), null, m.y());
        ops.elementwise().axpy(s, 1f, m.y(), x);
    }
}
