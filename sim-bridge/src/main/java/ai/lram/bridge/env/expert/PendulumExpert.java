package ai.lram.bridge.env.expert;

/**
 * Swing-up of the torque-limited pendulum: drives its energy a little above that of rest upright, then holds it there
 * by linear state feedback; a logistic in the predicted angle blends the two. Gains were tuned on the task's own
 * reward.
 */
final class PendulumExpert implements ScriptedPolicy {
    @Override
    public void act(float[] observation, float[] action) {
        double cos = observation[0];
        double angle = Math.atan2(observation[1], cos);
        double w = observation[2];

        double energy = 0.5 * w * w + 15 * (cos - 1);
        double swing = 2 * Math.tanh(0.14 * (0.83 - energy) * w);
        double hold = -8.2 * angle - 2.5 * w;
        double near = 1 / (1 + Math.exp((Math.abs(angle + 0.12 * w) - 0.54) / 0.096));
        action[0] = (float) Math.clamp(near * hold + (1 - near) * swing, -2, 2);
    }
}
