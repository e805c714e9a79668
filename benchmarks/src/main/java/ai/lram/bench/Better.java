package ai.lram.bench;

import java.util.Locale;

/** Which direction of a value is the better one. */
public enum Better {
    LOWER,
    HIGHER;

    /** As result lines write it: {@code lower} or {@code higher}. */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
