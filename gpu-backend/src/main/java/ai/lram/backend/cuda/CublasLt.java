package ai.lram.backend.cuda;

import java.lang.foreign.MemorySegment;

/** The entry points of cuBLASLt that the engine uses. Matrices are column-major. Status codes as in {@link Driver}. */
interface CublasLt {
    int SUCCESS = 0;

    /** Bytes of one answer of {@link #heuristic}: algorithm (64), workspace bytes (8), status (4), waves (4), reserved (16). */
    int RESULT_BYTES = 96;

    int ALGORITHM_BYTES = 64;

    /** 10000 major + 100 minor + patch, such as 130100. */
    long version();

    int create(long[] handle);

    int destroy(long handle);

    int createProduct(long[] product, int computeType, int scaleType);

    int setProduct(long product, int attribute, MemorySegment value);

    int destroyProduct(long product);

    int createLayout(long[] layout, int elementType, long rows, long columns, long leadingDimension);

    int setLayout(long layout, int attribute, MemorySegment value);

    int destroyLayout(long layout);

    int createPreference(long[] preference);

    int setPreference(long preference, int attribute, MemorySegment value);

    int destroyPreference(long preference);

    /** @param result {@link #RESULT_BYTES} bytes, receives the best algorithm */
    int heuristic(
            int[] found,
            long handle,
            long product,
            long layoutA,
            long layoutB,
            long layoutC,
            long layoutD,
            long preference,
            MemorySegment result);

    /** D = alpha op(A) op(B) + beta C, and the product's epilogue. */
    int matmul(
            long handle,
            long product,
            MemorySegment alpha,
            long a,
            long layoutA,
            long b,
            long layoutB,
            MemorySegment beta,
            long c,
            long layoutC,
            long d,
            long layoutD,
            MemorySegment algorithm,
            long workspace,
            long workspaceBytes,
            long stream);
}
