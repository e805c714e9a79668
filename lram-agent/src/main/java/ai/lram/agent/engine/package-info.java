/** Which engine a policy is served on, chosen by timing the policy itself, and steps before robots come. */
package ai.lram.agent.engine;
