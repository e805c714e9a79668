package ai.lram.bridge.env;

/**
 * A pole hinged on a cart that slides along a rail; state {x, theta, x', theta'} in m, rad, m/s, rad/s, theta = 0
 * upright and growing towards +x. Integrated by classical RK4.
 */
final class CartPolePlant {
    static final double GRAVITY = 9.81;
    static final double CART_MASS = 1.0;
    static final double POLE_MASS = 0.1;
    static final double POLE_LENGTH = 1.0;
    static final double POLE_RADIUS = 0.045;
    static final double HALF_LENGTH = POLE_LENGTH / 2;
    static final double RAIL_LIMIT = 1.8;

    /** Of the pole about its hinge. */
    static final double POLE_INERTIA =
            Capsule.transverseInertia(POLE_MASS, POLE_RADIUS, POLE_LENGTH) + POLE_MASS * HALF_LENGTH * HALF_LENGTH;

    private static final double COUPLING = POLE_MASS * HALF_LENGTH;
    private static final double TOTAL_MASS = CART_MASS + POLE_MASS;

    private final double cartDamping;
    private final double poleDamping;
    private final SoftLimit rail =
            new SoftLimit(0.08, 1, POLE_INERTIA / (TOTAL_MASS * POLE_INERTIA - COUPLING * COUPLING));

    final double[] state = new double[4];
    private final double[] stage = new double[4];
    private final double[][] slope = new double[4][4];

    CartPolePlant(double cartDamping, double poleDamping) {
        this.cartDamping = cartDamping;
        this.poleDamping = poleDamping;
    }

    void integrate(double forceN, double dt) {
        derivative(state, forceN, slope[0]);
        advance(slope[0], dt / 2);
        derivative(stage, forceN, slope[1]);
        advance(slope[1], dt / 2);
        derivative(stage, forceN, slope[2]);
        advance(slope[2], dt);
        derivative(stage, forceN, slope[3]);
        for (int i = 0; i < 4; i++) {
            state[i] += dt / 6 * (slope[0][i] + 2 * slope[1][i] + 2 * slope[2][i] + slope[3][i]);
        }
    }

    /** Kinetic plus potential energy in J, zero for the pole at rest at the height of its hinge. */
    double energy() {
        double x = state[2];
        double w = state[3];
        return 0.5 * TOTAL_MASS * x * x
                + COUPLING * Math.cos(state[1]) * x * w
                + 0.5 * POLE_INERTIA * w * w
                + COUPLING * GRAVITY * Math.cos(state[1]);
    }

    private void advance(double[] k, double dt) {
        for (int i = 0; i < 4; i++) {
            stage[i] = state[i] + dt * k[i];
        }
    }

    private void derivative(double[] s, double forceN, double[] out) {
        double sin = Math.sin(s[1]);
        double coupling = COUPLING * Math.cos(s[1]);
        double determinant = TOTAL_MASS * POLE_INERTIA - coupling * coupling;
        double cart = forceN - cartDamping * s[2] + COUPLING * sin * s[3] * s[3];
        double pole = COUPLING * GRAVITY * sin - poleDamping * s[3];
        double free = (POLE_INERTIA * cart - coupling * pole) / determinant;
        double side = Math.signum(s[0]);
        cart -= side * rail.force(RAIL_LIMIT - side * s[0], -side * s[2], -side * free, POLE_INERTIA / determinant);
        out[0] = s[2];
        out[1] = s[3];
        out[2] = (POLE_INERTIA * cart - coupling * pole) / determinant;
        out[3] = (TOTAL_MASS * pole - coupling * cart) / determinant;
    }
}
