package ai.lram.runtime;

import ai.lram.agent.policy.Policy;

/** Makes a policy, at start and again after a policy has failed. Called on the thread that will own it. */
@FunctionalInterface
public interface PolicyFactory {
    Policy create();
}
