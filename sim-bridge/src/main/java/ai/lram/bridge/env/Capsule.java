package ai.lram.bridge.env;

/** Inertia of a solid capsule: a cylinder with half-spheres on both ends. SI units. */
final class Capsule {
    private Capsule() {}

    static double volume(double radius, double length) {
        return Math.PI * radius * radius * (length + 4 * radius / 3);
    }

    /** Moment of inertia about an axis through the centre, perpendicular to the capsule's own. */
    static double transverseInertia(double mass, double radius, double length) {
        double sphere = mass * 4 * radius / (4 * radius + 3 * length);
        double cylinder = mass - sphere;
        return cylinder * (3 * radius * radius + length * length) / 12
                + sphere * (2 * radius * radius / 5 + length * (3 * radius + 2 * length) / 8);
    }
}
