package ai.lram.dataset;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * One trajectory in memory. Every column is row-major, (length, width). Arrays are handed over, not copied: whoever
 * builds an episode gives them up, whoever reads one must not write to them. Safe to share between threads once built.
 */
public final class Episode {
    private final String taskId;
    private final String instruction;
    private final int length;
    private final long sourceEpisode;
    private final Map<String, float[]> columns;
    private final byte[] image;

    private Episode(Builder builder) {
        taskId = builder.taskId;
        instruction = builder.instruction;
        length = builder.length;
        sourceEpisode = builder.sourceEpisode;
        columns = Collections.unmodifiableMap(new LinkedHashMap<>(builder.columns));
        image = builder.image;
    }

    /** Starts an episode of {@code length} rows, at least 1, of the task {@code taskId}. */
    public static Builder builder(String taskId, int length) {
        return new Builder(taskId, length);
    }

    /** The task this episode belongs to. */
    public String taskId() {
        return taskId;
    }

    /** What the robot was told to do, in words; empty if nothing was said. */
    public String instruction() {
        return instruction;
    }

    /** Number of rows, at least 1. */
    public int length() {
        return length;
    }

    /** Number of the episode in its source, -1 if it has none. */
    public long sourceEpisode() {
        return sourceEpisode;
    }

    /** Names of all float columns in the order in which they were added. */
    public Set<String> columnNames() {
        return columns.keySet();
    }

    /** Whether the float column {@code name} (or, for "image", the image) is there. */
    public boolean has(String name) {
        return columns.containsKey(name) || (image != null && name.equals(Column.IMAGE.key()));
    }

    /** Whether {@code column} is there. */
    public boolean has(Column column) {
        return has(column.key());
    }

    /** Values per row of the float column {@code name}. */
    public int width(String name) {
        return column(name).length / length;
    }

    /**
     * The float column {@code name}, (length, width) row-major; not a copy.
     *
     * @throws IllegalArgumentException if the episode has no such column
     */
    public float[] column(String name) {
        float[] values = columns.get(name);
        if (values == null) {
            throw new IllegalArgumentException(
                    "episode of " + taskId + " has no column " + name + "; it has " + columns.keySet());
        }
        return values;
    }

    /** The float column {@code column}; see {@link #column(String)}. */
    public float[] column(Column column) {
        return column(column.key());
    }

    /** Images, (length, channels, height, width) row-major; not a copy. */
    public byte[] image() {
        if (image == null) {
            throw new IllegalArgumentException("episode of " + taskId + " has no images");
        }
        return image;
    }

    /** Undiscounted sum of rewards, summed in double; 0 without rewards. */
    public double episodeReturn() {
        double sum = 0;
        if (has(Column.REWARD)) {
            for (float reward : column(Column.REWARD)) {
                sum += reward;
            }
        }
        return sum;
    }

    /** Undiscounted reverse cumulative sum of {@code rewards}, summed in double and rounded once. */
    public static float[] returnsToGo(float[] rewards) {
        float[] returns = new float[rewards.length];
        double sum = 0;
        for (int row = rewards.length - 1; row >= 0; row--) {
            sum += rewards[row];
            returns[row] = (float) sum;
        }
        return returns;
    }

    /** Collects the columns of one episode. Single-threaded, for one {@link #build()}. */
    public static final class Builder {
        private final String taskId;
        private final int length;
        private final Map<String, float[]> columns = new LinkedHashMap<>();
        private String instruction = "";
        private long sourceEpisode = -1;
        private byte[] image;

        private Builder(String taskId, int length) {
            this.taskId = Objects.requireNonNull(taskId, "taskId");
            this.length = length;
            if (length < 1) {
                throw new IllegalArgumentException("an episode needs at least one row, got " + length);
            }
        }

        /** Adds a float column of length x width values; the array is handed over. */
        public Builder column(String name, float[] values) {
            if (values.length == 0 || values.length % length != 0) {
                throw new IllegalArgumentException(
                        "column " + name + ": " + values.length + " values do not fill " + length + " rows");
            }
            if (name.equals(Column.IMAGE.key())) {
                throw new IllegalArgumentException("images are bytes: use image(byte[])");
            }
            if (columns.putIfAbsent(name, values) != null) {
                throw new IllegalArgumentException("column " + name + " was added twice");
            }
            return this;
        }

        /** Adds a canonical float column; the array is handed over. */
        public Builder column(Column column, float[] values) {
            return column(column.key(), values);
        }

        /** Adds the images, (length, channels, height, width); the array is handed over. */
        public Builder image(byte[] pixels) {
            if (pixels.length == 0 || pixels.length % length != 0) {
                throw new IllegalArgumentException(
                        "image: " + pixels.length + " bytes do not fill " + length + " rows");
            }
            image = pixels;
            return this;
        }

        /** What the robot was told to do. */
        public Builder instruction(String text) {
            instruction = Objects.requireNonNull(text, "text");
            return this;
        }

        /** Number of the episode in its source. */
        public Builder sourceEpisode(long number) {
            sourceEpisode = number;
            return this;
        }

        /** The episode; needs at least one column. */
        public Episode build() {
            if (columns.isEmpty() && image == null) {
                throw new IllegalArgumentException("episode of " + taskId + " has no columns");
            }
            return new Episode(this);
        }
    }
}
