package ai.lram.backend.cuda;

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
import java.util.Locale;

/** The kernels of the CUDA engine, all loaded when it opens: no call compiles anything. */
final class CudaOps implements Ops {
    private final Products products;
    private final MatmulOps matmul;
    private final NormOps norm;
    private final ConvOps conv;
    private final ElementwiseOps elementwise;
    private final EmbeddingOps embedding;
    private final MlstmOps mlstm;
    private final SlstmOps slstm;
    private final AttentionOps attention;
    private final CudaSession session;
    private final LossOps loss;
    private final OptimizerOps optimizer;
    private final MixedOps mixed;

    CudaOps(Engine engine, KernelModule pointwise, StepForms forms) {
        KernelModule matmulModule = new KernelModule(engine, "matmul");
        KernelModule slstmModule = new KernelModule(engine, "slstm");
        KernelModule sessionModule = new KernelModule(engine, "session");
        products = new Products(engine, Products.Precision.parse(System.getProperty(Products.PROPERTY, "fp32")));
        ColumnSums sums = new ColumnSums(engine, pointwise);
        Rows rows = new Rows(engine, sessionModule);
        CudaElementwise pointwiseOps = new CudaElementwise(engine, pointwise, sums);
        elementwise = pointwiseOps;
        matmul = new CudaMatmul(engine, products, sums, pointwiseOps, pointwise, matmulModule);
        norm = new CudaNorm(engine, sums);
        conv = new CudaConv(engine);
        embedding = new CudaEmbedding(engine);
        mlstm = new CudaMlstm(engine, matmulModule);
        slstm = new CudaSlstm(engine, slstmModule);
        attention = new CudaAttention(this, engine, rows);
        session = new CudaSession(this, engine, products, rows, sessionModule, slstmModule, forms);
        loss = new CudaLoss(engine);
        CudaOptimizer steps = new CudaOptimizer(engine);
        optimizer = steps;
        mixed = new CudaMixed(engine, products, steps, sums, pointwise);
    }

    String precision() {
        return products.precision().name().toLowerCase(Locale.ROOT);
    }

    /** What steps of many sessions multiply. */
    String productsOfMany() {
        return session.productsOfMany();
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
        return mixed;
    }
}
