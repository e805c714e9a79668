package ai.lram.bridge.env;

/**
 * Two-link chain hanging under gravity with a motor at the elbow; state {theta1, theta2, theta1', theta2'} in rad and
 * rad/s, theta1 = 0 hanging down, theta2 relative to the first link. Integrated by classical RK4.
 */
final class AcrobotPlant {
    static final double GRAVITY = 9.8;
    private static final double MASS = 1;
    private static final double LENGTH = 1;
    private static final double CENTRE = 0.5;
    private static final double INERTIA = 1;

    final double[] state = new double[4];
    private final double[] stage = new double[4];
    private final double[][] slope = new double[4][4];

    void integrate(double torqueNm, double dt) {
        derivative(state, torqueNm, slope[0]);
        advance(slope[0], dt / 2);
        derivative(stage, torqueNm, slope[1]);
        advance(slope[1], dt / 2);
        derivative(stage, torqueNm, slope[2]);
        advance(slope[2], dt);
        derivative(stage, torqueNm, slope[3]);
        for (int i = 0; i < 4; i++) {
            state[i] += dt / 6 * (slope[0][i] + 2 * slope[1][i] + 2 * slope[2][i] + slope[3][i]);
        }
    }

    /** Kinetic plus potential energy in J, zero potential at the shoulder. */
    double energy() {
        double cos2 = Math.cos(state[1]);
        double m11 =
                MASS * (CENTRE * CENTRE + LENGTH * LENGTH + CENTRE * CENTRE + 2 * LENGTH * CENTRE * cos2) + 2 * INERTIA;
        double m12 = MASS * (CENTRE * CENTRE + LENGTH * CENTRE * cos2) + INERTIA;
        double m22 = MASS * CENTRE * CENTRE + INERTIA;
        double kinetic = 0.5 * m11 * state[2] * state[2] + m12 * state[2] * state[3] + 0.5 * m22 * state[3] * state[3];
        return kinetic
                - MASS * GRAVITY * ((CENTRE + LENGTH) * Math.cos(state[0]) + CENTRE * Math.cos(state[0] + state[1]));
    }

    private void advance(double[] k, double dt) {
        for (int i = 0; i < 4; i++) {
            stage[i] = state[i] + dt * k[i];
        }
    }

    private static void derivative(double[] s, double torqueNm, double[] out) {
        double sin2 = Math.sin(s[1]);
        double cos2 = Math.cos(s[1]);
        double d1 = MASS * CENTRE * CENTRE
                + MASS * (LENGTH * LENGTH + CENTRE * CENTRE + 2 * LENGTH * CENTRE * cos2)
                + 2 * INERTIA;
        double d2 = MASS * (CENTRE * CENTRE + LENGTH * CENTRE * cos2) + INERTIA;
        double phi2 = MASS * CENTRE * GRAVITY * Math.sin(s[0] + s[1]);
        double phi1 = -MASS * LENGTH * CENTRE * s[3] * (s[3] + 2 * s[2]) * sin2
                + MASS * (CENTRE + LENGTH) * GRAVITY * Math.sin(s[0])
                + phi2;
        double acceleration2 = (torqueNm + d2 / d1 * phi1 - MASS * LENGTH * CENTRE * s[2] * s[2] * sin2 - phi2)
                / (MASS * CENTRE * CENTRE + INERTIA - d2 * d2 / d1);
        out[0] = s[2];
        out[1] = s[3];
        out[2] = -(d2 * acceleration2 + phi1) / d1;
        out[3] = acceleration2;
    }
}
