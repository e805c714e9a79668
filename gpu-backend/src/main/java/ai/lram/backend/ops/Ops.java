package ai.lram.backend.ops;

/** All kernel families of an engine. */
public interface Ops {
    MatmulOps matmul();

    NormOps norm();

    ConvOps conv();

    ElementwiseOps elementwise();

    EmbeddingOps embedding();

    MlstmOps mlstm();

    SlstmOps slstm();

    AttentionOps attention();

    SessionOps session();

    LossOps loss();

    OptimizerOps optimizer();

    MixedOps mixed();
}
