package ai.lram.agent.train;

import ai.lram.agent.ConfigException;

/**
 * Linear warm-up, then a cosine down to {@code min}: lr (s+1)/warmup for s < warmup, then cosine over {@code cosineSteps} steps counted
 * from the end of the warm-up, {@code min} afterwards. The last warm-up step and the first cosine step both have the full rate, as
 * published.
 *
 * @param peak full learning rate
 * @param min rate at the end of the cosine
 * @param warmup steps of linear warm-up, >= 0
 * @param cosineSteps T_max, >= 1
 */
public record LearningRate(double peak, double min, long warmup, long cosineSteps) {
    public LearningRate {
        if (!(peak > 0) || !(min >= 0) || min > peak || warmup < 0 || cosineSteps < 1) {
            throw new ConfigException(
                    "learning rate peak=" + peak + " min=" + min + " warmup=" + warmup + " cosineSteps=" + cosineSteps,
                    "values are out of range",
                    "use peak > 0, 0 <= min <= peak, warmup >= 0, cosineSteps >= 1");
        }
    }

    /** Rate of step {@code s}, 0-based; may be fractional where progress is measured in time. */
    public double at(double s) {
        if (s < warmup) {
            return peak * Math.min(1, (s + 1) / warmup);
        }
        double t = Math.min(s - warmup, cosineSteps);
        return min + (peak - min) * (1 + Math.cos(Math.PI * t / cosineSteps)) / 2;
    }
}
