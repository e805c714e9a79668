package ai.lram.dataset;

import java.util.Optional;

/** The columns an episode may have, in the order in which a store lists them. */
public enum Column {
    /** State vector, float32. */
    OBSERVATION("observation", FeatureType.FLOAT32),
    /** Action taken in that state, float32; a discrete action is one value holding its id. */
    ACTION("action", FeatureType.FLOAT32),
    /** Reward caused by the action of the same row, float32, width 1. */
    REWARD("reward", FeatureType.FLOAT32),
    /** Undiscounted sum of rewards from this row to the end of the episode, float32, width 1. */
    RETURN_TO_GO("return_to_go", FeatureType.FLOAT32),
    /** Camera image or frame, uint8, channels first. */
    IMAGE("image", FeatureType.UINT8),
    /** 1 where the row ended the episode in an absorbing state, else 0; float32, width 1. Time-outs are 0. */
    DONE("done", FeatureType.FLOAT32),
    /** Seconds since the first row of the episode, float32, width 1. */
    TIMESTAMP("timestamp", FeatureType.FLOAT32);

    private final String key;
    private final FeatureType type;

    Column(String key, FeatureType type) {
        this.key = key;
        this.type = type;
    }

    /** The column's name in episodes, manifests and file names. */
    public String key() {
        return key;
    }

    /** Element type as stored. */
    public FeatureType type() {
        return type;
    }

    /** Bytes of one stored element: 4 or 1. */
    public int elementBytes() {
        return type == FeatureType.UINT8 ? 1 : Float.BYTES;
    }

    /** The column called {@code key}, if there is one. */
    public static Optional<Column> ofKey(String key) {
        for (Column column : values()) {
            if (column.key.equals(key)) {
                return Optional.of(column);
            }
        }
        return Optional.empty();
    }
}
