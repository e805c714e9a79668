package ai.lram.backend.cpu;

import ai.lram.backend.ops.AttentionOps;
import ai.lram.backend.ops.ConvOps;
import ai.lram.backend.ops.ElementwiseOps;
import ai.lram.backend.ops.EmbeddingOps;
import ai.lram.backend.ops.LossOps;
import ai.lram.backend.ops.MatmulOps;
import ai.lram.backend.ops.MixedOps;
import ai.lram.backend.ops.MlstmOps;
import ai.lram.backend.ops.NormOps;
import ai.lram.backend.ops.Ops;
import ai.lram.backend.ops.OptimizerOps;
import ai.lram.backend.ops.SessionOps;
import ai.lram.backend.ops.SlstmOps;

/** The kernels of the CPU engine. */
final class CpuOps implements Ops {
    private final MatmulOps matmul;
    private final NormOps norm;
    private final ConvOps conv;
    private final ElementwiseOps elementwise;
    private final EmbeddingOps embedding;
    private final MlstmOps mlstm;
    private final SlstmOps slstm;
    private final AttentionOps attention;
    private final SessionOps session;
    private final LossOps loss;
    private final OptimizerOps optimizer;

    CpuOps(Workers workers) {
        matmul = new CpuMatmul(workers);
        optimizer = new CpuOptimizer(workers);
        embedding = new CpuEmbedding(workers);
        norm = new CpuNorm(workers);
        session = new CpuSession(this, workers);
        mlstm = new CpuMlstm(workers);
        slstm = new CpuSlstm(workers);
        conv = new CpuConv(workers);
        loss = new CpuLoss(workers);
        attention = new CpuAttention(this, workers);
        elementwise = new CpuElementwise(workers);
    }

    @Override
    public MatmulOps matmul() {
        return matmul;
    }

    @Override
    public NormOps norm() {
        return norm;
    }

    @Override
    public ConvOps conv() {
        return conv;
    }

    @Override
    public ElementwiseOps elementwise() {
        return elementwise;
    }

    @Override
    public EmbeddingOps embedding() {
        return embedding;
    }

    @Override
    public MlstmOps mlstm() {
        return mlstm;
    }

    @Override
    public SlstmOps slstm() {
        return slstm;
    }

    @Override
    public AttentionOps attention() {
        return attention;
    }

    @Override
    public SessionOps session() {
        return session;
    }

    @Override
    public LossOps loss() {
        return loss;
    }

    @Override
    public OptimizerOps optimizer() {
        return optimizer;
    }

    @Override
    public MixedOps mixed() {
        return NoMixed.INSTANCE;
    }
}
