package ai.lram.bridge.rollout;

/** Where a return lies between uniform random actions (0) and the expert (1). */
public final class NormalizedScore {
    private NormalizedScore() {}

    /**
     * (agent - random) / (expert - random), clipped to [0, 1].
     *
     * @throws RolloutException if a value is not finite or the expert is no better than random
     */
    public static double of(double agent, double random, double expert) {
        if (!Double.isFinite(agent) || !Double.isFinite(random) || !Double.isFinite(expert) || expert <= random) {
            throw new RolloutException(
                    "no score can be given",
                    "agent=" + agent + " random=" + random + " expert=" + expert,
                    "use finite mean returns and an expert that beats random actions");
        }
        return Math.clamp((agent - random) / (expert - random), 0.0, 1.0);
    }
}
