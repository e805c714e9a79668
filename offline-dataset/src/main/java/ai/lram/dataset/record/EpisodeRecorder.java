package ai.lram.dataset.record;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.format.LeRobotSchema;
import ai.lram.dataset.format.LeRobotWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * Records running episodes into a LeRobot data set.
 *
 * <p>A running episode is held in memory; {@link RunningEpisode#finish()} returns once it is on the device. A process
 * killed before loses that running episode and nothing else; {@link #open} takes such a folder up again. Any number of
 * episodes may run at once, each fed by one thread; finishing is serialised here.
 */
public final class EpisodeRecorder implements AutoCloseable {
    /** Feature that holds the measured seconds since the episode's first step; "timestamp" itself is row / fps. */
    public static final String CAPTURE_TIME = "observation.capture_time";

    private static final Set<Column> FILLED =
            EnumSet.of(Column.OBSERVATION, Column.ACTION, Column.REWARD, Column.DONE, Column.TIMESTAMP);

    private final LeRobotWriter writer;
    private final int observationWidth;
    private final int actionWidth;
    private final boolean rewards;
    private final boolean done;
    private final int maxSteps;

    private EpisodeRecorder(LeRobotWriter writer, LeRobotSchema schema, int maxSteps) {
        this.writer = writer;
        this.maxSteps = maxSteps;
        this.observationWidth = width(schema, Column.OBSERVATION);
        this.actionWidth = width(schema, Column.ACTION);
        this.rewards = width(schema, Column.REWARD) > 0;
        this.done = width(schema, Column.DONE) > 0;
    }

    /**
     * Opens or creates the data set in {@code root}.
     *
     * @param maxSteps bound on the rows of one episode, at least 1: what a forgotten session may cost in memory
     * @throws IllegalArgumentException if the schema has no observation or action, or columns a recorder does not fill
     * @throws ai.lram.dataset.DatasetException as {@link LeRobotWriter#open}
     */
    public static EpisodeRecorder open(Path root, LeRobotSchema schema, int maxSteps) {
        if (maxSteps < 1 || width(schema, Column.OBSERVATION) < 1 || width(schema, Column.ACTION) < 1) {
            throw new IllegalArgumentException("a recorder needs observation and action features and maxSteps >= 1");
        }
        for (LeRobotSchema.Feature feature : schema.features()) {
            Column column = Column.ofKey(feature.column()).orElse(Column.IMAGE);
            if (!FILLED.contains(column)) {
                throw new IllegalArgumentException(
                        "a recorder fills " + FILLED + ", not " + feature.spec().name());
            }
        }
        LeRobotSchema complete = width(schema, Column.TIMESTAMP) > 0 ? schema : withCaptureTime(schema);
        return new EpisodeRecorder(LeRobotWriter.open(root, complete), complete, maxSteps);
    }

    private static LeRobotSchema withCaptureTime(LeRobotSchema schema) {
        List<LeRobotSchema.Feature> features = new ArrayList<>(schema.features());
        FeatureSpec spec = new FeatureSpec(
                CAPTURE_TIME,
                FeatureType.FLOAT32,
                List.of(1),
                List.of("capture_time"),
                List.of("s"),
                List.of(),
                List.of());
        features.add(new LeRobotSchema.Feature(spec, Column.TIMESTAMP.key(), 0, false));
        return new LeRobotSchema(schema.robotType(), schema.fps(), features);
    }

    private static int width(LeRobotSchema schema, Column column) {
        return schema.features().stream()
                .filter(feature -> feature.column().equals(column.key()))
                .mapToInt(feature -> feature.spec().width())
                .findFirst()
                .orElse(0);
    }

    /** Starts an episode; {@code instruction} is what the robot was told, may be empty. */
    public RunningEpisode begin(String instruction) {
        return new RunningEpisode(instruction);
    }

    /** Number of episodes safe on the device. */
    public synchronized long episodeCount() {
        return writer.episodeCount();
    }

    /** Ends the recorder; running episodes are lost. Idempotent. */
    @Override
    public synchronized void close() {
        writer.close();
    }

    private synchronized long write(Episode episode) {
        long number = writer.append(episode);
        writer.flush();
        return number;
    }

    /** One episode being recorded. Not thread-safe. */
    public final class RunningEpisode {
        private final String instruction;
        private float[] observations = new float[64 * observationWidth];
        private float[] actions = new float[64 * actionWidth];
        private float[] rewardValues = new float[64];
        private float[] doneValues = new float[64];
        private float[] timestamps = new float[64];
        private long firstNs;
        private long lastNs;
        private int steps;
        private boolean ended;

        private RunningEpisode(String instruction) {
            this.instruction = instruction;
        }

        /**
         * Appends one step; the arrays are copied.
         *
         * @param reward reward caused by this action; ignored where the data set has none
         * @param terminal whether the action ended the episode in an absorbing state; ignored where there is no end mark
         * @param captureNs monotonic capture time of the observation in nanoseconds, later than the step's before
         * @throws MalformedDatasetException if a width or the time is wrong, a value is not finite, or the episode has
         *     reached its bound; the step is not recorded, the episode goes on
         */
        public void append(float[] observation, float[] action, float reward, boolean terminal, long captureNs) {
            requireRunning();
            check(observation, observationWidth, "observation");
            check(action, actionWidth, "action");
            if (rewards && !Float.isFinite(reward)) {
                throw refused("the reward is " + reward, "finite numbers are recorded");
            }
            if (steps > 0 && captureNs <= lastNs) {
                throw refused("captured at " + captureNs + " ns", "the step before was captured at " + lastNs + " ns");
            }
            if (steps == maxSteps) {
                throw refused("the episode has " + steps + " steps already", "that is the recorder's bound");
            }
            if (steps == timestamps.length) {
                int capacity = (int) Math.min(maxSteps, steps * 2L);
                observations = Arrays.copyOf(observations, Math.multiplyExact(capacity, observationWidth));
                actions = Arrays.copyOf(actions, Math.multiplyExact(capacity, actionWidth));
                rewardValues = Arrays.copyOf(rewardValues, capacity);
                doneValues = Arrays.copyOf(doneValues, capacity);
                timestamps = Arrays.copyOf(timestamps, capacity);
            }
            if (steps == 0) {
                firstNs = captureNs;
            }
            System.arraycopy(observation, 0, observations, steps * observationWidth, observationWidth);
            System.arraycopy(action, 0, actions, steps * actionWidth, actionWidth);
            rewardValues[steps] = reward;
            doneValues[steps] = terminal ? 1 : 0;
            timestamps[steps] = (float) ((captureNs - firstNs) * 1e-9);
            lastNs = captureNs;
            steps++;
        }

        /** Number of steps appended so far. */
        public int length() {
            return steps;
        }

        /**
         * Makes the episode durable.
         *
         * @return its number in the data set
         * @throws MalformedDatasetException if it has no steps
         * @throws ai.lram.dataset.StoreWriteException if the device refuses; the episode is not acknowledged
         */
        public long finish() {
            requireRunning();
            if (steps == 0) {
                throw refused("it has no steps", "an episode has at least one");
            }
            ended = true;
            Episode.Builder builder = Episode.builder("recording", steps)
                    .instruction(instruction)
                    .column(Column.OBSERVATION, Arrays.copyOf(observations, steps * observationWidth))
                    .column(Column.ACTION, Arrays.copyOf(actions, steps * actionWidth))
                    .column(Column.TIMESTAMP, Arrays.copyOf(timestamps, steps));
            if (rewards) {
                builder.column(Column.REWARD, Arrays.copyOf(rewardValues, steps));
            }
            if (done) {
                builder.column(Column.DONE, Arrays.copyOf(doneValues, steps));
            }
            return write(builder.build());
        }

        /** Drops the episode. Does nothing if it has ended. */
        public void abort() {
            ended = true;
        }

        private void requireRunning() {
            if (ended) {
                throw new IllegalStateException("the episode has ended");
            }
        }

        private void check(float[] values, int width, String what) {
            if (values.length != width) {
                throw refused("the " + what + " has " + values.length + " values", width + " are declared");
            }
            for (int i = 0; i < width; i++) {
                if (!Float.isFinite(values[i])) {
                    throw refused(
                            "element " + i + " of the " + what + " is " + values[i], "finite numbers are recorded");
                }
            }
        }

        private MalformedDatasetException refused(String what, String why) {
            return new MalformedDatasetException(
                    "step " + steps + " of the running episode was not recorded: " + what,
                    why,
                    "check the robot's observation or finish the episode");
        }
    }
}
