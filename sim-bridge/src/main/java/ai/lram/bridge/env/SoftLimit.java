package ai.lram.bridge.env;

/**
 * A joint limit as MuJoCo solves it for a single constraint: a spring and damper in acceleration space, never pulling
 * (MuJoCo documentation, "Computation", constraint model; default impedance 0.9..0.95 over 1 mm or 1 mrad).
 */
final class SoftLimit {
    private static final double IMPEDANCE_MIN = 0.9;
    private static final double IMPEDANCE_MAX = 0.95;
    private static final double IMPEDANCE_WIDTH = 0.001;

    private final double stiffness;
    private final double damping;
    private final double inverseWeight;

    /**
     * @param timeConstant first entry of {@code solref}, seconds
     * @param dampingRatio second entry of {@code solref}
     * @param inverseWeight the joint's diagonal entry of the inverse mass matrix in the reference position
     */
    SoftLimit(double timeConstant, double dampingRatio, double inverseWeight) {
        stiffness = 1 / (IMPEDANCE_MAX * IMPEDANCE_MAX * timeConstant * timeConstant * dampingRatio * dampingRatio);
        damping = 2 / (IMPEDANCE_MAX * timeConstant);
        this.inverseWeight = inverseWeight;
    }

    /**
     * Force along the direction in which the distance grows, >= 0.
     *
     * @param distance to the limit; negative once it is passed
     * @param velocity rate of the distance
     * @param free acceleration of the distance without this force
     * @param inverseMass acceleration of the distance per unit of force in the present position
     */
    double force(double distance, double velocity, double free, double inverseMass) {
        if (distance >= 0) {
            return 0;
        }
        double impedance = impedance(-distance / IMPEDANCE_WIDTH);
        double wanted = -damping * velocity - stiffness * impedance * distance;
        double regularisation = (1 - impedance) / impedance * inverseWeight;
        return Math.max(0, (wanted - free) / (inverseMass + regularisation));
    }

    private static double impedance(double depth) {
        double rise = depth >= 1 ? 1 : depth <= 0.5 ? 2 * depth * depth : 1 - 2 * (1 - depth) * (1 - depth);
        return IMPEDANCE_MIN + rise * (IMPEDANCE_MAX - IMPEDANCE_MIN);
    }
}
