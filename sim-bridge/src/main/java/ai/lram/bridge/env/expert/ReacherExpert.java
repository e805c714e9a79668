package ai.lram.bridge.env.expert;

/**
 * Reacher: a virtual spring pulls the finger to the target (torque = transposed Jacobian times force), saturating
 * smoothly; the joints' own damping settles it.
 */
final class ReacherExpert implements ScriptedPolicy {
    private static final double LINK = 0.12;
    /**
     * Action per N m of virtual torque at a spring of 1 N/m; higher values reach the target a little sooner and
     * chatter more.
     */
    private static final double SHOULDER_STIFFNESS = 200;

    private static final double WRIST_STIFFNESS = 120;
    private static final double WRIST_DAMPING = 0.08;

    @Override
    public void act(float[] observation, float[] action) {
        double shoulder = observation[0];
        double both = shoulder + observation[1];
        double pullX = observation[2];
        double pullY = observation[3];
        double wristTorque = LINK * (Math.cos(both) * pullY - Math.sin(both) * pullX);
        double shoulderTorque = wristTorque + LINK * (Math.cos(shoulder) * pullY - Math.sin(shoulder) * pullX);
        action[0] = (float) Math.tanh(SHOULDER_STIFFNESS * shoulderTorque);
        action[1] = (float) Math.tanh(WRIST_STIFFNESS * wristTorque - WRIST_DAMPING * observation[5]);
    }
}
