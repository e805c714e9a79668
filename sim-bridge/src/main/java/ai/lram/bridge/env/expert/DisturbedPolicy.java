package ai.lram.bridge.env.expert;

import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.env.Feature;
import ai.lram.bridge.env.SeededRandom;

/**
 * An expert led astray as a {@link Disturbance} says, so that data shows how it comes back. The action it returns is
 * the one to execute; while a burst lasts the expert is {@linkplain #pushed pushed}.
 */
public final class DisturbedPolicy implements ScriptedPolicy {
    /** Of a step, so that tasks of few steps per second are left some. */
    private static final double HIGHEST_BURST_CHANCE = 0.1;

    private final EnvironmentSpec spec;
    private final ScriptedPolicy expert;
    private final Disturbance fixed;
    private final SeededRandom random = new SeededRandom(0);
    private final double[] low;
    private final double[] high;
    private final double[] noise;
    private final float[] held;

    private double gain;
    private double noiseDecay;
    private double noiseKick;
    private double randomShare;
    private double burstChance;
    private double longestBurst;
    private int burstLeft;
    private boolean pushed;

    /** @param disturbance drawn from anew each episode, or {@code null} for the mixture of all of them */
    public DisturbedPolicy(EnvironmentSpec spec, ScriptedPolicy expert, Disturbance disturbance) {
        this.spec = spec;
        this.expert = expert;
        fixed = disturbance;
        low = spec.action().stream().mapToDouble(Feature::low).toArray();
        high = spec.action().stream().mapToDouble(Feature::high).toArray();
        noise = new double[spec.actionSize()];
        held = new float[spec.actionSize()];
    }

    @Override
    public void reset(long seed) {
        expert.reset(seed);
        random.seed(seed ^ 0x4449535455524200L);
        Disturbance d = fixed == null ? Disturbance.mixture(random) : fixed;
        gain = 1 + random.uniform(-d.gainSpread(), d.gainSpread());
        double deviation = random.uniform(0, d.noise());
        noiseDecay = Math.exp(-1 / (d.noiseSeconds() * spec.rateHz()));
        noiseKick = deviation * Math.sqrt(1 - noiseDecay * noiseDecay);
        randomShare = random.uniform(0, d.randomShare());
        double bursts = random.uniform(d.burstsPerSecond() / 8, d.burstsPerSecond());
        burstChance = Math.min(HIGHEST_BURST_CHANCE, bursts / spec.rateHz());
        longestBurst = d.burstSeconds() * spec.rateHz();
        burstLeft = 0;
        pushed = false;
        for (int i = 0; i < noise.length; i++) {
            noise[i] = deviation * random.nextGaussian();
        }
    }

    @Override
    public void act(float[] observation, float[] action) {
        expert.act(observation, action);
        if (burstLeft == 0 && random.nextDouble() < burstChance) {
            burstLeft = Math.max(1, (int) Math.round(random.uniform(longestBurst / 4, longestBurst)));
            UniformRandomPolicy.draw(spec, random, held);
        }
        pushed = burstLeft > 0;
        if (pushed) {
            burstLeft--;
            System.arraycopy(held, 0, action, 0, held.length);
        } else if (random.nextDouble() < randomShare) {
            UniformRandomPolicy.draw(spec, random, action);
        } else if (!spec.discrete()) {
            for (int i = 0; i < action.length; i++) {
                noise[i] = noiseDecay * noise[i] + noiseKick * random.nextGaussian();
                double halfRange = (high[i] - low[i]) / 2;
                action[i] = (float) Math.clamp(gain * action[i] + halfRange * noise[i], low[i], high[i]);
            }
        }
    }

    @Override
    public boolean pushed() {
        return pushed;
    }
}
