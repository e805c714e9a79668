package ai.lram.bridge.env.expert;

import ai.lram.bridge.env.SeededRandom;

/**
 * How far a disturbed expert may be led astray; each episode draws its own values. Fractions are of half an action's
 * range.
 *
 * @param gainSpread the expert's action is multiplied by a constant of the episode within 1 +- this; continuous
 *     tasks only
 * @param noise largest standard deviation of correlated (Ornstein-Uhlenbeck) action noise; continuous tasks only
 * @param noiseSeconds time constant of that noise
 * @param randomShare largest share of steps whose action is replaced by a uniform random one
 * @param burstsPerSecond largest rate of bursts, during which one uniform random action is held; the smallest is an eighth
 * @param burstSeconds longest burst; the shortest is a quarter of it, and never less than one step
 */
public record Disturbance(
        double gainSpread,
        double noise,
        double noiseSeconds,
        double randomShare,
        double burstsPerSecond,
        double burstSeconds) {
    /** Leaves the expert alone. */
    public static final Disturbance NONE = new Disturbance(0, 0, 0.1, 0, 0, 0.1);
    /** A clean expert that is thrown off again and again and recovers. */
    public static final Disturbance BURSTS = new Disturbance(0, 0, 0.1, 0, 8, 0.25);
    /** A detuned, shaky expert that is thrown off now and then. */
    public static final Disturbance NOISY = new Disturbance(0.3, 0.3, 0.2, 0.15, 4, 0.25);
    /** An expert in name: about half its score on most tasks. */
    public static final Disturbance HEAVY = new Disturbance(0.6, 0.8, 0.5, 0.5, 1.5, 0.6);

    public Disturbance {
        if (!(gainSpread >= 0
                && gainSpread < 1
                && noise >= 0
                && noiseSeconds > 0
                && randomShare >= 0
                && randomShare <= 1
                && burstsPerSecond >= 0
                && burstSeconds > 0)) {
            throw new IllegalArgumentException(
                    "disturbance out of range (gainSpread in [0,1), randomShare in [0,1], times > 0, rest >= 0): "
                            + "gainSpread=" + gainSpread + " noise=" + noise + " noiseSeconds=" + noiseSeconds
                            + " randomShare=" + randomShare
                            + " burstsPerSecond=" + burstsPerSecond + " burstSeconds=" + burstSeconds);
        }
    }

    /** Anything from a clean expert to a heavily disturbed one: clean 0.1, bursts 0.75, noisy 0.1, heavy 0.05. */
    static Disturbance mixture(SeededRandom random) {
        double draw = random.nextDouble();
        return draw < 0.1 ? NONE : draw < 0.85 ? BURSTS : draw < 0.95 ? NOISY : HEAVY;
    }
}
