package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendProvider;
import ai.lram.backend.Backends;
import ai.lram.backend.ops.StepForm;
import ai.lram.bench.BenchException;
import java.util.Optional;

/** The engine that GPU benchmarks measure. */
final class GpuEngine {
    private static final String NAME = "cuda";

    private GpuEngine() {}

    static Backend open() {
        return Backends.open(NAME, BackendOptions.defaults());
    }

    /** With the mLSTM blocks of a control step in that form alone. */
    static Backend open(StepForm form) {
        return Backends.open(NAME, BackendOptions.defaults().withStepForm(form));
    }

    /** @throws BenchException if there is no GPU that the engine can use */
    static void require() {
        Optional<BackendProvider> provider =
                Backends.providers().stream().filter(p -> p.name().equals(NAME)).findFirst();
        String why = provider.isEmpty()
                ? "this build has no CUDA engine"
                : provider.get().whyUnavailable().orElse(null);
        if (why != null) {
            throw new BenchException(
                    "the GPU benchmark needs an NVIDIA GPU",
                    why,
                    "run it on a machine with one; lram doctor tells what it lacks");
        }
    }
}
