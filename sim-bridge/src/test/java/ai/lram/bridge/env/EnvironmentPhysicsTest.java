package ai.lram.bridge.env;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.function.DoubleSupplier;
import org.junit.jupiter.api.Test;

/**
 * The plants against energy, momentum and the periods of their linearised motion; rewards and ends at their
 * boundaries.
 */
class EnvironmentPhysicsTest {
    @Test
    void undampedCartPoleKeepsItsEnergy() {
        CartPolePlant plant = new CartPolePlant(0, 0);
        plant.state[1] = 2.0;
        plant.state[3] = 1.5;
        double begin = plant.energy();
        double worst = 0;
        for (int i = 0; i < 1000; i++) {
            plant.integrate(0, 0.01);
            worst = Math.max(worst, Math.abs(plant.energy() - begin));
        }
        System.out.printf("cart-pole: energy drift %.2e J of %.3f J (bound 1e-6)%n", worst, begin);
        assertTrue(worst < 1e-6, "drift " + worst);
    }

    @Test
    void dampedCartPoleLosesEnergy() {
        CartPolePlant plant = new CartPolePlant(0.1, 0.01);
        plant.state[1] = 2.5;
        double last = plant.energy();
        for (int i = 0; i < 500; i++) {
            plant.integrate(0, 0.01);
            assertTrue(plant.energy() <= last, "step " + i);
            last = plant.energy();
        }
    }

    @Test
    void hangingPoleSwingsWithTheLinearisedPeriod() {
        CartPolePlant plant = new CartPolePlant(0, 0);
        double total = CartPolePlant.CART_MASS + CartPolePlant.POLE_MASS;
        double moment = CartPolePlant.POLE_MASS * CartPolePlant.HALF_LENGTH;
        double omega = Math.sqrt(
                moment * CartPolePlant.GRAVITY * total / (total * CartPolePlant.POLE_INERTIA - moment * moment));
        plant.state[1] = Math.PI + 1e-3;
        double period = period(() -> plant.state[1] - Math.PI, () -> plant.integrate(0, 0.001), 0.001);
        assertEquals(2 * Math.PI / omega, period, 1e-5);
    }

    @Test
    void railStopsTheCart() {
        CartPolePlant plant = new CartPolePlant(5e-4, 2e-6);
        double farthest = 0;
        for (int i = 0; i < 500; i++) {
            plant.integrate(10, 0.01);
            farthest = Math.max(farthest, plant.state[0]);
        }
        assertTrue(farthest > 1.8 && farthest < 2.3, "farthest " + farthest);
        assertEquals(1.8, plant.state[0], 0.1);
    }

    @Test
    void hangingPendulumSwingsWithThePeriodOfItsIntegrator() {
        PendulumEnvironment env = new PendulumEnvironment();
        float[] observation = new float[3];
        env.reset(0, observation);
        env.theta = Math.PI + 1e-4;
        env.thetaDot = 0;
        double[] idle = {0};
        // Semi-implicit Euler of w2 = 15: sin(w' dt / 2) = w dt / 2.
        double exact = 2 * Math.PI * 0.05 / (2 * Math.asin(Math.sqrt(15) * 0.05 / 2));
        double period = period(() -> env.theta - Math.PI, () -> env.advance(idle), 0.05);
        assertEquals(exact, period, 2e-3);
        assertEquals(2 * Math.PI / Math.sqrt(15), period, 5e-3);
    }

    @Test
    void unforcedPendulumKeepsItsEnergyWithinAnOscillation() {
        PendulumEnvironment env = new PendulumEnvironment();
        env.reset(0, new float[3]);
        env.theta = 1.5;
        env.thetaDot = 0;
        double[] idle = {0};
        double begin = 15 * Math.cos(env.theta);
        double worst = 0;
        for (int i = 0; i < 20_000; i++) {
            env.advance(idle);
            worst = Math.max(worst, Math.abs(0.5 * env.thetaDot * env.thetaDot + 15 * Math.cos(env.theta) - begin));
        }
        System.out.printf("pendulum: energy within %.2f of its start over 20,000 steps (bound 3, depth 30)%n", worst);
        assertTrue(worst < 3, "drift " + worst);
    }

    @Test
    void unforcedAcrobotKeepsItsEnergy() {
        AcrobotPlant plant = new AcrobotPlant();
        plant.state[0] = 1.2;
        plant.state[1] = -0.9;
        plant.state[2] = 0.5;
        double begin = plant.energy();
        double worst = 0;
        for (int i = 0; i < 5000; i++) {
            plant.integrate(0, 0.01);
            worst = Math.max(worst, Math.abs(plant.energy() - begin));
        }
        System.out.printf("acrobot: energy drift %.2e J of %.3f J (bound 1e-5)%n", worst, begin);
        assertTrue(worst < 1e-5, "drift " + worst);
    }

    @Test
    void motorPutsTorqueTimesAngleIntoTheAcrobot() {
        AcrobotPlant plant = new AcrobotPlant();
        double begin = plant.energy();
        for (int i = 0; i < 300; i++) {
            plant.integrate(1, 0.005);
        }
        assertEquals(plant.state[1], plant.energy() - begin, 1e-8);
    }

    @Test
    void hangingAcrobotSwingsInItsNormalModes() {
        double m11 = 0.25 + 1 + 0.25 + 1 + 2;
        double m12 = 0.25 + 0.5 + 1;
        double m22 = 1.25;
        double k11 = 9.8 * 2;
        double k12 = 9.8 * 0.5;
        double k22 = k12;
        double a = m11 * m22 - m12 * m12;
        double b = -(m11 * k22 + m22 * k11 - 2 * m12 * k12);
        double c = k11 * k22 - k12 * k12;
        for (int sign : new int[] {-1, 1}) {
            double squared = (-b + sign * Math.sqrt(b * b - 4 * a * c)) / (2 * a);
            AcrobotPlant plant = new AcrobotPlant();
            plant.state[0] = 1e-4;
            plant.state[1] = -1e-4 * (k11 - squared * m11) / (k12 - squared * m12);
            double period = period(() -> plant.state[0], () -> plant.integrate(0, 0.001), 0.001);
            assertEquals(2 * Math.PI / Math.sqrt(squared), period, 1e-5, "mode " + sign);
        }
    }

    @Test
    void freeReacherKeepsMomentumAndEnergyToTheOrderOfItsIntegrator() {
        double coarse = reacherDrift(1e-4);
        double fine = reacherDrift(5e-5);
        System.out.printf("reacher: relative energy drift %.2e at 0.1 ms, %.2e at 0.05 ms%n", coarse, fine);
        assertTrue(coarse < 5e-3, "drift " + coarse);
        assertEquals(0.5, fine / coarse, 0.05);
    }

    @Test
    void dampedReacherComesToRest() {
        ReacherPlant plant = new ReacherPlant(0.01, 0.02);
        plant.state[2] = 4;
        plant.state[3] = -3;
        double last = plant.energy();
        for (int i = 0; i < 300; i++) {
            plant.integrate(0, 0, 0.02);
            assertTrue(plant.energy() <= last, "step " + i);
            last = plant.energy();
        }
        assertTrue(last < 1e-9, "energy left " + last);
    }

    @Test
    void cartPoleRewardIsOneAtRestUprightAndFallsAsPublished() {
        CartPoleEnvironment env = new CartPoleEnvironment(false);
        float[] observation = new float[5];
        env.reset(0, observation);
        Arrays.fill(env.plant().state, 0);
        env.step(new float[] {0}, observation);
        assertEquals(1, env.reward(), 1e-7);
        env.plant().state[0] = 2.0 / Math.sqrt(2);
        env.step(new float[] {0}, observation);
        // Gaussian tolerance at 1/sqrt(2) of the margin is sqrt(0.1).
        assertEquals((1 + Math.sqrt(0.1)) / 2, env.reward(), 1e-6);
        Arrays.fill(env.plant().state, 0);
        env.step(new float[] {1}, observation);
        assertEquals(0.8, env.reward(), 5e-3);
        env.plant().state[1] = Math.PI;
        env.step(new float[] {0}, observation);
        assertTrue(env.reward() < 1e-3, "hanging earns " + env.reward());
    }

    @Test
    void pendulumRewardChargesTheStateBeforeTheStep() {
        PendulumEnvironment env = new PendulumEnvironment();
        float[] observation = new float[3];
        env.reset(0, observation);
        env.theta = 2 * Math.PI - 0.5;
        env.thetaDot = 2;
        env.step(new float[] {1.5f}, observation);
        assertEquals(-(0.25 + 0.4 + 0.001 * 2.25), env.reward(), 1e-6);
    }

    @Test
    void acrobotEndsOnlyAboveTheLine() {
        AcrobotEnvironment env = new AcrobotEnvironment();
        env.reset(0, new float[6]);
        env.plant().state[0] = Math.PI;
        env.plant().state[1] = Math.PI / 2 + 1e-9;
        assertFalse(env.atGoal(), "tip just below the line");
        env.plant().state[1] = Math.PI / 2 - 1e-9;
        assertTrue(env.atGoal(), "tip just above the line");
        env.plant().state[1] = 0;
        assertTrue(env.atGoal(), "both links upright");
        float[] observation = new float[6];
        env.step(new float[] {1}, observation);
        assertTrue(env.terminated());
        assertEquals(0, env.reward());
    }

    @Test
    void mountainCarEndsAtTheFlagMovingForward() {
        MountainCarEnvironment env = new MountainCarEnvironment();
        float[] observation = new float[2];
        env.reset(0, observation);
        env.position = 0.46;
        env.velocity = -0.02;
        env.step(new float[] {0}, observation);
        assertFalse(env.terminated(), "rolling back past the flag");
        env.position = 0.44;
        env.velocity = 0.03;
        env.step(new float[] {0.5f}, observation);
        assertTrue(env.terminated());
        assertEquals(100 - 0.1 * 0.25, env.reward(), 1e-5);
    }

    @Test
    void mountainCarStopsAtTheLeftWall() {
        MountainCarEnvironment env = new MountainCarEnvironment();
        float[] observation = new float[2];
        env.reset(0, observation);
        env.position = -1.19;
        env.velocity = -0.06;
        env.step(new float[] {-1}, observation);
        assertEquals(-1.2, env.position);
        assertEquals(0, env.velocity);
    }

    @Test
    void reacherPaysWithinTheTargetRadiusOnly() {
        ReacherEnvironment env = new ReacherEnvironment();
        float[] observation = new float[6];
        env.reset(0, observation);
        Arrays.fill(env.plant().state, 0);
        env.targetX = 0.24 - ReacherEnvironment.RADIUS_M + 1e-6;
        env.targetY = 0;
        env.step(new float[] {0, 0}, observation);
        assertEquals(1, env.reward());
        assertEquals(-0.06, observation[2], 2e-6);
        env.targetX = 0.24 - ReacherEnvironment.RADIUS_M - 1e-6;
        env.step(new float[] {0, 0}, observation);
        assertEquals(0, env.reward());
    }

    private static double reacherDrift(double dt) {
        ReacherPlant plant = new ReacherPlant(0, dt);
        plant.state[1] = 1.0;
        plant.state[2] = 2.0;
        plant.state[3] = -1.0;
        double energy = plant.energy();
        double momentum = plant.momentum();
        double worst = 0;
        for (double t = 0; t < 2; t += dt) {
            plant.integrate(0, 0, dt);
            worst = Math.max(worst, Math.abs(plant.energy() / energy - 1));
            assertEquals(1, plant.momentum() / momentum, 5e-3);
        }
        return worst;
    }

    /** Time of ten full oscillations by linear interpolation of upward zero crossings, divided by ten. */
    private static double period(DoubleSupplier angle, Runnable step, double dt) {
        double first = Double.NaN;
        int crossings = 0;
        double last = angle.getAsDouble();
        for (int i = 1; i < 200_000; i++) {
            step.run();
            double now = angle.getAsDouble();
            if (last < 0 && now >= 0) {
                double at = (i - now / (now - last)) * dt;
                if (crossings == 0) {
                    first = at;
                } else if (crossings == 10) {
                    return (at - first) / 10;
                }
                crossings++;
            }
            last = now;
        }
        throw new AssertionError("only " + crossings + " crossings");
    }
}
