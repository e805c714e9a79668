package ai.lram.dataset;

/** Element type of a feature. */
public enum FeatureType {
    /** Real values, 32-bit. */
    FLOAT32,
    /** Whole numbers; as an action: the id of a discrete choice. Held in memory as a float, exact up to 2^24. */
    INT64,
    /** Pixels, 0..255, channels first. */
    UINT8
}
