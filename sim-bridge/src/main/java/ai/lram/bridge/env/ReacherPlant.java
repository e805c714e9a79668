package ai.lram.bridge.env;

/**
 * Two-link arm in the horizontal plane with a motor at each joint; state {q1, q2, q1', q2'} in rad and rad/s, q2
 * relative to the first link. Semi-implicit Euler with implicit joint damping, as MuJoCo's Euler integrator.
 */
final class ReacherPlant {
    static final double LINK_1 = 0.12;
    static final double REACH_2 = 0.12;
    static final double WRIST_LIMIT = Math.toRadians(160);

    private static final double DENSITY = 1000;
    private static final double RADIUS = 0.01;
    private static final double HAND_LENGTH = 0.1;
    private static final double ARM_MASS = DENSITY * Capsule.volume(RADIUS, LINK_1);
    private static final double HAND_MASS = DENSITY * Capsule.volume(RADIUS, HAND_LENGTH);
    private static final double FINGER_MASS = DENSITY * Capsule.volume(RADIUS, 0);

    /** Of both links about the shoulder and of hand and finger about the wrist, less the terms in cos(q2); kg m2. */
    private static final double INERTIA_2 = Capsule.transverseInertia(HAND_MASS, RADIUS, HAND_LENGTH)
            + HAND_MASS * HAND_LENGTH * HAND_LENGTH / 4
            + Capsule.transverseInertia(FINGER_MASS, RADIUS, 0)
            + FINGER_MASS * REACH_2 * REACH_2;

    private static final double INERTIA_1 = Capsule.transverseInertia(ARM_MASS, RADIUS, LINK_1)
            + ARM_MASS * LINK_1 * LINK_1 / 4
            + (HAND_MASS + FINGER_MASS) * LINK_1 * LINK_1
            + INERTIA_2;

    /** First moment of hand and finger about the wrist times the first link's length; kg m2. */
    private static final double COUPLING = LINK_1 * (HAND_MASS * HAND_LENGTH / 2 + FINGER_MASS * REACH_2);

    private final double jointDamping;
    private final SoftLimit wrist;
    final double[] state = new double[4];

    /**
     * @param jointDamping of both joints, N m s
     * @param dt step the plant is meant for: a limit reacts over two of them at least, as in MuJoCo
     */
    ReacherPlant(double jointDamping, double dt) {
        this.jointDamping = jointDamping;
        double m11 = INERTIA_1 + 2 * COUPLING;
        double m12 = INERTIA_2 + COUPLING;
        wrist = new SoftLimit(Math.max(0.02, 2 * dt), 1, m11 / (m11 * INERTIA_2 - m12 * m12));
    }

    void integrate(double shoulderNm, double wristNm, double dt) {
        double[] s = state;
        double cos = Math.cos(s[1]);
        double sin = Math.sin(s[1]);
        double m11 = INERTIA_1 + 2 * COUPLING * cos;
        double m12 = INERTIA_2 + COUPLING * cos;
        double m22 = INERTIA_2;
        double f1 = shoulderNm + COUPLING * sin * s[3] * (2 * s[2] + s[3]) - jointDamping * s[2];
        double f2 = wristNm - COUPLING * sin * s[2] * s[2] - jointDamping * s[3];
        double determinant = m11 * m22 - m12 * m12;
        double side = Math.signum(s[1]);
        double free = (m11 * f2 - m12 * f1) / determinant;
        f2 -= side * wrist.force(WRIST_LIMIT - side * s[1], -side * s[3], -side * free, m11 / determinant);

        double d11 = m11 + dt * jointDamping;
        double d22 = m22 + dt * jointDamping;
        double implicit = d11 * d22 - m12 * m12;
        s[2] += dt * (d22 * f1 - m12 * f2) / implicit;
        s[3] += dt * (d11 * f2 - m12 * f1) / implicit;
        s[0] += dt * s[2];
        s[1] += dt * s[3];
    }

    /** Kinetic energy in J: the arm moves in the horizontal plane. */
    double energy() {
        double cos = Math.cos(state[1]);
        return 0.5 * (INERTIA_1 + 2 * COUPLING * cos) * state[2] * state[2]
                + (INERTIA_2 + COUPLING * cos) * state[2] * state[3]
                + 0.5 * INERTIA_2 * state[3] * state[3];
    }

    /** Angular momentum about the shoulder in kg m2/s. */
    double momentum() {
        double cos = Math.cos(state[1]);
        return (INERTIA_1 + 2 * COUPLING * cos) * state[2] + (INERTIA_2 + COUPLING * cos) * state[3];
    }

    double fingerX() {
        return LINK_1 * Math.cos(state[0]) + REACH_2 * Math.cos(state[0] + state[1]);
    }

    double fingerY() {
        return LINK_1 * Math.sin(state[0]) + REACH_2 * Math.sin(state[0] + state[1]);
    }
}
