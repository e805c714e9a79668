package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.ops.StepForm;
import java.util.Optional;

/** The CUDA engine without a GPU, for tests of other modules. */
public final class EmulatedCuda {
    private EmulatedCuda() {}

    /** Skips the test, saying so, where kernels cannot be run on the host. */
    public static Backend open() {
        Emulator.requireCompiler();
        return Emulator.open();
    }

    /** The same with the mLSTM blocks of a control step in one form alone. */
    public static Backend open(StepForm form) {
        Emulator.requireCompiler();
        return Emulator.open(new EmulatedDriver(), Optional.of(form));
    }
}
