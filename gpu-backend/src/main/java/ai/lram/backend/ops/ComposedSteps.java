package ai.lram.backend.ops;

import ai.lram.backend.ShapeMismatchException;
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
        if (x.dim(0) == 0) {
            return;
        }
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

    /** One block of {@link AttentionOps#transformerBlocks}, a kernel for each of its parts. */
    public static void transformerBlock(
            Ops ops,
            Stream s,
            TransformerLayer layer,
            Tensor slots,
            Tensor counts,
            TransformerBlockMemory m,
            Tensor x) {
        TransformerBlockWeights w = layer.weights();
        ops.norm().forward(s, w.norm(), x, w.normWeight(), w.normBias(), m.normed(), null, null);
        w.q().linear(ops.matmul(), s, m.normed(), w.qBias(), m.q());
        w.k().linear(ops.matmul(), s, m.normed(), w.kBias(), m.k());
        w.v().linear(ops.matmul(), s, m.normed(), w.vBias(), m.v());
        ops.attention()
                .cachedStep(
                        s,
                        slots,
                        counts,
                        m.q(),
                        m.k(),
                        m.v(),
                        layer.keys(),
                        layer.values(),
                        layer.length(),
                        m.attended());
        w.out().linear(ops.matmul(), s, m.attended(), w.outBias(), m.projected());
        ops.elementwise().axpy(s, 1f, m.projected(), x);
        ops.norm().forward(s, w.innerNorm(), x, w.innerNormWeight(), w.innerNormBias(), m.normed(), null, null);
        w.up().linear(ops.matmul(), s, m.normed(), w.upBias(), Activation.GELU, m.hidden());
        w.down().linear(ops.matmul(), s, m.hidden(), w.downBias(), m.projected());
        ops.elementwise().axpy(s, 1f, m.projected(), x);
    }

    /** {@link SessionOps#embed}: {@link #encode}, then {@link #join}. */
    public static void embed(Ops ops, Stream s, EmbedWeights w, StepInput from, StepInput at, EmbedMemory m, Tensor x) {
        if (from.rows() == 0) {
            return;
        }
        encode(ops, s, w, from, at, m);
        join(ops, s, w, m, x);
    }

    /** The first half of {@link #embed}: each token through its layer. */
    public static void encode(Ops ops, Stream s, EmbedWeights w, StepInput from, StepInput at, EmbedMemory m) {
        if (at.vectors().size() != w.tokens() || m.encoded().size() != w.tokens()) {
            throw new ShapeMismatchException(
                    "embedding " + at.vectors().size() + " vectors in memory for "
                            + m.encoded().size() + " tokens",
                    "there are layers for " + w.tokens(),
                    "give each token a vector and its layer");
        }
        move(ops, s, from.block(), at.block());
        for (int t = 0; t < w.tokens(); t++) {
            EmbedWeights.Encoder e = w.encoders().get(t);
            ops.matmul()
                    .linear(
                            s,
                            at.vectors().get(t),
                            e.weight(),
                            e.bias(),
                            Activation.NONE,
                            m.encoded().get(t));
        }
    }

    /** The second half of {@link #embed}: rows' tokens in order, and their norm. */
    public static void join(Ops ops, Stream s, EmbedWeights w, EmbedMemory m, Tensor x) {
        int rows = m.joined().dim(0);
        int d = w.width();
        for (int t = 0; rows > 1 && t < w.tokens(); t++) {
            ops.elementwise()
                    .copyRows(
                            s,
                            rows,
                            d,
                            m.encoded().get(t),
                            0,
                            d,
                            m.joined(),
                            (long) t * d,
                            (long) w.tokens() * d,
                            false);
        }
        ops.norm().forward(s, w.norm(), m.joined(), w.normWeight(), w.normBias(), x, null, null);
    }

    /** The first half of {@link SessionOps#decide}, the logits: a kernel for each of its parts. */
    public static void head(Ops ops, Stream s, HeadWeights w, HeadMemory m) {
        int rows = m.x().dim(0);
        int d = m.x().dim(2);
        if (d != w.width() || m.logits().size() != (long) rows * w.logits()) {
            throw new ShapeMismatchException(
                    "head of " + m.x() + " with logits " + m.logits(),
                    "its weight is (" + w.logits() + ", " + w.width() + ")",
                    "pass x (B, L, D) and logits (B, N)");
        }
        if (rows == 0) {
            return;
        }
        if (rows > 1) {
            long stride = (long) m.x().dim(1) * d;
            ops.elementwise().copyRows(s, rows, d, m.x(), (long) m.token() * d, stride, m.read(), 0, d, false);
        }
        ops.norm().forward(s, w.norm(), m.read(), w.normWeight(), w.normBias(), m.normed(), null, null);
        w.weight().linear(ops.matmul(), s, m.normed(), w.bias(), Activation.NONE, m.logits());
    }

    private static void move(Ops ops, Stream s, Tensor from, Tensor to) {
        if (from.size() != to.size()) {
            throw new ShapeMismatchException(
                    "a step's " + from + " on its way to " + to, "their sizes differ", "use those of one batch");
        }
        if (from.address() != to.address()) {
            int n = Math.toIntExact(from.size());
            ops.elementwise().copyRows(s, 1, n, from, 0, n, to, 0, n, false);
        }
    }
}
