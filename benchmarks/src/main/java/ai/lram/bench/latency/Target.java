package ai.lram.bench.latency;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import java.util.Optional;
import java.util.function.IntFunction;

/**
 * A task under a policy.
 *
 * @param name in case names, e.g. {@code metaworld-16m}
 * @param task the policy's task
 * @param environment id of the environment that is driven; empty where observations are made up
 * @param policy makes the policy for so many sessions, on the thread that will own it
 * @param bytes native memory the policy takes with so many sessions
 */
public record Target(
        String name,
        TaskCard task,
        Optional<String> environment,
        IntFunction<Policy> policy,
        IntFunction<Long> bytes) {}
