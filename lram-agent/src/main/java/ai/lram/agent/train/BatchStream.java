package ai.lram.agent.train;

import ai.lram.agent.ConfigException;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.TaskCodec;
import ai.lram.dataset.Column;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.sample.Window;
import ai.lram.dataset.sample.WindowSampler;
import ai.lram.dataset.store.TrajectoryStore;
import java.util.Arrays;

/**
 * Fills batches of B windows of T environment steps from a store. Tasks take turns over the rows, so that each has an equal share;
 * within a task every row of the data is equally likely.
 *
 * <p>Following episodes ({@code carry}): a row plays its episode window by window and draws a new one at its end; {@link #fresh} says which
 * rows start an episode. Otherwise each window is drawn anew: its end uniformly over the episode, the last transition included, its start T
 * steps before or at the episode's start. Windows are never padded on the left; what is missing on the right is masked.
 *
 * <p>Single thread; reuses its arrays.
 */
public final class BatchStream {
    /**
     * What is added in training.
     *
     * @param observation deviation of normal noise on every standardised observation
     * @param returns deviation of the normal shift of an episode's scaled returns-to-go, one draw per episode; imitation tasks have none
     */
    public record Noise(double observation, double returns) {
        /** Data as they are. */
        public static final Noise NONE = new Noise(0, 0);
    }

    private final TrajectoryStore store;
    private final LramConfig config;
    private final ActionCodec bins;
    private final int batch;
    private final int steps;
    private final boolean carry;
    private final Noise noise;
    private final SeededRandom random;
    private final TaskCodec[] codecs;
    private final TaskInfo[] infos;
    private final WindowSampler sampler;
    private final Window window = new Window();
    /** Position on the card by task number of the store. */
    private final int[] taskOf;

    private final int[] rowTask;
    private final int[] rowEpisode;
    private final int[] rowStart;
    /** Added to the scaled returns of the row's episode. */
    private final float[] rowShift;

    /** (B, T, stateDim), standardised and padded with zeros. */
    public final float[] states;
    /** (B, T), scaled. */
    public final float[] returns;
    /** (B, T), scaled. */
    public final float[] rewards;
    /** (B, T, actionDims): token ids, for one-hot targets. */
    public final int[] targets;
    /** (B, T, actionDims): positions on the axis of ids, for soft targets. */
    public final float[] positions;
    /** (B, T, actionDims): 1 where a continuous action counts. */
    public final float[] continuousMask;
    /** (B, T, actionDims): 1 where a discrete action counts. */
    public final float[] discreteMask;
    /** Rows that start an episode (always, where windows are drawn anew). */
    public final boolean[] fresh;
    /** uint8 images (B, T, 3, 64, 64) where the model has them, else null. */
    public final byte[] images;
    /** Environment steps of the last batch that entered the loss. */
    public int validSteps;

    private final float[] rawObservation;
    private final float[] rawAction;
    private final float[] rawReward;
    private final float[] rawReturn;

    /** @param taskEpisodes episodes per task, in the order of the card's tasks */
    public BatchStream(
            TrajectoryStore store,
            ModelCard card,
            LramConfig config,
            int[][] taskEpisodes,
            int batch,
            int steps,
            boolean carry,
            Noise noise,
            long seed) {
        this.store = store;
        this.config = config;
        this.bins = new ActionCodec(config.discreteActions(), config.bins());
        this.batch = batch;
        this.steps = steps;
        this.carry = carry;
        this.noise = noise;
        random = new SeededRandom(seed);
        int tasks = card.tasks().size();
        codecs = new TaskCodec[tasks];
        infos = new TaskInfo[tasks];
        taskOf = new int[store.taskIds().size()];
        int maxObs = 1;
        for (int i = 0; i < tasks; i++) {
            TaskCard t = card.tasks().get(i);
            codecs[i] = new TaskCodec(t, bins);
            infos[i] = store.taskInfo(t.id());
            taskOf[store.taskIds().indexOf(t.id())] = i;
            maxObs = Math.max(maxObs, t.observationSize());
        }
        sampler = WindowSampler.builder(
                        store,
                        Arrays.stream(taskEpisodes).flatMapToInt(Arrays::stream).toArray())
                .mode(carry ? WindowSampler.Mode.WHOLE_EPISODE : WindowSampler.Mode.RANDOM_END)
                .windowLength(carry ? Integer.MAX_VALUE : steps)
                .groupBy(WindowSampler.GroupBy.TASK)
                .mixing(WindowSampler.Mixing.ROUND_ROBIN)
                .seed(seed)
                .build();
        rowTask = new int[batch];
        rowEpisode = new int[batch];
        rowStart = new int[batch];
        rowShift = new float[batch];
        Arrays.fill(rowEpisode, -1);
        int bt = batch * steps;
        int a = config.actionDims();
        states = new float[bt * config.stateDim()];
        returns = new float[bt];
        rewards = new float[bt];
        targets = new int[bt * a];
        positions = new float[bt * a];
        continuousMask = new float[bt * a];
        discreteMask = new float[bt * a];
        fresh = new boolean[batch];
        images = config.images() ? new byte[Math.multiplyExact(bt, 3 * 64 * 64)] : null;
        rawObservation = new float[steps * maxObs];
        rawAction = new float[steps * a];
        rawReward = new float[steps];
        rawReturn = new float[steps];
    }

    /** Draws the next batch. */
    public void next() {
        Arrays.fill(states, 0);
        Arrays.fill(returns, 0);
        Arrays.fill(rewards, 0);
        Arrays.fill(targets, 0);
        Arrays.fill(positions, 0);
        Arrays.fill(continuousMask, 0);
        Arrays.fill(discreteMask, 0);
        validSteps = 0;
        for (int row = 0; row < batch; row++) {
            advance(row);
            fill(row);
        }
    }

    private void advance(int row) {
        if (carry && rowEpisode[row] >= 0 && rowStart[row] + steps < store.length(rowEpisode[row])) {
            rowStart[row] += steps;
            fresh[row] = false;
            return;
        }
        boolean first = rowEpisode[row] < 0;
        sampler.next(window);
        rowEpisode[row] = window.episode();
        rowTask[row] = taskOf[store.taskNumber(window.episode())];
        rowStart[row] = window.start();
        fresh[row] = true;
        if (noise.returns > 0 && !codecs[rowTask[row]].task().imitation()) {
            rowShift[row] = (float) (noise.returns * random.nextGaussian());
        } else {
            rowShift[row] = 0;
        }
        if (carry && first) {
            // Spread the rows over their first episodes, so that they do not all end together for ever.
            rowStart[row] = window.length() * row / batch / steps * steps;
        }
    }

    private void fill(int row) {
        int episode = rowEpisode[row];
        int start = rowStart[row];
        int n = Math.min(steps, store.length(episode) - start);
        TaskCodec codec = codecs[rowTask[row]];
        TaskInfo info = infos[rowTask[row]];
        int d = codec.observationSize();
        int a = codec.actionSize();
        if (d > 0) {
            store.readWindow(episode, start, n, Column.OBSERVATION, rawObservation, 0);
        }
        store.readWindow(episode, start, n, Column.ACTION, rawAction, 0);
        if (info.hasRewards()) {
            store.readWindow(episode, start, n, Column.REWARD, rawReward, 0);
            store.readWindow(episode, start, n, Column.RETURN_TO_GO, rawReturn, 0);
        } else {
            Arrays.fill(rawReward, 0);
            Arrays.fill(rawReturn, 0);
        }
        if (info.hasImages()) {
            int frame = 3 * 64 * 64;
            store.readImages(episode, start, n, images, row * steps * frame);
            Arrays.fill(images, (row * steps + n) * frame, (row + 1) * steps * frame, (byte) 0);
        }
        int dims = config.actionDims();
        for (int t = 0; t < n; t++) {
            int bt = row * steps + t;
            int at = bt * config.stateDim();
            for (int j = 0; j < d; j++) {
                float v = codec.observation(j, rawObservation[t * d + j]);
                states[at + j] = noise.observation > 0 ? (float) (v + noise.observation * random.nextGaussian()) : v;
            }
            returns[bt] = codec.reward(rawReturn[t]) + rowShift[row];
            rewards[bt] = codec.reward(rawReward[t]);
            if (codec.task().discrete()) {
                targets[bt * dims] = (int) rawAction[t];
                discreteMask[bt * dims] = 1;
            } else {
                for (int j = 0; j < a; j++) {
                    float x = codec.normalizeAction(j, rawAction[t * a + j], rawObservation, t * d);
                    targets[bt * dims + j] = bins.encode(x);
                    positions[bt * dims + j] = bins.position(x);
                    continuousMask[bt * dims + j] = 1;
                }
            }
        }
        validSteps += n;
    }

    /** Everything needed to go on drawing what an uninterrupted stream would draw. */
    public long[] state() {
        long[] draws = sampler.state();
        long[] s = Arrays.copyOf(draws, draws.length + 1 + 4 * batch);
        s[draws.length] = random.state();
        for (int i = 0; i < batch; i++) {
            int at = draws.length + 1 + 4 * i;
            s[at] = rowTask[i];
            s[at + 1] = rowEpisode[i];
            s[at + 2] = rowStart[i];
            s[at + 3] = Float.floatToIntBits(rowShift[i]);
        }
        return s;
    }

    /** Goes back to a {@link #state}. */
    public void restore(long[] s) {
        int draws = sampler.state().length;
        if (s.length != draws + 1 + 4 * batch) {
            throw new ConfigException(
                    "batch stream state of " + s.length + " numbers",
                    "a batch of " + batch + " rows needs " + (draws + 1 + 4 * batch),
                    "resume with the batch size of the saved run");
        }
        sampler.restore(Arrays.copyOf(s, draws));
        random.restore(s[draws]);
        for (int i = 0; i < batch; i++) {
            int at = draws + 1 + 4 * i;
            rowTask[i] = (int) s[at];
            rowEpisode[i] = (int) s[at + 1];
            rowStart[i] = (int) s[at + 2];
            rowShift[i] = Float.intBitsToFloat((int) s[at + 3]);
        }
    }
}
