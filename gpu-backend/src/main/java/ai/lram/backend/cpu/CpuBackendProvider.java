package ai.lram.backend.cpu;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendProvider;
import java.util.Optional;

/** Always available. */
public final class CpuBackendProvider implements BackendProvider {
    public CpuBackendProvider() {}

    @Override
    public String name() {
        return "cpu";
    }

    @Override
    public int rank() {
        return 0;
    }

    @Override
    public Optional<String> whyUnavailable() {
        return Optional.empty();
    }

    @Override
    public Backend open(BackendOptions options) {
        return new CpuBackend(options);
    }
}
