package ai.lram.backend;

import java.util.Optional;

/** Found by {@link java.util.ServiceLoader}; ranked, the highest usable one wins for {@code device=auto}. */
public interface BackendProvider {
    /** {@code cpu} or {@code cuda}. */
    String name();

    int rank();

    /** Empty if the engine can be opened, else the cause and the remedy in one sentence. */
    Optional<String> whyUnavailable();

    Backend open(BackendOptions options);
}
