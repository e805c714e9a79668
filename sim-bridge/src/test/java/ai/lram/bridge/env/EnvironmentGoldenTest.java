package ai.lram.bridge.env;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Our plants and rewards against trajectories of Gymnasium and MuJoCo, written by {@code
 * src/test/python/environment_golden.py}. Each step starts from the reference's state, so that chaotic plants can be
 * held to a tight bound everywhere.
 */
@Tag("parity")
class EnvironmentGoldenTest {
    private record Row(double[] action, double[] state, double reward, boolean terminated) {}

    private interface State {
        void set(double[] values);

        double[] get();
    }

    @Test
    void pendulumFollowsGymnasium() {
        PendulumEnvironment env = new PendulumEnvironment();
        follows(env, 1e-12, new State() {
            @Override
            public void set(double[] v) {
                env.theta = v[0];
                env.thetaDot = v[1];
            }

            @Override
            public double[] get() {
                return new double[] {env.theta, env.thetaDot};
            }
        });
    }

    @Test
    void acrobotFollowsGymnasium() {
        AcrobotEnvironment env = new AcrobotEnvironment();
        follows(env, 1e-12, array(env.plant().state));
    }

    @Test
    void mountainCarFollowsGymnasiumToTheFlag() {
        MountainCarEnvironment env = new MountainCarEnvironment();
        // The reference rounds its state to float.
        follows(env, 1e-7, new State() {
            @Override
            public void set(double[] v) {
                env.position = v[0];
                env.velocity = v[1];
            }

            @Override
            public double[] get() {
                return new double[] {env.position, env.velocity};
            }
        });
        assertTrue(env.terminated(), "the reference trajectory ends at the flag");
    }

    @Test
    void cartPoleFollowsMujoco() {
        CartPoleEnvironment env = new CartPoleEnvironment(true);
        follows(env, 1e-12, array(env.plant().state));
    }

    @Test
    void cartPoleFollowsMujocoIntoTheEndOfTheRail() {
        CartPoleEnvironment env = new CartPoleEnvironment(false);
        double farthest = follows(env, 1e-12, array(env.plant().state))[0];
        assertTrue(farthest > CartPolePlant.RAIL_LIMIT, "the reference trajectory passes the limit: " + farthest);
    }

    @Test
    void reacherFollowsMujocoIntoTheWristLimit() {
        ReacherEnvironment env = new ReacherEnvironment();
        double farthest = follows(env, 1e-12, new State() {
            @Override
            public void set(double[] v) {
                System.arraycopy(v, 0, env.plant().state, 0, 4);
                env.targetX = v[4];
                env.targetY = v[5];
            }

            @Override
            public double[] get() {
                return new double[] {
                    env.plant().state[0],
                    env.plant().state[1],
                    env.plant().state[2],
                    env.plant().state[3],
                    env.targetX,
                    env.targetY
                };
            }
        })[1];
        assertTrue(farthest > ReacherPlant.WRIST_LIMIT, "the reference trajectory passes the limit: " + farthest);
    }

    private static State array(double[] state) {
        return new State() {
            @Override
            public void set(double[] values) {
                System.arraycopy(values, 0, state, 0, state.length);
            }

            @Override
            public double[] get() {
                return state.clone();
            }
        };
    }

    /** @return the largest value of each state entry along the reference */
    private static double[] follows(Environment env, double tolerance, State state) {
        List<Row> rows = read(env.spec().id());
        float[] observation = new float[env.spec().observationSize()];
        float[] action = new float[env.spec().actionSize()];
        double[] farthest = rows.getFirst().state().clone();
        double worst = 0;
        int checked = 0;
        env.reset(0, observation);
        for (int t = 1; t < rows.size(); t++) {
            Row row = rows.get(t);
            state.set(rows.get(t - 1).state());
            for (int i = 0; i < action.length; i++) {
                action[i] = (float) row.action()[i];
            }
            env.step(action, observation);
            double[] got = state.get();
            for (int i = 0; i < got.length; i++) {
                double difference = Math.abs(got[i] - row.state()[i]) / Math.max(1, Math.abs(row.state()[i]));
                worst = Math.max(worst, difference);
                assertTrue(
                        difference <= tolerance,
                        "step " + t + " state " + i + ": " + got[i] + " against " + row.state()[i]);
                farthest[i] = Math.max(farthest[i], row.state()[i]);
            }
            assertEquals(row.reward(), env.reward(), 1e-6 * Math.max(1, Math.abs(row.reward())), "reward of step " + t);
            assertEquals(row.terminated(), env.terminated(), "end after step " + t);
            checked++;
        }
        assertTrue(checked > 40, "only " + checked + " steps were compared");
        System.out.printf(
                "%s: %d steps, largest state difference %.2e (tolerance %.0e)%n",
                env.spec().id(), checked, worst, tolerance);
        return farthest;
    }

    private static List<Row> read(String id) {
        try (InputStream in = EnvironmentGoldenTest.class.getResourceAsStream("/environment-golden/" + id + ".txt")) {
            String text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
            return text.lines()
                    .filter(line -> !line.startsWith("#"))
                    .map(EnvironmentGoldenTest::row)
                    .toList();
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    private static Row row(String line) {
        String[] parts = line.split(";");
        return new Row(numbers(parts[0]), numbers(parts[1]), Double.parseDouble(parts[2]), parts[3].equals("1"));
    }

    private static double[] numbers(String text) {
        return Arrays.stream(text.split(" "))
                .filter(s -> !s.isEmpty())
                .mapToDouble(Double::parseDouble)
                .toArray();
    }
}
