package ai.lram.cli.scenario;

import ai.lram.bridge.rollout.EpisodeResult;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.HdrHistogram.Histogram;

/**
 * What robots of one task experienced. Latency runs from the moment an observation was due to the moment its action was there, so a late
 * start counts too. Written by one thread; merged when that thread is done.
 */
public final class ControlLog {
    private static final long LONGEST_NS = 60_000_000_000L;

    private final String task;
    private final Histogram latency = new Histogram(LONGEST_NS, 3);
    private final Map<Miss, Long> missed = new EnumMap<>(Miss.class);
    private final List<EpisodeResult> episodes = new ArrayList<>();
    private long steps;
    private long clamped;

    public ControlLog(String task) {
        this.task = task;
    }

    void step(long latencyNs, boolean wasClamped) {
        steps++;
        clamped += wasClamped ? 1 : 0;
        latency.recordValue(Math.clamp(latencyNs, 0, LONGEST_NS));
    }

    void missed(Miss cause) {
        missed.merge(cause, 1L, Long::sum);
    }

    void episode(EpisodeResult result) {
        episodes.add(result);
    }

    /** Adds what another log of the same task holds. */
    void add(ControlLog other) {
        latency.add(other.latency);
        other.missed.forEach((cause, n) -> missed.merge(cause, n, Long::sum));
        episodes.addAll(other.episodes);
        steps += other.steps;
        clamped += other.clamped;
    }

    public String task() {
        return task;
    }

    /** Finished episodes. */
    public List<EpisodeResult> episodes() {
        return List.copyOf(episodes);
    }

    /** Control steps. */
    public long steps() {
        return steps;
    }

    /** Actions the server's safety stage changed. */
    public long clamped() {
        return clamped;
    }

    /** Missed control periods by cause; causes that did not occur are absent. */
    public Map<Miss, Long> missed() {
        return new EnumMap<>(missed);
    }

    public long missedTotal() {
        return missed.values().stream().mapToLong(Long::longValue).sum();
    }

    /** Latency in milliseconds that {@code percentile} per cent of the steps do not exceed. */
    public double latencyMs(double percentile) {
        return steps == 0 ? 0 : latency.getValueAtPercentile(percentile) / 1e6;
    }

    public double maxMs() {
        return steps == 0 ? 0 : latency.getMaxValue() / 1e6;
    }

    /** Latencies by percentile, for plots: rows of {percentile, milliseconds}. */
    double[][] curve(double[] percentiles) {
        double[][] out = new double[percentiles.length][];
        for (int i = 0; i < percentiles.length; i++) {
            out[i] = new double[] {percentiles[i], latencyMs(percentiles[i])};
        }
        return out;
    }
}
