package ai.lram.backend.cuda;

import ai.lram.backend.UnsupportedKernelException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Map;

/**
 * Matrix products by cuBLASLt. For each shape the library is asked once for its best algorithm; descriptions and algorithm are kept until
 * the engine closes. Not thread-safe: used between the engine's enter and leave.
 */
final class Products {
    /** How fp32 operands are multiplied; sums are fp32 always. */
    enum Precision {
        /** As the contract asks. */
        FP32(68),
        /** Operands rounded to 10 bits: error 3e-4 of the largest result, several times as fast. */
        TF32(77),
        /** Operands rounded to 8 bits: error up to 1e-2, faster still. */
        BF16(75);

        private final int computeType;

        Precision(int computeType) {
            this.computeType = computeType;
        }

        static Precision parse(String name) {
            for (Precision p : values()) {
                if (p.name().equalsIgnoreCase(name)) {
                    return p;
                }
            }
            throw new IllegalArgumentException(
                    "-D" + PROPERTY + "=" + name + " is none of fp32, tf32, bf16; choose one of these");
        }
    }

    static final String PROPERTY = "lram.cuda.matmul";

    private static final int CUDA_R_32F = 0;
    private static final int CUDA_R_16F = 2;
    private static final int CUDA_R_16BF = 14;
    private static final int TRANS_A = 3;
    private static final int TRANS_B = 4;
    private static final int EPILOGUE = 7;
    private static final int BIAS_POINTER = 8;
    private static final int EPILOGUE_DEFAULT = 1;
    private static final int EPILOGUE_RELU = 2;
    private static final int EPILOGUE_BIAS = 4;
    private static final int BATCH_COUNT = 5;
    private static final int BATCH_STRIDE = 6;
    private static final int MAX_WORKSPACE = 1;
    private static final int MIN_ALIGNMENT_A = 5;

    /** Shapes kept before all are forgotten: far more than one model has. */
    private static final int MOST_PLANS = 4096;

    /** The best alignment the library knows of. */
    private static final long ALIGNED = 256;

    /** Element types of a product's operands and of its result. */
    enum Types {
        F32(CUDA_R_32F, CUDA_R_32F),
        BF16(CUDA_R_16BF, CUDA_R_16BF),
        BF16_TO_F32(CUDA_R_16BF, CUDA_R_32F),
        F16_TO_F32(CUDA_R_16F, CUDA_R_32F);

        private final int operands;
        private final int result;

        Types(int operands, int result) {
            this.operands = operands;
            this.result = result;
        }
    }

    /**
     * A column-major product D (m, n) = op(A) op(B) [+ D] [+ bias over the rows of D], batched.
     *
     * @param relu max(., 0) of the result
     * @param types of the elements
     */
    record Shape(
            int m,
            int n,
            int k,
            boolean transA,
            boolean transB,
            int lda,
            int ldb,
            int ldd,
            int batch,
            long strideA,
            long strideB,
            long strideD,
            boolean bias,
            boolean relu,
            Types types) {
        static Shape plain(int m, int n, int k, boolean transA, boolean transB, int lda, int ldb, int ldd) {
            return new Shape(m, n, k, transA, transB, lda, ldb, ldd, 1, 0, 0, 0, false, false, Types.F32);
        }

        Shape with(boolean hasBias, boolean hasRelu) {
            return new Shape(
                    m, n, k, transA, transB, lda, ldb, ldd, batch, strideA, strideB, strideD, hasBias, hasRelu, types);
        }

        Shape batched(int count, long a, long b, long d) {
            return new Shape(m, n, k, transA, transB, lda, ldb, ldd, count, a, b, d, bias, relu, types);
        }

        Shape of(Types t) {
            return new Shape(m, n, k, transA, transB, lda, ldb, ldd, batch, strideA, strideB, strideD, bias, relu, t);
        }
    }

    private record Key(Shape shape, int alignA, int alignB, int alignD) {}

    private record Plan(long product, long a, long b, long d, MemorySegment algorithm) {}

    private final Engine engine;
    private final CublasLt cublas;
    private final Precision precision;
    private final Map<Key, Plan> plans = new HashMap<>();
    private final Arena memory = Arena.ofShared();
    private final MemorySegment one = memory.allocateFrom(ValueLayout.JAVA_FLOAT, 1f);
    private final MemorySegment zero = memory.allocateFrom(ValueLayout.JAVA_FLOAT, 0f);
    private final MemorySegment pointer = memory.allocate(ValueLayout.JAVA_LONG);

    Products(Engine engine, Precision precision) {
        this.engine = engine;
        this.cublas = engine.cublas();
        this.precision = precision;
        engine.atEnd(() -> {
            forget();
            memory.close();
        });
    }

    Precision precision() {
        return precision;
    }

    private void forget() {
        for (Plan p : plans.values()) {
            cublas.destroyProduct(p.product);
            cublas.destroyLayout(p.a);
            cublas.destroyLayout(p.b);
            cublas.destroyLayout(p.d);
        }
        plans.clear();
    }

    private static int alignment(long address) {
        return (int) Math.min(ALIGNED, Long.lowestOneBit(address));
    }

    /** Queues the product. {@code bias} is ignored unless the shape has one. */
    void multiply(String what, Shape s, long a, long b, long bias, boolean accumulate, long d) {
        multiply(what, s, a, b, bias, accumulate ? d : 0, d);
    }

    /** Queues the product, {@code c} (0 for none) added to it: laid out like D, may be D. */
    void multiply(String what, Shape s, long a, long b, long bias, long c, long d) {
        engine.enter(what);
        try {
            Key key = new Key(
                    s, alignment(a), alignment(b), Math.min(alignment(d), c == 0 ? (int) ALIGNED : alignment(c)));
            Plan plan = plans.get(key);
            if (plan == null) {
                if (plans.size() >= MOST_PLANS) {
                    forget();
                }
                plan = plan(what, key, bias);
                plans.put(key, plan);
            }
            if (s.bias) {
                setBias(plan.product, bias, what);
            }
            Status.checkCublas(
                    cublas.matmul(
                            engine.ltHandle(),
                            plan.product,
                            one,
                            a,
                            plan.a,
                            b,
                            plan.b,
                            c == 0 ? zero : one,
                            c == 0 ? d : c,
                            plan.d,
                            d,
                            plan.d,
                            plan.algorithm,
                            engine.ltWorkspace(),
                            Engine.WORKSPACE,
                            engine.stream()),
                    what);
        } finally {
            engine.leave();
        }
    }

    private Plan plan(String what, Key key, long bias) {
        Shape s = key.shape;
        long[] out = new long[1];
        Status.checkCublas(
                cublas.createProduct(
                        out, s.types == Types.F32 ? precision.computeType : Precision.FP32.computeType, CUDA_R_32F),
                what);
        long product = out[0];
        long a = 0;
        long b = 0;
        long d = 0;
        boolean done = false;
        try (Arena arena = Arena.ofConfined()) {
            set(arena, product, TRANS_A, s.transA ? 1 : 0, what);
            set(arena, product, TRANS_B, s.transB ? 1 : 0, what);
            set(
                    arena,
                    product,
                    EPILOGUE,
                    s.bias || s.relu ? (s.bias ? EPILOGUE_BIAS : 0) | (s.relu ? EPILOGUE_RELU : 0) : EPILOGUE_DEFAULT,
                    what);
            if (s.bias) {
                setBias(product, bias, what); // the choice of an algorithm may depend on its alignment
            }
            a = layout(
                    arena,
                    s.types.operands,
                    s.transA ? s.k : s.m,
                    s.transA ? s.m : s.k,
                    s.lda,
                    s.batch,
                    s.strideA,
                    what);
            b = layout(
                    arena,
                    s.types.operands,
                    s.transB ? s.n : s.k,
                    s.transB ? s.k : s.n,
                    s.ldb,
                    s.batch,
                    s.strideB,
                    what);
            d = layout(arena, s.types.result, s.m, s.n, s.ldd, s.batch, s.strideD, what);
            Plan plan = new Plan(product, a, b, d, algorithm(arena, key, product, a, b, d, what));
            done = true;
            return plan;
        } finally {
            if (!done) {
                cublas.destroyProduct(product);
                for (long layout : new long[] {a, b, d}) {
                    if (layout != 0) {
                        cublas.destroyLayout(layout);
                    }
                }
            }
        }
    }

    private void setBias(long product, long bias, String what) {
        pointer.set(ValueLayout.JAVA_LONG, 0, bias);
        Status.checkCublas(cublas.setProduct(product, BIAS_POINTER, pointer), what);
    }

    private void set(Arena arena, long product, int attribute, int value, String what) {
        Status.checkCublas(
                cublas.setProduct(product, attribute, arena.allocateFrom(ValueLayout.JAVA_INT, value)), what);
    }

    private long layout(Arena arena, int type, int rows, int columns, int ld, int batch, long stride, String what) {
        long[] out = new long[1];
        Status.checkCublas(cublas.createLayout(out, type, rows, columns, ld), what);
        if (batch > 1) {
            Status.checkCublas(
                    cublas.setLayout(out[0], BATCH_COUNT, arena.allocateFrom(ValueLayout.JAVA_INT, batch)), what);
            Status.checkCublas(
                    cublas.setLayout(out[0], BATCH_STRIDE, arena.allocateFrom(ValueLayout.JAVA_LONG, stride)), what);
        }
        return out[0];
    }

    private MemorySegment algorithm(Arena arena, Key key, long product, long a, long b, long d, String what) {
        long[] preference = new long[1];
        Status.checkCublas(cublas.createPreference(preference), what);
        try {
            Status.checkCublas(
                    cublas.setPreference(
                            preference[0], MAX_WORKSPACE, arena.allocateFrom(ValueLayout.JAVA_LONG, Engine.WORKSPACE)),
                    what);
            int[] alignments = {key.alignA, key.alignB, key.alignD, key.alignD};
            for (int i = 0; i < alignments.length; i++) {
                Status.checkCublas(
                        cublas.setPreference(
                                preference[0],
                                MIN_ALIGNMENT_A + i,
                                arena.allocateFrom(ValueLayout.JAVA_INT, alignments[i])),
                        what);
            }
            MemorySegment result = arena.allocate(CublasLt.RESULT_BYTES, 8);
            int[] found = new int[1];
            int status = cublas.heuristic(found, engine.ltHandle(), product, a, b, d, d, preference[0], result);
            if (status == CublasLt.SUCCESS && found[0] < 1) {
                throw new UnsupportedKernelException(
                        what + " on CUDA: " + key.shape,
                        "cuBLASLt has no algorithm for it",
                        "use other sizes, or choose device=cpu");
            }
            Status.checkCublas(status, what);
            MemorySegment algorithm = memory.allocate(CublasLt.ALGORITHM_BYTES, 8);
            algorithm.copyFrom(result.asSlice(0, CublasLt.ALGORITHM_BYTES));
            return algorithm;
        } finally {
            cublas.destroyPreference(preference[0]);
        }
    }
}
