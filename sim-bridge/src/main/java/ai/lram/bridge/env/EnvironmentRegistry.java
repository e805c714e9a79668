package ai.lram.bridge.env;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Supplier;

/** The environments of this build by id. Thread safe; the environments it creates are not. */
public final class EnvironmentRegistry {
    /** Training data uses seeds from 0 up to here, evaluation on unseen starts uses seeds from here on. */
    public static final long FIRST_EVALUATION_SEED = 1_000_000;

    private static final Map<String, Supplier<Environment>> FACTORIES = new TreeMap<>(Map.of(
            "acrobot", AcrobotEnvironment::new,
            "cartpole-balance", () -> new CartPoleEnvironment(false),
            "cartpole-swingup", () -> new CartPoleEnvironment(true),
            "mountain-car-continuous", MountainCarEnvironment::new,
            "pendulum", PendulumEnvironment::new,
            "reacher", ReacherEnvironment::new));

    private EnvironmentRegistry() {}

    /** All ids in alphabetical order. */
    public static List<String> ids() {
        return List.copyOf(FACTORIES.keySet());
    }

    /** @throws UnknownEnvironmentException if there is none of this id; the message lists those there are */
    public static Environment create(String id) {
        Supplier<Environment> factory = id == null ? null : FACTORIES.get(id);
        if (factory == null) {
            throw new UnknownEnvironmentException(
                    "unknown environment " + id, "this build has " + ids(), "ask for one of these");
        }
        return factory.get();
    }

    /** @throws UnknownEnvironmentException as {@link #create} */
    public static EnvironmentSpec spec(String id) {
        return create(id).spec();
    }
}
