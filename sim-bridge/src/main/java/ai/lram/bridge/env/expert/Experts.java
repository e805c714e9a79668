package ai.lram.bridge.env.expert;

import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.env.UnknownEnvironmentException;

/** The scripted expert of each environment. All are pure functions of the observation. */
public final class Experts {
    private Experts() {}

    /** @throws UnknownEnvironmentException if no expert is written for this id; the message lists those there are */
    public static ScriptedPolicy of(String id) {
        EnvironmentSpec spec = EnvironmentRegistry.spec(id);
        return switch (spec.id()) {
            case "acrobot" -> new AcrobotExpert();
            case "cartpole-balance", "cartpole-swingup" -> new CartPoleExpert();
            case "mountain-car-continuous" -> new MountainCarExpert();
            case "pendulum" -> new PendulumExpert();
            case "reacher" -> new ReacherExpert();
            default ->
                throw new UnknownEnvironmentException(
                        "no expert for environment " + id, "none is written", "use another behaviour");
        };
    }
}
