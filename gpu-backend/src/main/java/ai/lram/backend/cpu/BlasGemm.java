package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;
import org.bytedeco.openblas.global.openblas;

/** Products by OpenBLAS alone, on its own threads: what the engine's own products are compared with. The engine does not use this. */
public final class BlasGemm {
    private BlasGemm() {}

    /** The three products of a layer y = x w^T. */
    public enum Form {
        /** c = a b^T: the layer. */
        FORWARD,
        /** c = a b: the gradient of its input. */
        INPUT,
        /** c += a^T b: the gradient of its weight. */
        WEIGHT;

        boolean leftTransposed() {
            return this == WEIGHT;
        }

        boolean rightTransposed() {
            return this == FORWARD;
        }

        boolean accumulates() {
            return this == WEIGHT;
        }
    }

    /**
     * c (m, n) = a (m, k) b (k, n), row-major, fp32. One caller at a time, and none of the engine's products meanwhile: the number of the
     * library's threads is one for the whole process.
     *
     * @param threads of the library during the call
     * @param a native memory of m k floats; b of k n; c of m n
     * @throws UnsatisfiedLinkError if this system has no OpenBLAS library
     */
    public static void multiply(int threads, int m, int n, int k, MemorySegment a, MemorySegment b, MemorySegment c) {
        multiply(threads, Form.INPUT, m, n, k, a, b, c);
    }

    /** The same in another form: a is stored (k, m), or b (n, k), where the form transposes it. */
    public static void multiply(
            int threads, Form form, int m, int n, int k, MemorySegment a, MemorySegment b, MemorySegment c) {
        openblas.blas_set_num_threads(threads);
        try {
            openblas.cblas_sgemm(
                    openblas.CblasRowMajor,
                    form.leftTransposed() ? openblas.CblasTrans : openblas.CblasNoTrans,
                    form.rightTransposed() ? openblas.CblasTrans : openblas.CblasNoTrans,
                    m,
                    n,
                    k,
                    1f,
                    new SegmentPointer(a, 0),
                    form.leftTransposed() ? m : k,
                    new SegmentPointer(b, 0),
                    form.rightTransposed() ? k : n,
                    form.accumulates() ? 1f : 0f,
                    new SegmentPointer(c, 0),
                    n);
        } finally {
            openblas.blas_set_num_threads(1);
        }
    }
}
