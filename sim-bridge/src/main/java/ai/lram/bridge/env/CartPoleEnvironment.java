package ai.lram.bridge.env;

import java.util.List;

/**
 * Cart-pole balance and swing-up after the DeepMind Control Suite ({@code cartpole-balance}, {@code
 * cartpole-swingup}; Tassa et al. 2018, arXiv:1801.00690; dynamics as its MuJoCo model describes them).
 *
 * <p>Cart 1 kg on a rail of +-1.8 m (soft limit, time constant 0.08 s), damping 5e-4 N s/m; pole a solid capsule of
 * 0.1 kg, 1 m between the ends, radius 0.045 m, hinge damping 2e-6 N m s; g = 9.81 m/s2; force 10 N times the action
 * in [-1, 1]; RK4 of 0.01 s, 1000 steps, no termination. Start of balance: cart uniform in +-0.1 m, pole uniform in
 * +-0.034 rad; of swing-up: cart 0.01 m N(0,1), pole pi + 0.01 rad N(0,1); both: velocities 0.01 N(0,1).
 *
 * <p>Reward in [0, 1], product of upright (1 + cos) / 2, centred (1 + g(x; 2 m)) / 2, small control (4 + q(a; 1)) / 5
 * and small velocity (1 + g(w; 5 rad/s)) / 2, with g the Gaussian tolerance of value 0.1 at the margin and q the
 * quadratic one of value 0.
 *
 * <p>Deviations: random numbers are not NumPy's, so a seed starts another episode than there; time-out is reported as
 * truncation.
 */
final class CartPoleEnvironment extends ClassicEnvironment {
    static final double FORCE_N = 10;
    private static final double DT = 0.01;

    private final boolean swingUp;
    private final CartPolePlant plant = new CartPolePlant(5e-4, 2e-6);

    CartPoleEnvironment(boolean swingUp) {
        super(new EnvironmentSpec(
                swingUp ? "cartpole-swingup" : "cartpole-balance",
                "classic-control",
                1 / DT,
                List.of(
                        Feature.unbounded("cart.pos", "m"),
                        new Feature("pole.cos", "", -1, 1),
                        new Feature("pole.sin", "", -1, 1),
                        Feature.unbounded("cart.vel", "m/s"),
                        Feature.unbounded("pole.vel", "rad/s")),
                List.of(new Feature("cart.force", "10 N", -1, 1)),
                0,
                List.of(0.0),
                1000,
                "in [0, 1]: pole upright, cart centred, small action, slow pole"));
        this.swingUp = swingUp;
    }

    CartPolePlant plant() {
        return plant;
    }

    @Override
    void begin(SeededRandom random) {
        double[] s = plant.state;
        if (swingUp) {
            s[0] = 0.01 * random.nextGaussian();
            s[1] = Math.PI + 0.01 * random.nextGaussian();
        } else {
            s[0] = random.uniform(-0.1, 0.1);
            s[1] = random.uniform(-0.034, 0.034);
        }
        s[2] = 0.01 * random.nextGaussian();
        s[3] = 0.01 * random.nextGaussian();
    }

    @Override
    double advance(double[] control) {
        plant.integrate(FORCE_N * control[0], DT);
        double[] s = plant.state;
        double upright = (1 + Math.cos(s[1])) / 2;
        double centred = (1 + Tolerance.gaussian(s[0], 2)) / 2;
        double smallControl = (4 + Tolerance.quadratic(control[0], 1)) / 5;
        double smallVelocity = (1 + Tolerance.gaussian(s[3], 5)) / 2;
        return upright * centred * smallControl * smallVelocity;
    }

    @Override
    boolean atGoal() {
        return false;
    }

    @Override
    void observe(float[] observation) {
        double[] s = plant.state;
        observation[0] = (float) s[0];
        observation[1] = (float) Math.cos(s[1]);
        observation[2] = (float) Math.sin(s[1]);
        observation[3] = (float) s[2];
        observation[4] = (float) s[3];
    }
}
