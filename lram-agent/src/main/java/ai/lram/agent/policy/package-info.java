/** Policies that control: recurrent sessions in state slots, one step for many sessions at once. */
package ai.lram.agent.policy;
