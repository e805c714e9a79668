package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.VectorMask;
import org.bytedeco.openblas.global.openblas;

/**
 * Products by OpenBLAS over tensor memory, without copies. Each call of the library runs on one thread and computes some rows of C: an
 * even number of equal parts, whatever the number of workers, so that results do not depend on it.
 */
final class OpenBlasGemm {
    /** Most rows of C in one call of the library. */
    private static final int ROWS = 192;

    /** Parts begin at multiples of this. */
    private static final int ALIGNED = 4;

    static {
        openblas.blas_set_num_threads(1);
    }

    private OpenBlasGemm() {}

    /** As {@link Gemm#multiply}. */
    static void multiply(
            Workers workers,
            int m,
            int n,
            int k,
            Gemm.Matrix a,
            Gemm.Matrix b,
            MemorySegment bias,
            boolean accumulate,
            Gemm.Matrix c) {
        int parts = (m + 2 * ROWS - 1) / (2 * ROWS) * 2;
        int part = ((m + parts - 1) / parts + ALIGNED - 1) / ALIGNED * ALIGNED;
        workers.forRange((m + part - 1) / part, 1, (from, to) -> {
            for (int i = from; i < to; i++) {
                rows(i * part, Math.min(part, m - i * part), n, k, a, b, bias, accumulate, c);
            }
        });
    }

    private static void rows(
            int row,
            int rows,
            int n,
            int k,
            Gemm.Matrix a,
            Gemm.Matrix b,
            MemorySegment bias,
            boolean accumulate,
            Gemm.Matrix c) {
        if (bias != null) {
            for (int r = row; r < row + rows; r++) {
                copy(bias, n, c.segment(), c.at() + r * c.ld());
            }
        }
        long aAt = a.transposed() ? a.at() + row : a.at() + row * a.ld();
        openblas.cblas_sgemm(
                openblas.CblasRowMajor,
                a.transposed() ? openblas.CblasTrans : openblas.CblasNoTrans,
                b.transposed() ? openblas.CblasTrans : openblas.CblasNoTrans,
                rows,
                n,
                k,
                1f,
                new SegmentPointer(a.segment(), aAt),
                (int) a.ld(),
                new SegmentPointer(b.segment(), b.at()),
                (int) b.ld(),
                accumulate || bias != null ? 1f : 0f,
                new SegmentPointer(c.segment(), c.at() + row * c.ld()),
                (int) c.ld());
    }

    private static void copy(MemorySegment x, int n, MemorySegment y, long at) {
        int j = 0;
        for (; j <= n - LANES; j += LANES) {
            store(load(x, j), y, at + j);
        }
        if (j < n) {
            VectorMask<Float> rest = F.indexInRange(j, n);
            store(load(x, j, rest), y, at + j, rest);
        }
    }
}
