package ai.lram.backend;

import ai.lram.backend.ops.StepForm;
import java.util.Optional;

/**
 * @param threads worker threads of the CPU engine, the caller included; 0 takes the number of processors
 * @param deviceIndex which device of its kind
 * @param stepForm the only form in which the CUDA engine runs the mLSTM blocks of a control step: a shape that it does not take is refused with
 *     {@link UnsupportedKernelException}. Empty: the engine chooses
 */
public record BackendOptions(int threads, int deviceIndex, Optional<StepForm> stepForm) {
    public BackendOptions {
        if (threads < 0 || threads > 1024 || deviceIndex < 0) {
            throw new IllegalArgumentException("threads must be 0..1024 and the device index >= 0, got threads="
                    + threads + " deviceIndex=" + deviceIndex + "; use 0 for all processors");
        }
    }

    public static BackendOptions defaults() {
        return threads(0);
    }

    public static BackendOptions threads(int threads) {
        return new BackendOptions(threads, 0, Optional.empty());
    }

    /** The same with mLSTM blocks in that form alone. */
    public BackendOptions withStepForm(StepForm form) {
        return new BackendOptions(threads, deviceIndex, Optional.of(form));
    }
}
