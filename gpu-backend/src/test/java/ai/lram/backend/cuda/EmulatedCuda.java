package ai.lram.backend.cuda;

import ai.lram.backend.Backend;

/** The CUDA engine without a GPU, for tests of other modules. */
public final class EmulatedCuda {
    private EmulatedCuda() {}

    /** Skips the test, saying so, where kernels cannot be run on the host. */
    public static Backend open() {
        Emulator.requireCompiler();
        return Emulator.open();
    }
}
