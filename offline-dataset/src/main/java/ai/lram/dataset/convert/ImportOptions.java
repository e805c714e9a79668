package ai.lram.dataset.convert;

import java.util.Map;

/**
 * How to import.
 *
 * @param provenance free-form entries for the store's manifest (licence, origin, command)
 * @param hashSources whether to note a SHA-256 of each source's files, videos left out
 * @param changes whether every observation is followed by how much it changed since the row before, as {@code NAME.change}, zero in an
 *     episode's first row
 */
public record ImportOptions(Map<String, String> provenance, boolean hashSources, boolean changes) {
    public ImportOptions {
        provenance = Map.copyOf(provenance);
    }

    /** No provenance entries, sources hashed, observations as they are. */
    public static ImportOptions defaults() {
        return new ImportOptions(Map.of(), true, false);
    }

    public ImportOptions withChanges() {
        return new ImportOptions(provenance, hashSources, true);
    }
}
