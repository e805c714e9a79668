package ai.lram.dataset.store;

import java.util.Objects;

/**
 * Where episodes of a store came from.
 *
 * @param path the source as it was named at import
 * @param format its format, for example {@code LeRobot v2.1}
 * @param sha256 hash of its data files in hexadecimal, empty if it was not computed
 */
public record StoreSource(String path, String format, String sha256) {
    public StoreSource {
        Objects.requireNonNull(path, "path");
        Objects.requireNonNull(format, "format");
        Objects.requireNonNull(sha256, "sha256");
    }
}
