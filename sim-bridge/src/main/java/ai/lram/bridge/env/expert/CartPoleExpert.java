package ai.lram.bridge.env.expert;

/**
 * Balance and swing-up of the cart-pole from any state: pumps the pole's energy a little above that of rest upright
 * (Astrom and Furuta 2000), and holds it there by linear state feedback. A logistic in the predicted angle blends the
 * two, so the action is a smooth function of the observation. Gains were tuned on the task's own reward over clean
 * and disturbed episodes.
 */
final class CartPoleExpert implements ScriptedPolicy {
    /** I w2 / (2 m g l) per w2, with the pole's inertia about its hinge. */
    private static final double KINETIC = 0.0342 / (2 * 0.1 * 9.81 * 0.5);

    @Override
    public void act(float[] observation, float[] action) {
        double x = observation[0];
        double cos = observation[1];
        double angle = Math.atan2(observation[2], cos);
        double v = observation[3];
        double w = observation[4];

        double energy = KINETIC * w * w + cos - 1;
        double pump = 2.1 * (energy - 0.12) * Math.tanh((w * cos + 0.2) / 0.22);
        double swing = Math.tanh(pump - 0.6 * x - 0.53 * v);
        double hold = 0.5 * x + 0.61 * v + 4.2 * angle + 1.15 * w;
        double near = 1 / (1 + Math.exp((Math.abs(angle + 0.17 * w) - 0.47) / 0.063));
        action[0] = (float) Math.clamp(near * hold + (1 - near) * swing, -1, 1);
    }
}
