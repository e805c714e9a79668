package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.Replay;
import java.util.Arrays;

/**
 * Times kernels as they run in production: recorded once, replayed many times back to back, by the host's clock from the first launch until
 * the stream has been waited for. A sample is long enough that launch and wait (some 20 us) do not show.
 */
public final class DeviceTimer {
    private static final int SAMPLES = 30;
    private static final int QUICK_SAMPLES = 5;
    private static final double SAMPLE_MS = 20;
    private static final double WARM_UP_MS = 300;
    private static final int MOST_REPLAYS = 10_000;

    private DeviceTimer() {}

    /** Milliseconds of one unit of work: median, fastest and slowest sample. */
    public record Times(double medianMs, double lowMs, double highMs, int samples) {}

    /**
     * @param work queues kernels; run once as it is, so that libraries choose their algorithms, then recorded
     * @param units how many units of work it holds
     */
    public static Times time(Backend engine, Runnable work, int units, boolean quick) {
        work.run();
        engine.stream().synchronize();
        try (Replay replay = engine.stream().record(work)) {
            double once = milliseconds(engine, replay, 1);
            double warm = quick ? 0 : WARM_UP_MS;
            once = Math.min(once, milliseconds(engine, replay, replays(warm, once)));
            int replays = replays(SAMPLE_MS, once);
            double[] ms = new double[quick ? QUICK_SAMPLES : SAMPLES];
            for (int i = 0; i < ms.length; i++) {
                ms[i] = milliseconds(engine, replay, replays) / units;
            }
            Arrays.sort(ms);
            return new Times(ms[ms.length / 2], ms[0], ms[ms.length - 1], ms.length);
        }
    }

    private static int replays(double wantedMs, double eachMs) {
        return (int) Math.clamp(Math.ceil(wantedMs / Math.max(eachMs, 1e-3)), 1, MOST_REPLAYS);
    }

    /** Of one replay among several. */
    private static double milliseconds(Backend engine, Replay replay, int replays) {
        long begin = System.nanoTime();
        for (int r = 0; r < replays; r++) {
            replay.run();
        }
        engine.stream().synchronize();
        return (System.nanoTime() - begin) / 1e6 / replays;
    }
}
