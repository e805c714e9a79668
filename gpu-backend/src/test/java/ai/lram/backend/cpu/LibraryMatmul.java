package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;

/** Engines whose large products go to a named library. */
final class LibraryMatmul {
    private LibraryMatmul() {}

    static Backend open(String gemm, int threads) {
        String before = System.getProperty(GemmChoice.PROPERTY);
        System.setProperty(GemmChoice.PROPERTY, gemm);
        try {
            return new CpuBackend(BackendOptions.threads(threads));
        } finally {
            if (before == null) {
                System.clearProperty(GemmChoice.PROPERTY);
            } else {
                System.setProperty(GemmChoice.PROPERTY, before);
            }
        }
    }
}
