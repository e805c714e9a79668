package ai.lram.agent.train;

import ai.lram.agent.ConfigException;
import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.dataset.Column;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Writes a task's card from its training episodes: normalisation, bin ranges, safety limits, reward scale, target return. */
public final class TaskCards {
    /** How far beyond the training data an action may go before the safety stage clamps it, as a share of the data's range. */
    static final double SAFETY_MARGIN = 0.05;
    /** The largest change between two actions that the safety stage allows, as a multiple of the largest in the training data. */
    static final double RATE_MARGIN = 2;
    /** Quantile of relative actions on either side that sets the bin range; rarer ones are clamped to it. */
    static final double BIN_QUANTILE = 0.0005;

    private TaskCards() {}

    /** @param episodes training episodes of {@code taskId} only: nothing may leak from held-out ones */
    public static TaskCard of(TrajectoryStore store, String taskId, int[] episodes, TrainConfig config) {
        if (episodes.length == 0) {
            throw new ConfigException(
                    "task " + taskId + " has no training episodes",
                    "the split left none",
                    "import more episodes or hold out fewer");
        }
        TaskInfo info = store.taskInfo(taskId);
        int d = info.observationWidth();
        int a = info.actionWidth();
        long rows = 0;
        for (int e : episodes) {
            rows += store.length(e);
        }
        int n = Math.toIntExact(rows);
        float[] observations = new float[Math.multiplyExact(n, d)];
        float[] actions = new float[Math.multiplyExact(n, a)];
        double[] returns = new double[episodes.length];
        int[] lengths = new int[episodes.length];
        float[] maxStep = new float[a];
        int at = 0;
        for (int i = 0; i < episodes.length; i++) {
            int len = store.length(episodes[i]);
            if (d > 0) {
                store.readWindow(episodes[i], 0, len, Column.OBSERVATION, observations, at * d);
            }
            store.readWindow(episodes[i], 0, len, Column.ACTION, actions, at * a);
            returns[i] = store.episode(episodes[i]).episodeReturn();
            lengths[i] = len;
            for (int t = 1; t < len; t++) {
                for (int j = 0; j < a; j++) {
                    int p = (at + t) * a + j;
                    maxStep[j] = Math.max(maxStep[j], Math.abs(actions[p] - actions[p - a]));
                }
            }
            at += len;
        }
        double rate = info.rateHz() > 0 ? info.rateHz() : 1;
        String[] obsNames = names(info.observation().orElse(null), d, "observation");
        String[] actionNames = names(info.action(), a, "action");
        String[] obsUnits = units(info.observation().orElse(null), d);
        String[] actionUnits = units(info.action(), a);
        List<ObservationFeature> obs = new ArrayList<>();
        for (int j = 0; j < d; j++) {
            obs.add(observation(obsNames[j], obsUnits[j], observations, n, d, j));
        }
        List<ActionFeature> acts = new ArrayList<>();
        List<Double> safe = new ArrayList<>();
        for (int j = 0; j < a; j++) {
            int relative = config.relativeActions() && !info.isDiscrete()
                    ? Arrays.asList(obsNames).indexOf(actionNames[j])
                    : -1;
            acts.add(action(
                    info,
                    actionNames[j],
                    actionUnits[j],
                    actions,
                    observations,
                    n,
                    a,
                    d,
                    j,
                    relative,
                    maxStep[j] * rate * RATE_MARGIN,
                    config));
            safe.add(safeAction(info, acts.get(j), actions, n, a, j));
        }
        boolean imitation = !info.hasRewards();
        double scale = 0;
        for (double r : returns) {
            scale = Math.max(scale, Math.abs(r));
        }
        double[] sorted = returns.clone();
        Arrays.sort(sorted);
        List<Integer> image = info.image().map(FeatureSpec::shape).orElse(List.of());
        return new TaskCard(
                taskId,
                info.domain(),
                rate,
                obs,
                image,
                acts,
                info.isDiscrete() ? discreteCount(info, actions) : 0,
                imitation || scale == 0 ? 1 : scale,
                imitation,
                imitation ? 0 : quantile(sorted, config.targetQuantile()),
                Arrays.stream(lengths).max().orElse(0),
                Fallback.HOLD,
                safe,
                imitation ? List.of() : returnRange(store, episodes));
    }

    private static List<Double> returnRange(TrajectoryStore store, int[] episodes) {
        float low = Float.POSITIVE_INFINITY;
        float high = Float.NEGATIVE_INFINITY;
        for (int e : episodes) {
            float[] returns = new float[store.length(e)];
            store.readWindow(e, 0, returns.length, Column.RETURN_TO_GO, returns, 0);
            for (float g : returns) {
                low = Math.min(low, g);
                high = Math.max(high, g);
            }
        }
        return List.of((double) low, (double) high);
    }

    /** Linear interpolation between order statistics of a sorted array. */
    public static double quantile(double[] sorted, double q) {
        double at = q * (sorted.length - 1);
        int i = (int) at;
        return i + 1 < sorted.length ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[i];
    }

    private static String[] names(FeatureSpec spec, int width, String fallback) {
        String[] out = new String[width];
        for (int i = 0; i < width; i++) {
            out[i] = spec != null && spec.names().size() == width ? spec.names().get(i) : fallback + "[" + i + "]";
        }
        return out;
    }

    private static String[] units(FeatureSpec spec, int width) {
        String[] out = new String[width];
        for (int i = 0; i < width; i++) {
            out[i] = spec != null && spec.units().size() == width ? spec.units().get(i) : "";
        }
        return out;
    }

    private static ObservationFeature observation(String name, String unit, float[] x, int n, int d, int j) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            sum += x[i * d + j];
        }
        double mean = sum / n;
        double square = 0;
        for (int i = 0; i < n; i++) {
            double c = x[i * d + j] - mean;
            square += c * c;
        }
        double std = Math.sqrt(square / n);
        // A feature that hardly moves in training would be blown up by the smallest novelty later.
        double floor = 1e-3 * Math.max(1, Math.abs(mean));
        return new ObservationFeature(
                name,
                unit,
                Double.NEGATIVE_INFINITY,
                Double.POSITIVE_INFINITY,
                mean,
                std < 1e-7 ? 1 : Math.max(std, floor));
    }

    private static ActionFeature action(
            TaskInfo info,
            String name,
            String unit,
            float[] actions,
            float[] observations,
            int n,
            int a,
            int d,
            int j,
            int relative,
            double maxRate,
            TrainConfig config) {
        double low = Double.POSITIVE_INFINITY;
        double high = Double.NEGATIVE_INFINITY;
        double[] encoded = new double[n];
        for (int i = 0; i < n; i++) {
            double v = actions[i * a + j];
            low = Math.min(low, v);
            high = Math.max(high, v);
            encoded[i] = relative < 0 ? v : v - observations[i * d + relative];
        }
        if (info.isDiscrete()) {
            double top = Math.max(1, discreteCount(info, actions) - 1);
            return new ActionFeature(name, unit, 0, top, Double.POSITIVE_INFINITY, 0, top, null);
        }
        Arrays.sort(encoded);
        double encodeLow = relative < 0 ? encoded[0] : quantile(encoded, BIN_QUANTILE);
        double encodeHigh = relative < 0 ? encoded[n - 1] : quantile(encoded, 1 - BIN_QUANTILE);
        double span = Math.max(encodeHigh - encodeLow, 1e-4 * Math.max(1, Math.abs(encodeHigh)));
        double margin = Math.max(SAFETY_MARGIN * (high - low), 1e-6 * Math.max(1, Math.abs(high)));
        boolean limited = !info.hasRewards() && maxRate > 0;
        return new ActionFeature(
                name,
                unit,
                info.hasRewards() ? low : low - margin,
                info.hasRewards() && high > low ? high : high + margin,
                limited ? maxRate : Double.POSITIVE_INFINITY,
                encodeLow - config.binMargin() * span,
                encodeLow + span + config.binMargin() * span,
                relative < 0 ? null : name);
    }

    private static double safeAction(TaskInfo info, ActionFeature f, float[] actions, int n, int a, int j) {
        if (info.isDiscrete()) {
            return Math.floor(f.high() / 2);
        }
        if (info.hasRewards() && f.low() <= 0 && f.high() >= 0) {
            return 0;
        }
        double sum = 0;
        for (int i = 0; i < n; i++) {
            sum += actions[i * a + j];
        }
        return Math.max(f.low(), Math.min(f.high(), sum / n));
    }

    private static int discreteCount(TaskInfo info, float[] actions) {
        if (info.discreteActions() > 0) {
            return info.discreteActions();
        }
        int max = 0;
        for (float v : actions) {
            max = Math.max(max, (int) v);
        }
        return max + 1;
    }
}
