package ai.lram.bench.latency;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.engine.EngineChoice;
import ai.lram.agent.policy.Policy;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.IntFunction;

/**
 * A task under a policy on an engine.
 *
 * @param loop what is controlled and by which model, e.g. {@code metaworld-16m}
 * @param engine {@code cpu}, {@code cuda}, or {@code auto} for the faster one
 * @param task the policy's task
 * @param environment id of the environment that is driven; empty where observations are made up
 * @param opening makes the policy for so many sessions
 * @param bytes native memory that the policy takes with so many sessions, of the host where it is on the CPU
 */
public record Target(
        String loop,
        String engine,
        TaskCard task,
        Optional<String> environment,
        Opening opening,
        IntFunction<Long> bytes) {
    /** Makes a policy on an engine by name, for so many sessions, on the thread that will own it. */
    @FunctionalInterface
    public interface Opening {
        Policy open(String engine, int sessions);
    }

    /** In case names: engines other than the CPU are named. */
    public String name() {
        return engine.equals(Engines.CPU) ? loop : loop + "-" + engine;
    }

    /** The policy for so many sessions, warm as a server's is before it says that it is ready. */
    EngineChoice.Chosen open(int sessions, EngineChoice.Effort effort) {
        Function<String, Policy> on = name -> opening.open(name, sessions);
        return new EngineChoice(effort).open(engine, on, new EngineChoice.Sessions(sessions, "all robots at once"));
    }
}
