package ai.lram.backend.cpu;

import org.bytedeco.openblas.global.openblas_full;

/** Which kernels OpenBLAS chose for this processor: an AVX2 core is half as fast at large products as an AVX-512 one. */
public final class BlasCore {
    private BlasCore() {}

    /**
     * Loads OpenBLAS on the first call (0.1 s, seconds where its library has yet to be unpacked).
     *
     * @return for example {@code Cooperlake}
     * @throws UnsatisfiedLinkError if this system has no OpenBLAS library
     */
    public static String name() {
        return openblas_full.openblas_get_corename().getString();
    }
}
