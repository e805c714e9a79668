package ai.lram.bridge.env.expert;

import ai.lram.bridge.env.EnvironmentSpec;

/** How good the behaviour is that generates data. */
public enum Quality {
    /** Uniform random actions. */
    RANDOM,
    /** A heavily disturbed expert, about half way between random and expert on most tasks. */
    MEDIUM,
    /** The undisturbed expert. */
    EXPERT,
    /**
     * Clean, thrown-off, noisy and heavily disturbed experts: episodes that show how to recover, with their returns.
     */
    MIXED;

    /** A behaviour of this quality; it draws its disturbances anew at each reset. */
    public ScriptedPolicy behaviour(EnvironmentSpec spec) {
        return switch (this) {
            case RANDOM -> new UniformRandomPolicy(spec);
            case MEDIUM -> new DisturbedPolicy(spec, Experts.of(spec.id()), Disturbance.HEAVY);
            case EXPERT -> Experts.of(spec.id());
            case MIXED -> new DisturbedPolicy(spec, Experts.of(spec.id()), null);
        };
    }
}
