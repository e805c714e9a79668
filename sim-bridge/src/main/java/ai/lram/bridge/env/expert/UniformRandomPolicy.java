package ai.lram.bridge.env.expert;

import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.env.SeededRandom;

/** Independent actions, uniform within their bounds (or over the ids): the zero of normalised scores. */
public final class UniformRandomPolicy implements ScriptedPolicy {
    private final EnvironmentSpec spec;
    private final SeededRandom random = new SeededRandom(0);

    public UniformRandomPolicy(EnvironmentSpec spec) {
        this.spec = spec;
    }

    @Override
    public void reset(long seed) {
        random.seed(seed ^ 0x52414E444F4D0000L);
    }

    @Override
    public void act(float[] observation, float[] action) {
        draw(spec, random, action);
    }

    static void draw(EnvironmentSpec spec, SeededRandom random, float[] action) {
        for (int i = 0; i < action.length; i++) {
            action[i] = spec.discrete()
                    ? random.nextInt(spec.discreteActions())
                    : (float) random.uniform(
                            spec.action().get(i).low(), spec.action().get(i).high());
        }
    }
}
