package ai.lram.dataset.sample;

import ai.lram.dataset.store.TrajectoryStore;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Draws training windows from chosen episodes of a store, with replacement, reproducibly: the same store, episodes,
 * settings and seed give the same windows, and {@link #state()} carries on where a run stopped. Drawing allocates nothing.
 *
 * <p>Single-threaded.
 */
public final class WindowSampler {
    private static final long STATE_VERSION = 1;

    /** How a window lies in its episode. */
    public enum Mode {
        /**
         * Every row is equally likely to be a window's last one; the window reaches back at most the window length. Near
         * an episode's start windows are shorter; nothing is padded.
         */
        RANDOM_END,
        /** Windows have the full length wherever the episode is long enough; every such place is equally likely. */
        FULL_LENGTH,
        /**
         * The whole episode, every episode equally likely; one longer than the window length gives a random stretch of
         * that length.
         */
        WHOLE_EPISODE
    }

    /** What one group of the mix is. */
    public enum GroupBy {
        TASK,
        DOMAIN
    }

    /** How groups take turns. */
    public enum Mixing {
        /** One after the other, in store order. */
        ROUND_ROBIN,
        /** Each equally likely. */
        UNIFORM,
        /** Each as likely as it has rows (episodes in {@link Mode#WHOLE_EPISODE}). */
        PROPORTIONAL
    }

    private final Mode mode;
    private final Mixing mixing;
    private final int windowLength;
    private final boolean lastTransitionUnseen;
    private final List<Group> groups;
    private final long[] groupEnds;
    private final Xoshiro random;
    private final long fingerprint;
    private long turn;

    /** Episodes of one task or domain; {@code ends[i]} is the sum of the weights up to and with episode i. */
    private record Group(String name, int[] episodes, int[] lengths, long[] ends) {
        long total() {
            return ends[ends.length - 1];
        }
    }

    private WindowSampler(Builder builder) {
        mode = builder.mode;
        mixing = builder.mixing;
        windowLength = builder.windowLength;
        lastTransitionUnseen = builder.lastTransitionUnseen;
        groups = groups(builder);
        groupEnds = new long[groups.size()];
        long sum = 0;
        for (int i = 0; i < groupEnds.length; i++) {
            sum += groups.get(i).total();
            groupEnds[i] = sum;
        }
        random = new Xoshiro(builder.seed);
        fingerprint = fingerprint(builder);
    }

    /** Starts a sampler over {@code episodes} of {@code store}: usually {@link EpisodeSplit#training()}. */
    public static Builder builder(TrajectoryStore store, int[] episodes) {
        return new Builder(store, episodes);
    }

    private static List<Group> groups(Builder builder) {
        Map<String, List<Integer>> members = new LinkedHashMap<>();
        TrajectoryStore store = builder.store;
        List<String> taskIds = store.taskIds();
        String[] groupOfTask = new String[taskIds.size()];
        for (int task = 0; task < groupOfTask.length; task++) {
            String id = taskIds.get(task);
            groupOfTask[task] =
                    builder.groupBy == GroupBy.TASK ? id : store.taskInfo(id).domain();
            members.putIfAbsent(groupOfTask[task], new ArrayList<>());
        }
        for (int episode : builder.episodes) {
            members.get(groupOfTask[store.taskNumber(episode)]).add(episode);
        }
        List<Group> groups = new ArrayList<>();
        members.forEach((name, list) -> {
            if (!list.isEmpty()) {
                int[] episodes = list.stream().mapToInt(Integer::intValue).toArray();
                int[] lengths = Arrays.stream(episodes).map(store::length).toArray();
                long[] ends = new long[episodes.length];
                long sum = 0;
                for (int i = 0; i < ends.length; i++) {
                    sum += switch (builder.mode) {
                        case RANDOM_END -> lengths[i];
                        case FULL_LENGTH -> Math.max(1, lengths[i] - (long) builder.windowLength + 1);
                        case WHOLE_EPISODE -> 1;
                    };
                    ends[i] = sum;
                }
                groups.add(new Group(name, episodes, lengths, ends));
            }
        });
        if (groups.isEmpty()) {
            throw new IllegalArgumentException("no episodes to draw from");
        }
        return List.copyOf(groups);
    }

    private long fingerprint(Builder builder) {
        long hash = Objects.hash(
                mixing.ordinal(), mode.ordinal(), windowLength, lastTransitionUnseen, builder.groupBy.ordinal());
        for (Group group : groups) {
            hash = hash * 31 + group.name.hashCode();
            hash = hash * 31 + Arrays.hashCode(group.episodes);
            hash = hash * 31 + Arrays.hashCode(group.lengths);
        }
        return hash;
    }

    /** Names of the groups that take turns, in order: task ids or domains with at least one episode. */
    public List<String> groupNames() {
        return groups.stream().map(Group::name).toList();
    }

    /** Draws the next window: {@link #nextGroup()}, then {@link #nextFrom(int, Window)}. */
    public void next(Window window) {
        nextFrom(nextGroup(), window);
    }

    /** The group whose turn it is; use it for a whole batch to keep batches of one task or domain. */
    public int nextGroup() {
        return switch (mixing) {
            case ROUND_ROBIN -> (int) (turn++ % groups.size());
            case UNIFORM -> (int) random.nextLong(groups.size());
            case PROPORTIONAL -> find(groupEnds, random.nextLong(groupEnds[groupEnds.length - 1]));
        };
    }

    /** Draws a window from one group. */
    public void nextFrom(int groupNumber, Window window) {
        Group group = groups.get(groupNumber);
        long ticket = random.nextLong(group.total());
        int i = find(group.ends, ticket);
        long offset = i == 0 ? ticket : ticket - group.ends[i - 1];
        int length = group.lengths[i];
        switch (mode) {
            case RANDOM_END -> {
                int end = lastTransitionUnseen
                        ? length == 1 ? 1 : 1 + (int) random.nextLong(length - 1)
                        : (int) offset + 1;
                int start = Math.max(0, end - windowLength);
                window.set(group.episodes[i], start, end - start);
            }
            case FULL_LENGTH -> window.set(group.episodes[i], (int) offset, Math.min(length, windowLength));
            case WHOLE_EPISODE -> {
                int size = Math.min(length, windowLength);
                int start = size == length ? 0 : (int) random.nextLong(length - (long) size + 1);
                window.set(group.episodes[i], start, size);
            }
        }
    }

    /** First index whose end lies above {@code ticket}. */
    private static int find(long[] ends, long ticket) {
        int low = 0;
        int high = ends.length - 1;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (ends[middle] > ticket) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        return low;
    }

    /** Everything needed to carry on later: keep it in the training checkpoint. */
    public long[] state() {
        long[] state = new long[Xoshiro.STATE_LONGS + 3];
        state[0] = STATE_VERSION;
        state[1] = fingerprint;
        state[2] = turn;
        random.save(state, 3);
        return state;
    }

    /**
     * Carries on from a saved state.
     *
     * @throws IllegalArgumentException if it belongs to other episodes or settings
     */
    public void restore(long[] state) {
        if (state.length != Xoshiro.STATE_LONGS + 3
                || state[0] != STATE_VERSION
                || state[1] != fingerprint
                || state[2] < 0) {
            throw new IllegalArgumentException(
                    "the sampler state belongs to other episodes, lengths or settings (state "
                            + Arrays.toString(state) + ", expected version " + STATE_VERSION + " and fingerprint "
                            + fingerprint
                            + "); resume with the store, split and configuration of the first run");
        }
        turn = state[2];
        random.load(state, 3);
    }

    /** Settings of a sampler; the defaults are the corrected ones. */
    public static final class Builder {
        private final TrajectoryStore store;
        private final int[] episodes;
        private Mode mode = Mode.RANDOM_END;
        private Mixing mixing = Mixing.ROUND_ROBIN;
        private GroupBy groupBy = GroupBy.TASK;
        private int windowLength = 50;
        private boolean lastTransitionUnseen;
        private long seed;

        private Builder(TrajectoryStore store, int[] episodes) {
            this.store = Objects.requireNonNull(store, "store");
            this.episodes = episodes.clone();
        }

        /** Rows of a window at most; at least 1, default 50. */
        public Builder windowLength(int rows) {
            if (rows < 1) {
                throw new IllegalArgumentException("windowLength must be at least 1, got " + rows);
            }
            windowLength = rows;
            return this;
        }

        /** Default {@link Mode#RANDOM_END}. */
        public Builder mode(Mode value) {
            mode = Objects.requireNonNull(value);
            return this;
        }

        /** Default {@link Mixing#ROUND_ROBIN}. */
        public Builder mixing(Mixing value) {
            mixing = Objects.requireNonNull(value);
            return this;
        }

        /** Default {@link GroupBy#TASK}. */
        public Builder groupBy(GroupBy value) {
            groupBy = Objects.requireNonNull(value);
            return this;
        }

        /** Default 0. */
        public Builder seed(long value) {
            seed = value;
            return this;
        }

        /**
         * Reproduces the published sampler, whose exclusive upper bound never shows the last transition of an episode of
         * two rows or more. Off by default; for parity tests, with {@link Mode#RANDOM_END} only.
         */
        public Builder lastTransitionUnseen(boolean value) {
            lastTransitionUnseen = value;
            return this;
        }

        /** The sampler. */
        public WindowSampler build() {
            if (lastTransitionUnseen && mode != Mode.RANDOM_END) {
                throw new IllegalArgumentException("lastTransitionUnseen belongs to RANDOM_END, not " + mode);
            }
            return new WindowSampler(this);
        }
    }
}
