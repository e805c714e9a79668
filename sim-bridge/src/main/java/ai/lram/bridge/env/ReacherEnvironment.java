package ai.lram.bridge.env;

import java.util.List;

/**
 * Planar two-link reacher after the DeepMind Control Suite ({@code reacher-easy}; Tassa et al. 2018,
 * arXiv:1801.00690; dynamics as its MuJoCo model describes them).
 *
 * <p>Links of 0.12 m (arm) and 0.12 m to the finger (hand 0.1 m), capsules of radius 0.01 m and density 1000 kg/m3,
 * no gravity; joint damping 0.01 N m s; motors of 0.05 N m times the action in [-1, 1]; wrist limited to +-160
 * degrees (soft), shoulder free; semi-implicit Euler of 0.02 s with implicit damping, 1000 steps, no termination.
 * Start: shoulder uniform in +-pi, wrist uniform within its limits, at rest; target at a uniform angle and a radius
 * uniform in [0.05, 0.20] m. Reward 1 while the finger's centre is within 0.06 m of the target's (target radius 0.05
 * m plus finger radius 0.01 m), else 0. {@code to_target} is target minus finger in the world frame.
 *
 * <p>Deviations: random numbers are not NumPy's, so a seed starts another episode than there; time-out is reported as
 * truncation; the shoulder's angle is reported within +-pi, as an absolute encoder does, where MuJoCo counts turns: no
 * reward depends on them.
 */
final class ReacherEnvironment extends ClassicEnvironment {
    static final double TORQUE_NM = 0.05;
    static final double RADIUS_M = 0.06;
    private static final double DT = 0.02;

    private final ReacherPlant plant = new ReacherPlant(0.01, DT);
    double targetX;
    double targetY;

    ReacherEnvironment() {
        super(new EnvironmentSpec(
                "reacher",
                "classic-control",
                1 / DT,
                List.of(
                        new Feature("shoulder.pos", "rad", -(float) Math.PI, (float) Math.PI),
                        Feature.unbounded("wrist.pos", "rad"),
                        new Feature("to_target.x", "m", -0.5, 0.5),
                        new Feature("to_target.y", "m", -0.5, 0.5),
                        Feature.unbounded("shoulder.vel", "rad/s"),
                        Feature.unbounded("wrist.vel", "rad/s")),
                List.of(
                        new Feature("shoulder.torque", "0.05 N m", -1, 1),
                        new Feature("wrist.torque", "0.05 N m", -1, 1)),
                0,
                List.of(0.0, 0.0),
                1000,
                "1 while the finger touches the target, else 0"));
    }

    ReacherPlant plant() {
        return plant;
    }

    @Override
    void begin(SeededRandom random) {
        double[] s = plant.state;
        s[0] = random.uniform(-Math.PI, Math.PI);
        s[1] = random.uniform(-ReacherPlant.WRIST_LIMIT, ReacherPlant.WRIST_LIMIT);
        s[2] = 0;
        s[3] = 0;
        double angle = random.uniform(0, 2 * Math.PI);
        double radius = random.uniform(0.05, 0.20);
        targetX = radius * Math.sin(angle);
        targetY = radius * Math.cos(angle);
    }

    @Override
    double advance(double[] control) {
        plant.integrate(TORQUE_NM * control[0], TORQUE_NM * control[1], DT);
        return Math.hypot(targetX - plant.fingerX(), targetY - plant.fingerY()) <= RADIUS_M ? 1 : 0;
    }

    @Override
    boolean atGoal() {
        return false;
    }

    @Override
    void observe(float[] observation) {
        observation[0] = (float) Math.IEEEremainder(plant.state[0], 2 * Math.PI);
        observation[1] = (float) plant.state[1];
        observation[2] = (float) (targetX - plant.fingerX());
        observation[3] = (float) (targetY - plant.fingerY());
        observation[4] = (float) plant.state[2];
        observation[5] = (float) plant.state[3];
    }
}
