package ai.lram.backend.cpu;

import java.lang.foreign.MemorySegment;

/** This package's products of large matrices alone, whatever the engine would choose: what its products in a model are compared with. */
public final class OwnGemm implements AutoCloseable {
    private final Workers workers;

    /** @param threads 1 or more, the caller included */
    public OwnGemm(int threads) {
        workers = new Workers(threads);
    }

    /** As {@link BlasGemm#multiply(int, BlasGemm.Form, int, int, int, MemorySegment, MemorySegment, MemorySegment)}. One caller at a time. */
    public void multiply(BlasGemm.Form form, int m, int n, int k, MemorySegment a, MemorySegment b, MemorySegment c) {
        Gemm.multiply(
                workers,
                m,
                n,
                k,
                new Gemm.Matrix(a, 0, form.leftTransposed() ? m : k, form.leftTransposed()),
                new Gemm.Matrix(b, 0, form.rightTransposed() ? k : n, form.rightTransposed()),
                null,
                form.accumulates(),
                new Gemm.Matrix(c, 0, n, false));
    }

    @Override
    public void close() {
        workers.close();
    }
}
