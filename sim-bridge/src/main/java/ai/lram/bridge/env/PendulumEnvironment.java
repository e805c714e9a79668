package ai.lram.bridge.env;

import java.util.List;

/**
 * Torque-limited pendulum swing-up, Gymnasium {@code Pendulum-v1}.
 *
 * <p>Rod of 1 kg and 1 m about its end, g = 10 m/s2, theta = 0 upright, torque within 2 N m, |theta'| within 8 rad/s;
 * semi-implicit Euler of 0.05 s: theta'' = 3g/(2l) sin(theta) + 3/(m l2) u. Start: theta uniform in +-pi, theta'
 * uniform in +-1 rad/s. 200 steps, no termination. Reward -(theta2 + 0.1 theta'2 + 0.001 u2) of the state before the
 * step, theta wrapped to +-pi.
 *
 * <p>Deviations: none but the random numbers, so a seed starts another episode than there.
 */
final class PendulumEnvironment extends ClassicEnvironment {
    private static final double GRAVITY = 10;
    private static final double DT = 0.05;
    private static final double MAX_SPEED = 8;

    double theta;
    double thetaDot;

    PendulumEnvironment() {
        super(new EnvironmentSpec(
                "pendulum",
                "classic-control",
                1 / DT,
                List.of(
                        new Feature("pendulum.cos", "", -1, 1),
                        new Feature("pendulum.sin", "", -1, 1),
                        new Feature("pendulum.vel", "rad/s", -MAX_SPEED, MAX_SPEED)),
                List.of(new Feature("pendulum.torque", "N m", -2, 2)),
                0,
                List.of(0.0),
                200,
                "-(angle^2 + 0.1 velocity^2 + 0.001 torque^2), angle 0 upright"));
    }

    @Override
    void begin(SeededRandom random) {
        theta = random.uniform(-Math.PI, Math.PI);
        thetaDot = random.uniform(-1, 1);
    }

    @Override
    double advance(double[] control) {
        double u = control[0];
        double wrapped = Math.IEEEremainder(theta, 2 * Math.PI);
        double cost = wrapped * wrapped + 0.1 * thetaDot * thetaDot + 0.001 * u * u;
        thetaDot += (1.5 * GRAVITY * Math.sin(theta) + 3 * u) * DT;
        thetaDot = Math.clamp(thetaDot, -MAX_SPEED, MAX_SPEED);
        theta += thetaDot * DT;
        return -cost;
    }

    @Override
    boolean atGoal() {
        return false;
    }

    @Override
    void observe(float[] observation) {
        observation[0] = (float) Math.cos(theta);
        observation[1] = (float) Math.sin(theta);
        observation[2] = (float) thetaDot;
    }
}
