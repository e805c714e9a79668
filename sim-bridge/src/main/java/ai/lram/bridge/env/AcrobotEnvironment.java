package ai.lram.bridge.env;

import java.util.List;

/**
 * Acrobot swing-up with three torques, Gymnasium {@code Acrobot-v1} (Sutton 1996; equations of Sutton and Barto's
 * book).
 *
 * <p>Two links of 1 kg and 1 m, centres of mass at 0.5 m, inertia 1 kg m2 each, g = 9.8 m/s2; action ids 0, 1, 2
 * apply -1, 0, +1 N m at the elbow; one RK4 step of 0.2 s; angles wrapped to +-pi, |theta1'| within 4 pi, |theta2'|
 * within 9 pi. Start: all four state entries uniform in +-0.1. Reward -1 a step, 0 on the step that ends the episode
 * because the tip is above the line: -cos(theta1) - cos(theta1 + theta2) > 1. Truncated after 500 steps.
 *
 * <p>Deviations: none but the random numbers, so a seed starts another episode than there.
 */
final class AcrobotEnvironment extends ClassicEnvironment {
    private static final double DT = 0.2;
    private static final double MAX_SPEED_1 = 4 * Math.PI;
    private static final double MAX_SPEED_2 = 9 * Math.PI;

    private final AcrobotPlant plant = new AcrobotPlant();

    AcrobotEnvironment() {
        super(new EnvironmentSpec(
                "acrobot",
                "classic-control",
                1 / DT,
                List.of(
                        new Feature("shoulder.cos", "", -1, 1),
                        new Feature("shoulder.sin", "", -1, 1),
                        new Feature("elbow.cos", "", -1, 1),
                        new Feature("elbow.sin", "", -1, 1),
                        new Feature("shoulder.vel", "rad/s", -(float) MAX_SPEED_1, (float) MAX_SPEED_1),
                        new Feature("elbow.vel", "rad/s", -(float) MAX_SPEED_2, (float) MAX_SPEED_2)),
                List.of(new Feature("elbow.torque.id", "", 0, 2)),
                3,
                List.of(1.0),
                500,
                "-1 a step until the tip is one link above the shoulder"));
    }

    AcrobotPlant plant() {
        return plant;
    }

    @Override
    void begin(SeededRandom random) {
        for (int i = 0; i < 4; i++) {
            plant.state[i] = random.uniform(-0.1, 0.1);
        }
    }

    @Override
    double advance(double[] control) {
        plant.integrate(control[0] - 1, DT);
        double[] s = plant.state;
        s[0] = Math.IEEEremainder(s[0], 2 * Math.PI);
        s[1] = Math.IEEEremainder(s[1], 2 * Math.PI);
        s[2] = Math.clamp(s[2], -MAX_SPEED_1, MAX_SPEED_1);
        s[3] = Math.clamp(s[3], -MAX_SPEED_2, MAX_SPEED_2);
        return atGoal() ? 0 : -1;
    }

    @Override
    boolean atGoal() {
        double[] s = plant.state;
        return -Math.cos(s[0]) - Math.cos(s[0] + s[1]) > 1;
    }

    @Override
    void observe(float[] observation) {
        double[] s = plant.state;
        observation[0] = (float) Math.cos(s[0]);
        observation[1] = (float) Math.sin(s[0]);
        observation[2] = (float) Math.cos(s[1]);
        observation[3] = (float) Math.sin(s[1]);
        observation[4] = (float) s[2];
        observation[5] = (float) s[3];
    }
}
