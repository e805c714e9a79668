package ai.lram.bridge.env;

import java.util.List;

/**
 * Under-powered car in a valley, Gymnasium {@code MountainCarContinuous-v0} (Moore 1990).
 *
 * <p>Per step: v += 0.0015 a - 0.0025 cos(3 x), |v| within 0.07; x += v within [-1.2, 0.6]; the left wall stops the
 * car. Start: x uniform in [-0.6, -0.4] at rest. Reward -0.1 a2, plus 100 on the step that ends the episode with x >=
 * 0.45 and v >= 0. Truncated after 999 steps.
 *
 * <p>Deviations: the state is kept in double, not float; the action is clipped before it is charged; the task has no
 * clock of its own and is given 30 Hz, the original's frame rate; a seed starts another episode than there.
 */
final class MountainCarEnvironment extends ClassicEnvironment {
    private static final double GOAL = 0.45;
    private static final double MIN_POSITION = -1.2;
    private static final double MAX_POSITION = 0.6;
    private static final double MAX_SPEED = 0.07;

    double position;
    double velocity;

    MountainCarEnvironment() {
        super(new EnvironmentSpec(
                "mountain-car-continuous",
                "classic-control",
                30,
                List.of(
                        new Feature("car.pos", "", (float) MIN_POSITION, (float) MAX_POSITION),
                        new Feature("car.vel", "1/step", -(float) MAX_SPEED, (float) MAX_SPEED)),
                List.of(new Feature("car.force", "0.0015 1/step^2", -1, 1)),
                0,
                List.of(0.0),
                999,
                "100 on reaching the flag, minus 0.1 action^2 a step"));
    }

    @Override
    void begin(SeededRandom random) {
        position = random.uniform(-0.6, -0.4);
        velocity = 0;
    }

    @Override
    double advance(double[] control) {
        velocity += 0.0015 * control[0] - 0.0025 * Math.cos(3 * position);
        velocity = Math.clamp(velocity, -MAX_SPEED, MAX_SPEED);
        position = Math.clamp(position + velocity, MIN_POSITION, MAX_POSITION);
        if (position == MIN_POSITION && velocity < 0) {
            velocity = 0;
        }
        return (atGoal() ? 100 : 0) - 0.1 * control[0] * control[0];
    }

    @Override
    boolean atGoal() {
        return position >= GOAL && velocity >= 0;
    }

    @Override
    void observe(float[] observation) {
        observation[0] = (float) position;
        observation[1] = (float) velocity;
    }
}
