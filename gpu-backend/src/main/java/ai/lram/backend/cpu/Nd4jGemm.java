package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Products by ND4J over tensor memory, without copies: the reference to measure the others by. Loaded by its first use only, since ND4J
 * takes half a second to start; the control step never comes here.
 */
final class Nd4jGemm {
    static {
        // Some entry points of ND4J fail unless a first array was made before.
        Nd4j.create(DataType.FLOAT, 1);
    }

    private Nd4jGemm() {}

    /** As {@link Gemm#multiply}; the number of threads is ND4J's. */
    static void multiply(
            int m, int n, int k, Gemm.Matrix a, Gemm.Matrix b, MemorySegment bias, boolean accumulate, Gemm.Matrix c) {
        // Row-major memory read column-major is the transpose, and C^T = B^T A^T.
        INDArray left = b.transposed() ? columns(b, k, n) : columns(b, n, k);
        INDArray right = a.transposed() ? columns(a, m, k) : columns(a, k, m);
        INDArray result = columns(c, n, m);
        if (bias != null) {
            result.assign(columns(new Gemm.Matrix(bias, 0, n, false), n, 1).broadcast(n, m));
        }
        Nd4j.gemm(left, right, result, b.transposed(), a.transposed(), 1, accumulate || bias != null ? 1 : 0);
    }

    /** The stored matrix as a column-major array of {@code rows} consecutive elements by {@code columns}, over the same memory. */
    static INDArray columns(Gemm.Matrix x, long rows, long columns) {
        long size = x.segment().byteSize() / Float.BYTES;
        return Nd4j.create(
                Nd4j.createBuffer(new SegmentPointer(x.segment(), 0), size, DataType.FLOAT),
                new long[] {rows, columns},
                new long[] {1, x.ld()},
                x.at(),
                'f');
    }
}
