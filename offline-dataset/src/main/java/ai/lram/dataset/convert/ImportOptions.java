package ai.lram.dataset.convert;

import java.util.Map;

/**
 * How to import.
 *
 * @param provenance free-form entries for the store's manifest (licence, origin, command)
 * @param hashSources whether to note a SHA-256 of each source's files, videos left out
 */
public record ImportOptions(Map<String, String> provenance, boolean hashSources) {
    public ImportOptions {
        provenance = Map.copyOf(provenance);
    }

    /** No provenance entries, sources hashed. */
    public static ImportOptions defaults() {
        return new ImportOptions(Map.of(), true);
    }
}
