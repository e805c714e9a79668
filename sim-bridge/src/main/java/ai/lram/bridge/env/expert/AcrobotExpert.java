package ai.lram.bridge.env.expert;

/**
 * Swing-up of the acrobot with full torque one way or the other: pumps energy through the elbow in step with the
 * swing of the whole chain. The sign of one linear form decides; its weights were tuned on the task's own reward.
 */
final class AcrobotExpert implements ScriptedPolicy {
    private static final int BACKWARD = 0;
    private static final int FORWARD = 2;

    @Override
    public void act(float[] observation, float[] action) {
        double sin1 = observation[1];
        double cos2 = observation[2];
        double sin2 = observation[3];
        double w1 = observation[4];
        double w2 = observation[5];
        double push = w1 * (2.39 * cos2 - 1.5) + w2 * (0.38 * cos2 + 2.15) - 0.3 * sin1 - 0.61 * sin2;
        action[0] = push > 0 ? FORWARD : BACKWARD;
    }
}
